package bat

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/parent"
	"github.com/qmon/qmon/internal/rangelock"
)

// Config is what a format knows of an image that it has opened.
type Config struct {
	Name string
	File blockdev.Node
	Mode blockdev.Mode
	Size int64 // of the disk, bytes
	// BlockSize of guest data, and Prefix, what precedes it in the file, bytes.
	BlockSize int64
	Prefix    int64
	// Blocks and lower tables, their prefix first, begin at Base plus a multiple of Align.
	Base, Align int64
	// End of the last block, bytes: what is behind may be used. Where the file is longer,
	// it may hold anything.
	End int64
	// Limit is where the last block must end, bytes, for its entry to have room for its
	// place; 0 is [blockdev.MaxSize].
	Limit int64
	// Holes before End that no entry refers to, and that new blocks may use.
	Holes []Hole
	// Trailer is how many bytes the format keeps behind the last block.
	Trailer int64
	// Zeroes tells that the table can say that a block reads as zeroes whatever the
	// backing file has.
	Zeroes bool
	// Fixed tells that all blocks are there from the beginning, but may be holes in the file.
	Fixed bool
	Table Table
	Hooks Hooks
	// Events are those that the format raises, each as QEMU's driver does.
	Events []blockdev.Event
	// Cipher of Data blocks, nil for none. Blocks have no Prefix then, no hook looks at
	// them, and they are not Fixed.
	Cipher Cipher
}

// Hole is room for Count blocks, their prefix included, at Host.
type Hole struct{ Host, Count int64 }

// Hooks are what formats do besides; each may be nil.
type Hooks struct {
	// Begin is called before anything changes, and again after Finish: it makes durable
	// that the image is in use.
	Begin func() error
	// Finish is called when all is written: it takes back what Begin did.
	Finish func() error
	// Prefix fills what precedes a new block's data.
	Prefix func(p []byte)
	// Overwrite is called before a part of a Data block is written where it lies, with
	// where the block begins.
	Overwrite func(host int64) error
	// Grow is called with the end of the last block when that moves, long before the
	// table refers to new blocks. It may write up to Trailer bytes behind the end.
	Grow func(end int64) error
	// IsParent fails if n is not the parent that the image was made over. It is called
	// before the first read of a backing node.
	IsParent func(n blockdev.Node) error
	// Unpack reads a Compressed block as a whole.
	Unpack func(b Block, out []byte) error
}

// Image is an opened image. Formats embed it in theirs.
type Image struct {
	c        Config
	size     atomic.Int64
	writable atomic.Bool
	parent   parent.Link
	refers   atomic.Bool
	busy     *rangelock.Lock
	// partial is held for writing while encrypted sectors are read, changed in part and
	// written back, and for reading by all who write whole ones over others.
	partial  sync.RWMutex
	sealed   sync.Pool // of *[]byte, maxSealed long
	commitMu sync.Mutex

	mu     sync.Mutex // guards all below
	tables tables
	end    int64 // behind the last block
	fresh  int64 // from here on the file has zeroes, or ends
	holes  []Hole
	begun  bool
	closed bool
}

var (
	_ blockdev.Node         = (*Image)(nil)
	_ blockdev.ZeroWriter   = (*Image)(nil)
	_ blockdev.Discarder    = (*Image)(nil)
	_ blockdev.OpaqueReader = (*Image)(nil)
	_ blockdev.Reopener     = (*Image)(nil)
)

// New makes an image of what a format has read. The format has checked that the numbers
// in c are sound.
func New(c Config) *Image {
	if c.Limit == 0 {
		c.Limit = blockdev.MaxSize
	}
	im := &Image{c: c, busy: rangelock.New(), end: c.End, fresh: max(c.File.Size(), c.End)}
	im.tables = tables{Table: &im.c.Table, cache: cache{file: c.File, pieces: map[int64]*piece{}, raise: im.raise}}
	im.holes = c.Holes
	im.sealed.New = func() any { b := make([]byte, maxSealed); return &b }
	im.parent.IsParent = c.Hooks.IsParent
	im.size.Store(c.Size)
	im.writable.Store(c.Mode.Writable)
	return im
}

