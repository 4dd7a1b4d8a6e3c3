package server

import (
	"math/bits"
	"sync"
)

// buffers is where requests get memory for their data: pools of powers of two up to
// pieceSize, so that small requests do not hold large buffers.
var buffers bufferPools

const (
	smallestBuffer = 12 // log2: 4 KiB
	largestBuffer  = 21 // log2: pieceSize
)

type bufferPools struct {
	pools [largestBuffer - smallestBuffer + 1]sync.Pool
}

// get returns a buffer of n bytes, n at most pieceSize. Its contents are anything.
func (b *bufferPools) get(n uint64) *[]byte {
	class := max(0, bits.Len64(max(n, 1)-1)-smallestBuffer)
	p, ok := b.pools[class].Get().(*[]byte)
	if !ok {
		s := make([]byte, 1<<(class+smallestBuffer))
		p = &s
	}
	*p = (*p)[:n]
	return p
}

// put takes back what get gave.
func (b *bufferPools) put(p *[]byte) {
	*p = (*p)[:cap(*p)]
	b.pools[bits.Len(uint(cap(*p)))-1-smallestBuffer].Put(p)
}
