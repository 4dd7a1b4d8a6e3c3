package qcow2

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// table is an L2 table or a refcount block in memory, as it is in the file: one cluster.
// Its bytes are read with the image's mu shared and changed with mu exclusive.
type table struct {
	off  int64
	data []byte
	// [lo, hi) are the bytes that the file does not have yet; hi 0 if none.
	lo, hi int
	// writing is set while a commit writes a copy of the table.
	writing bool

	used   bool          // since the clock hand last passed
	loaded chan struct{} // closed when data is there, or err
	err    error
}

// word is the i-th 8-byte word of the table.
func (t *table) word(i int64) uint64 { return binary.BigEndian.Uint64(t.data[i*8:]) }

// tableCache holds tables of one kind by their offset. Dirty tables stay: only a commit
// writes, in its order. Eviction happens in trim alone, which a caller must not run
// between fetching a table and changing it.
type tableCache struct {
	file      blockdev.Node
	name      string         // of the image, for errors
	what      string         // of the tables, for errors
	loadEvent blockdev.Event // before one is read; "" for none
	size      int            // bytes of a table
	max       int            // tables to keep

	mu      sync.Mutex
	entries map[int64]*table
	ring    []*table
	hand    int
	// dirty tables; guarded by the image's mu.
	dirty map[*table]struct{}
}

// minCachedTables keeps both ends of a copy and a refcount block in a cache of any size.
const minCachedTables = 4

func newTableCache(file blockdev.Node, name, what string, load blockdev.Event, tableSize, bytes int64) *tableCache {
	return &tableCache{
		file: file, name: name, what: what, loadEvent: load,
		size:    int(tableSize),
		max:     max(int(bytes/tableSize), minCachedTables),
		entries: map[int64]*table{},
		dirty:   map[*table]struct{}{},
	}
}

// get returns the table at off, from the file if it is not cached.
func (c *tableCache) get(off int64) (*table, error) {
	c.mu.Lock()
	t, ok := c.entries[off]
	if ok {
		t.used = true
		c.mu.Unlock()
		<-t.loaded
		return t, t.err
	}
	t = &table{off: off, data: make([]byte, c.size), used: true, loaded: make(chan struct{})}
	c.insert(t)
	c.mu.Unlock()
	if t.err = c.load(t); t.err != nil {
		c.drop(off)
	}
	close(t.loaded)
	return t, t.err
}

// load reads a table. One that begins past the end of the file was never written.
func (c *tableCache) load(t *table) error {
	if t.off >= c.file.Size() {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "read", c.name, t.off, "%s is beyond the end of the image", c.what)
	}
	if c.loadEvent != "" {
		blockdev.Raise(c.file, c.loadEvent)
	}
	return readPadded(c.file, t.data, t.off)
}

var loadedNow = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// create makes a table of zeroes at off, all of it to be written.
func (c *tableCache) create(off int64) *table {
	c.drop(off)
	t := &table{off: off, data: make([]byte, c.size), used: true, loaded: loadedNow}
	c.mu.Lock()
	c.insert(t)
	c.mu.Unlock()
	c.markDirty(t, 0, c.size)
	return t
}

func (c *tableCache) insert(t *table) {
	c.entries[t.off] = t
	c.ring = append(c.ring, t)
}

// markDirty notes that bytes [lo, hi) of t were changed.
func (c *tableCache) markDirty(t *table, lo, hi int) {
	if t.hi == 0 {
		t.lo, t.hi = lo, hi
		c.dirty[t] = struct{}{}
		return
	}
	t.lo, t.hi = min(t.lo, lo), max(t.hi, hi)
}

// put stores a word of 8 bytes.
func (c *tableCache) put(t *table, i int64, v uint64) {
	binary.BigEndian.PutUint64(t.data[i*8:], v)
	c.markDirty(t, int(i*8), int(i*8)+8)
}

// has tells if a table at off is cached.
func (c *tableCache) has(off int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.entries[off]
	return ok
}

// drop forgets the table at off, with what was not written of it.
func (c *tableCache) drop(off int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.entries[off]
	if !ok {
		return
	}
	delete(c.entries, off)
	if t.hi != 0 {
		delete(c.dirty, t)
	}
	for i, o := range c.ring {
		if o == t {
			c.removeAt(i)
			break
		}
	}
}

// reset forgets all tables, with what was not written of them.
func (c *tableCache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	clear(c.dirty)
	c.ring, c.hand = nil, 0
}

func (c *tableCache) removeAt(i int) {
	last := len(c.ring) - 1
	c.ring[i] = c.ring[last]
	c.ring[last] = nil
	c.ring = c.ring[:last]
}

// crowded tells if so many tables are dirty that they should be written back.
func (c *tableCache) crowded() bool { return len(c.dirty) > c.max/2 }

// trim evicts clean tables, least recently used first (a clock), down to the limit.
func (c *tableCache) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for steps := 2 * len(c.ring); len(c.ring) > c.max && steps > 0; steps-- {
		c.hand %= len(c.ring)
		t := c.ring[c.hand]
		switch {
		case t.hi != 0 || t.writing || !t.isLoaded():
			c.hand++
		case t.used:
			t.used = false
			c.hand++
		default:
			delete(c.entries, t.off)
			c.removeAt(c.hand)
		}
	}
}

// clean evicts the clean tables that were not used since the last call.
func (c *tableCache) clean() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.ring) - 1; i >= 0; i-- {
		switch t := c.ring[i]; {
		case t.hi != 0 || t.writing || !t.isLoaded():
		case t.used:
			t.used = false
		default:
			delete(c.entries, t.off)
			c.removeAt(i)
		}
	}
}

// startCleaning evicts unused tables at intervals, if an option asks for that, until the
// image is closed.
func (im *Image) startCleaning() {
	every := im.options.cleanInterval
	if every == 0 {
		return
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.cleaner = time.AfterFunc(every, func() {
		im.mu.Lock()
		defer im.mu.Unlock()
		if im.closed {
			return
		}
		im.l2Cache.clean()
		im.refCache.clean()
		im.cleaner.Reset(every)
	})
}

func (t *table) isLoaded() bool {
	select {
	case <-t.loaded:
		return true
	default:
		return false
	}
}

// readPadded reads len(p) bytes at off; what lies past the end of file is zeroes. Images
// end where the last table does that QEMU has written, not at a cluster boundary.
func readPadded(file blockdev.Node, p []byte, off int64) error {
	n := min(max(file.Size()-off, 0), int64(len(p)))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	_, err := file.ReadAt(p[:n], off)
	return err
}
