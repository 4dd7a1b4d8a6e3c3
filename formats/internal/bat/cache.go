package bat

import (
	"slices"

	"github.com/qmon/qmon/blockdev"
)

const (
	// pieceSize is how much of a table is read at once, bytes: one request, and little to
	// throw away where access is random.
	pieceSize = 64 << 10
	// maxCached bounds the pieces in memory, bytes. With the default options of all the
	// formats that is the table of more than 100 GiB of disk.
	maxCached = 16 << 20
	// maxDirty is how much of that may wait to be written before a commit makes room.
	maxDirty = maxCached / 2
)

// piece is a part of a table in memory.
type piece struct {
	off     int64 // in the file
	data    []byte
	upper   bool
	lo, hi  int  // the bytes that the file does not have, lo == hi if it has all
	writing bool // a commit has a copy on its way to the file
	used    bool // since the last trim
}

func (p *piece) dirty() bool { return p.lo < p.hi }

func (p *piece) mark(lo, hi int) {
	if p.dirty() {
		lo, hi = min(lo, p.lo), max(hi, p.hi)
	}
	p.lo, p.hi = lo, hi
}

// cache holds pieces by their offset. Its user locks.
type cache struct {
	file   blockdev.Node
	raise  func(blockdev.Event)
	pieces map[int64]*piece
	bytes  int // of all pieces
	dirty  int // of the pieces that are dirty
}

// get gives the piece that holds byte at of the table of n bytes at off, and where in it.
func (c *cache) get(off, n, at int64, upper bool) (*piece, int, error) {
	start := at / pieceSize * pieceSize
	key := off + start
	p := c.pieces[key]
	if p == nil {
		p = &piece{off: key, data: make([]byte, min(pieceSize, n-start)), upper: upper}
		if !upper {
			c.raise(blockdev.EventL2Load)
		}
		if err := blockdev.ReadPadded(c.file, p.data, key); err != nil {
			return nil, 0, err
		}
		c.trim()
		c.pieces[key] = p
		c.bytes += len(p.data)
	}
	p.used = true
	return p, int(at - start), nil
}

// change says that bytes of p were changed.
func (c *cache) change(p *piece, lo, hi int) {
	if !p.dirty() {
		c.dirty += len(p.data)
	}
	p.mark(lo, hi)
}

// crowded tells if a commit has to make room.
func (c *cache) crowded() bool { return c.dirty > maxDirty }

// trim throws out pieces that were not used since the last time, if there are too many.
func (c *cache) trim() {
	if c.bytes < maxCached {
		return
	}
	for key, p := range c.pieces {
		switch {
		case p.dirty() || p.writing:
		case p.used:
			p.used = false
		default:
			delete(c.pieces, key)
			c.bytes -= len(p.data)
		}
	}
}

// tableWrite is a copy of the bytes of a piece that were dirty.
type tableWrite struct {
	piece *piece
	lo    int
	data  []byte
}

// collect takes copies of what is dirty, in the order of the file, and marks it clean.
func (c *cache) collect() []tableWrite {
	var out []tableWrite
	for _, p := range c.pieces {
		if p.dirty() {
			out = append(out, tableWrite{p, p.lo, slices.Clone(p.data[p.lo:p.hi])})
			p.lo, p.hi, p.writing = 0, 0, true
		}
	}
	c.dirty = 0
	slices.SortFunc(out, func(a, b tableWrite) int {
		if a.piece.off < b.piece.off {
			return -1
		}
		return 1
	})
	return out
}

// finish ends the writing of what collect gave: after a failure it is dirty as before.
func (c *cache) finish(list []tableWrite, failed bool) {
	for _, w := range list {
		w.piece.writing = false
		if failed {
			c.change(w.piece, w.lo, w.lo+len(w.data))
		}
	}
}
