package luks1

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/qmon/qmon/formats/internal/sectors"
)

// slotAlign is what slots, and the payload behind them, begin at, as cryptsetup and QEMU
// have it: a page.
const slotAlign = 4096

// New makes a header with a new master key, and no slot filled. Deriving a key is to take
// iterTime.
func New(s sectors.Spec, hash string, iterTime time.Duration) (h *Header, key []byte, iterations uint32, err error) {
	h = &Header{Spec: s, Hash: hash, UUID: newUUID()}
	if err := h.checkNames(); err != nil {
		return nil, nil, 0, err
	}
	h.KeySize = s.KeyBytes()
	key = make([]byte, h.KeySize)
	_, _ = rand.Read(key) // it never fails
	if iterations, err = benchmark(hash, h.KeySize, iterTime); err != nil {
		return nil, nil, 0, err
	}
	// The digest is only a check of what a slot has given: an eighth of the effort.
	h.Iterations = max(iterations/8, minIterations)
	_, _ = rand.Read(h.salt[:]) // it never fails
	digest, err := h.digestOf(key)
	if err != nil {
		return nil, nil, 0, err
	}
	copy(h.digest[:], digest)
	size := (h.materialBytes() + slotAlign - 1) / slotAlign * slotAlign
	for i := range h.Slots {
		h.Slots[i] = Slot{Offset: slotAlign + int64(i)*size, Stripes: stripes}
	}
	h.Payload = slotAlign + slotCount*size
	return h, key, iterations, nil
}

// benchmark is how many iterations take that long here. It measures a few, until that
// takes long enough to be measured.
func benchmark(hash string, keySize int, d time.Duration) (uint32, error) {
	const (
		enough = 20 * time.Millisecond
		first  = 1 << 12
	)
	for n := first; ; n *= 2 {
		start := time.Now()
		if _, err := pbkdf2.Key(sectors.Hashes[hash], "benchmark", make([]byte, saltBytes), n, keySize); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if took < enough && n < maxIterations {
			continue
		}
		want := float64(n) * float64(d) / float64(took)
		return uint32(min(max(want, minIterations), maxIterations)), nil
	}
}

// newUUID makes a random UUID, version 4.
func newUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // it never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