// raise tells what is below about an event of the format's.
func (im *Image) raise(e blockdev.Event) {
	if slices.Contains(im.c.Events, e) {
		blockdev.Raise(im.c.File, e)
	}
}

// Size of the disk.
func (im *Image) Size() int64 { return im.size.Load() }

// SetSize changes the size of the disk in memory, to one that the table has entries for.
func (im *Image) SetSize(n int64) { im.size.Store(n) }

// BlockSize in bytes.
func (im *Image) BlockSize() int64 { return im.c.BlockSize }

// Blocks is how many the disk has.
func (im *Image) Blocks() int64 { return (im.Size() + im.c.BlockSize - 1) / im.c.BlockSize }

// End is where the next block would be allocated, bytes.
func (im *Image) End() int64 {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.end
}

// Writable tells if the image accepts writes at present.
func (im *Image) Writable() bool { return im.writable.Load() }

// CheckWritable fails if it does not.
func (im *Image) CheckWritable(op string) error {
	if !im.Writable() {
		return blockdev.Errorf(blockdev.ErrReadOnly, op, im.c.Name, "Block node is read-only")
	}
	return nil
}

// ReopenWritable switches between read-only and read-write. A format whose End was not
// looked for when it opened read-only gives it with SetEnd first.
func (im *Image) ReopenWritable(writable bool) error {
	if writable {
		im.writable.Store(true)
		return nil
	}
	defer im.busy.Lock(0, rangelock.End, true)()
	if err := im.settle(); err != nil {
		return err
	}
	im.writable.Store(false)
	return nil
}

// SetEnd says where new blocks may go, as End and Holes of a Config do.
func (im *Image) SetEnd(end int64, holes []Hole) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.end, im.fresh, im.holes = end, max(im.c.File.Size(), end), holes
}

// Exclusive runs f while nothing is allocated and no commit runs, with everything written
// back.
func (im *Image) Exclusive(f func() error) error {
	defer im.busy.Lock(0, rangelock.End, true)()
	if im.Writable() {
		if err := im.commit(); err != nil {
			return err
		}
	}
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	return f()
}

// Reload forgets the tables in memory, after a format repaired those of the file, inside
// Exclusive.
func (im *Image) Reload() {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.tables.pieces = map[int64]*piece{}
	im.tables.bytes, im.tables.dirty = 0, 0
}

// Begin calls the hook of that name, if it was not yet.
func (im *Image) Begin() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.begin()
}

func (im *Image) begin() error {
	if im.begun {
		return nil
	}
	if im.c.Hooks.Begin != nil {
		if err := im.c.Hooks.Begin(); err != nil {
			return err
		}
	}
	im.begun = true
	return nil
}

// settle writes everything back and calls Finish. Nobody else writes.
func (im *Image) settle() error {
	if !im.Writable() {
		return nil
	}
	if err := im.commit(); err != nil {
		return err
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.begun && im.c.Hooks.Finish != nil {
		if err := im.c.Hooks.Finish(); err != nil {
			return err
		}
	}
	im.begun = false
	return nil
}

// Close writes everything back. After a failure it can be tried again.
func (im *Image) Close() error {
	defer im.busy.Lock(0, rangelock.End, true)()
	if im.closed {
		return nil
	}
	if err := im.settle(); err != nil {
		return err
	}
	im.closed = true
	return nil
}

// Overlay is an Image over a backing file: its methods are half of [blockdev.Backed].
type Overlay struct{ *Image }

// Backing is the attached backing node.
func (o Overlay) Backing() blockdev.Node { return o.parent.Backing() }

// SetBacking attaches or, with nil, detaches the backing node.
func (o Overlay) SetBacking(n blockdev.Node) { o.parent.SetBacking(n) }

// VerifyParent fails if the backing node is not the parent. Who embeds an Overlay asks before
// it says that something has to be read there.
func (o Overlay) VerifyParent() error { return o.parent.Verify() }

// RefersBacking says if the image names a backing file: unallocated blocks then have
// contents, be it attached or not.
func (o Overlay) RefersBacking(yes bool) { o.refers.Store(yes) }

// hasBacking tells if unallocated blocks may have contents.
func (im *Image) hasBacking() bool { return im.parent.Backing() != nil || im.refers.Load() }
