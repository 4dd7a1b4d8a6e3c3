package vmdk

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/parent"
)

// Image is an opened VMDK: a [blockdev.Node].
type Image struct {
	parent.Link
	name    string
	file    blockdev.Node
	desc    *descriptor
	descAt  int64 // where in file the descriptor is
	descMax int64 // and how long it may become
	extents []*extent
	size    int64

	writable atomic.Bool
	touched  atomic.Bool // the CID is new since the image was opened
	cid      atomic.Uint32

	allocMu  sync.Mutex // one allocation at a time, with its data
	commitMu sync.Mutex // one write-back at a time; taken after allocMu
	mu       sync.Mutex // the tables; taken last, never held across data I/O
}

var (
	_ blockdev.Node             = (*Image)(nil)
	_ blockdev.OpaqueReader     = (*Image)(nil)
	_ blockdev.ZeroWriter       = (*Image)(nil)
	_ blockdev.CompressedWriter = (*Image)(nil)
	_ blockdev.Backed           = (*Image)(nil)
	_ blockdev.Checker          = (*Image)(nil)
	_ blockdev.Informer         = (*Image)(nil)
	_ blockdev.Reopener         = (*Image)(nil)
	_ blockdev.AllocatedSizer   = (*Image)(nil)
)

// Open opens the image whose descriptor is in r.File, and its extents through the gate. A
// backing file is not opened: attach it with SetBacking.
func Open(ctx context.Context, r blockdev.OpenRequest) (*Image, error) {
	im := &Image{name: r.Filename, file: r.File}
	im.IsParent = im.checkParent
	if err := im.load(ctx, r); err != nil {
		return nil, err
	}
	for _, e := range im.extents {
		e.start = im.size
		if e.size > blockdev.MaxSize-im.size {
			return nil, blockdev.Errorf(blockdev.ErrLimit, "open", im.name, "VMDK extents are larger than a disk can be")
		}
		im.size += e.size
		if reason := e.readOnlyReason(); reason != "" && r.Mode.Writable {
			if !r.Mode.AutoReadOnly {
				return nil, blockdev.Errorf(blockdev.ErrReadOnly, "open", im.name, "%s", reason)
			}
			r.Mode.Writable = false
		}
	}
	im.cid.Store(im.desc.cid)
	if r.Mode.Writable {
		im.startWriting()
	}
	return im, nil
}

func (e *extent) readOnlyReason() string {
	if e.geo == nil || e.readOnly != "" {
		return e.readOnly
	}
	return e.geo.readOnly
}

// startWriting makes everything ready to be written.
func (im *Image) startWriting() {
	for _, e := range im.extents {
		e.startWriting()
	}
	im.writable.Store(true)
}

// Size is the size of the disk.
func (im *Image) Size() int64 { return im.size }

// Writable tells if the image accepts writes at present.
func (im *Image) Writable() bool { return im.writable.Load() }

func (im *Image) checkWritable(op string) error {
	if !im.writable.Load() {
		return blockdev.Errorf(blockdev.ErrReadOnly, op, im.name, "Block node is read-only")
	}
	return nil
}

// extentAt finds the extent that has the byte at off.
func (im *Image) extentAt(off int64) *extent {
	i := sort.Search(len(im.extents), func(i int) bool { return im.extents[i].start > off })
	return im.extents[i-1]
}

// Flush makes all data and the tables durable.
func (im *Image) Flush() error {
	blockdev.Raise(im.file, blockdev.EventFlushToOS)
	if !im.writable.Load() {
		return im.flushFiles()
	}
	return im.commit()
}

// flushFiles flushes every file of the image.
func (im *Image) flushFiles() error {
	if err := im.file.Flush(); err != nil {
		return err
	}
	for _, e := range im.extents {
		if e.file != nil && e.file != im.file {
			if err := e.file.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close writes everything back. After a failure it can be tried again.
func (im *Image) Close() error {
	if err := im.Flush(); err != nil {
		return err
	}
	im.writable.Store(false)
	return nil
}

// ReopenWritable switches between read-only and read-write, the extents' files with it.
func (im *Image) ReopenWritable(writable bool) error {
	if writable == im.writable.Load() {
		return nil
	}
	if !writable {
		if err := im.Close(); err != nil {
			return err
		}
	}
	for _, e := range im.extents {
		if reason := e.readOnlyReason(); writable && reason != "" {
			return blockdev.Errorf(blockdev.ErrReadOnly, "reopen", im.name, "%s", reason)
		}
		if r, ok := e.file.(blockdev.Reopener); ok && e.file != im.file {
			if err := r.ReopenWritable(writable); err != nil {
				return err
			}
		}
	}
	if writable {
		im.startWriting()
	}
	return nil
}

// BackingReference is what the descriptor says.
func (im *Image) BackingReference() blockdev.Reference {
	if im.desc.parent == "" {
		return blockdev.Reference{}
	}
	return blockdev.Reference{Kind: blockdev.RefBacking, Parent: im.name, Name: im.desc.parent, Format: "vmdk"}
}

// hasBacking tells if absent grains may have contents, attached or not.
func (im *Image) hasBacking() bool { return im.Backing() != nil || im.desc.parent != "" }

// ChangeBackingReference is not possible, as in QEMU.
func (im *Image) ChangeBackingReference(string, string) error {
	return &blockdev.Error{Kind: blockdev.ErrNotSupported, Op: "write", File: im.name, Offset: blockdev.NoOffset, Err: syscall.ENOTSUP}
}

// checkParent fails if n is no VMDK, or not as it was when this disk was made.
func (im *Image) checkParent(n blockdev.Node) error {
	if im.desc.parentCID == noParent {
		return nil
	}
	if p, ok := n.(*Image); ok && p.cid.Load() == im.desc.parentCID {
		return nil
	}
	return &blockdev.Error{Kind: blockdev.ErrInvalid, Op: "read", File: im.name, Offset: blockdev.NoOffset, Err: syscall.EINVAL}
}

// touch gives the disk a new CID before it is written to for the first time since it was
// opened, so that disks whose parent it is notice.
func (im *Image) touch() error {
	if im.touched.Load() {
		return nil
	}
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	if im.touched.Load() {
		return nil
	}
	cid := newCID(im.cid.Load())
	if text := im.desc.withCID(cid); im.descMax > 0 {
		if int64(len(text)) > im.descMax {
			return blockdev.Errorf(blockdev.ErrCorrupt, "write", im.name, "VMDK descriptor has no room for its CID")
		}
		if _, err := im.file.WriteAt([]byte(text), im.descAt); err != nil {
			return err
		}
		im.desc.text = text
	}
	im.cid.Store(cid)
	im.touched.Store(true)
	return nil
}

func newCID(old uint32) uint32 {
	for {
		var b [4]byte
		// Read never fails: the program ends where the system has no randomness.
		_, _ = rand.Read(b[:])
		if c := binary.LittleEndian.Uint32(b[:]); c != old && c != noParent && c != noParent-1 {
			return c
		}
	}
}
