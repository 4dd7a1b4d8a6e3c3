package readonly

import (
	"container/list"
	"sync"
)

// cacheBytes is how much of unpacked blocks an image keeps: some hundred of the usual
// size, or the last one if blocks are larger than that.
const cacheBytes = 16 << 20

// Blocks keeps the blocks that were unpacked last. The zero value is ready.
type Blocks struct {
	mu     sync.Mutex
	used   int64
	recent list.List // of *block, the last one used first
	index  map[int64]*list.Element
}

type block struct {
	number int64
	size   int64
	once   sync.Once
	data   []byte
	err    error
}

// Read fills p with the bytes at offset in of the block with that number, which has size
// bytes when it is unpacked. A block that is wanted as a whole does not go through the
// cache. Requests for one block at the same time unpack it once.
func (c *Blocks) Read(p []byte, number, size, in int64, unpack func([]byte) error) error {
	if in == 0 && int64(len(p)) == size {
		return unpack(p)
	}
	b := c.get(number, size)
	b.once.Do(func() {
		data := make([]byte, size)
		if b.err = unpack(data); b.err == nil {
			b.data = data
		}
	})
	if b.err != nil {
		c.drop(b) // the next request tries again
		return b.err
	}
	copy(p, b.data[in:])
	return nil
}

// get finds a block or makes room for it.
func (c *Blocks) get(number, size int64) *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.index[number]; ok {
		c.recent.MoveToFront(e)
		return e.Value.(*block)
	}
	for c.used+size > cacheBytes && c.recent.Len() > 0 {
		c.remove(c.recent.Back())
	}
	if c.index == nil {
		c.index = map[int64]*list.Element{}
	}
	b := &block{number: number, size: size}
	c.index[number] = c.recent.PushFront(b)
	c.used += size
	return b
}

func (c *Blocks) drop(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.index[b.number]; ok && e.Value == any(b) {
		c.remove(e)
	}
}

func (c *Blocks) remove(e *list.Element) {
	b := c.recent.Remove(e).(*block)
	delete(c.index, b.number)
	c.used -= b.size
}
