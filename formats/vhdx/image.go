package vhdx

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
)

// Image is an opened VHDX image: a [blockdev.Node].
type Image struct {
	name     string
	file     blockdev.Node
	meta     *metadata
	unmap    bool
	reserved []span // what no block may lie over
	replayed bool   // the log was replayed when the image was opened

	writable atomic.Bool
	touched  atomic.Bool // the identifiers are new since the image was opened

	commitMu sync.Mutex // one commit at a time; guards headers and log
	headers  *headers
	log      *logWriter // nil while the log is empty

	mu      sync.Mutex // guards all below; taken after commitMu
	bat     *bat
	fileEnd int64
}

var (
	_ blockdev.Node       = (*Image)(nil)
	_ blockdev.ZeroWriter = (*Image)(nil)
	_ blockdev.Discarder  = (*Image)(nil)
	_ blockdev.Checker    = (*Image)(nil)
	_ blockdev.Informer   = (*Image)(nil)
	_ blockdev.Reopener   = (*Image)(nil)
)

// Open opens the image in r.File. If its log holds something, that is replayed, for which
// the image must be opened to be written. A differencing image is only read; its parent is
// not opened: attach it with SetBacking.
func Open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	im, err := openImage(r)
	if err != nil {
		return nil, err
	}
	if !im.meta.hasParent {
		return im, nil
	}
	return blockdev.AsNode(openDifferencing(im, r.Mode))
}

func openImage(r blockdev.OpenRequest) (*Image, error) {
	h, err := readHeaders(r.File, r.Filename)
	if err != nil {
		return nil, err
	}
	if !r.Mode.Writable && !h.current.log.isZero() {
		return nil, blockdev.Errorf(blockdev.ErrReadOnly, "open", r.Filename,
			"VHDX image file '%s' opened read-only, but contains a log that needs to be replayed\n"+
				"To replay the log, run:\nqemu-img check -r all '%s'", r.Filename, r.Filename)
	}
	im := &Image{name: r.Filename, file: r.File, headers: h, unmap: r.Mode.Unmap}
	if im.replayed, err = replay(r.File, r.Filename, h); err != nil {
		return nil, err
	}
	if err := im.load(); err != nil {
		return nil, err
	}
	im.writable.Store(r.Mode.Writable)
	return im, nil
}

// load reads the tables.
func (im *Image) load() error {
	log := span{im.headers.current.logOffset, im.headers.current.logLength}
	at, err := readRegions(im.file, im.name, log)
	if err != nil {
		return err
	}
	if im.meta, err = readMetadata(im.file, im.name, at.metadata); err != nil {
		return err
	}
	im.reserved = []span{{0, headerSection}, log, at.bat, at.metadata}
	im.fileEnd = im.file.Size()
	im.bat, err = newBAT(im.file, im.name, at.bat, im.meta)
	return err
}

// Size is the size of the disk.
func (im *Image) Size() int64 { return im.meta.diskSize }

// Writable tells if the image accepts writes at present.
func (im *Image) Writable() bool { return im.writable.Load() }

// Flush makes everything written durable.
func (im *Image) Flush() error {
	blockdev.Raise(im.file, blockdev.EventFlushToOS)
	if !im.writable.Load() {
		return im.file.Flush()
	}
	return im.commit()
}

// Close flushes and empties the log. After a failure it can be tried again.
func (im *Image) Close() error { return im.ReopenWritable(false) }

// ReopenWritable switches between read-only and read-write.
func (im *Image) ReopenWritable(writable bool) error {
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	if !writable && im.writable.Load() {
		if err := im.rest(); err != nil {
			return err
		}
	}
	if writable && !im.writable.Load() {
		im.mu.Lock()
		im.fileEnd = im.file.Size()
		im.mu.Unlock()
	}
	im.writable.Store(writable)
	return nil
}

// Info tells the block size; there is no part of the format's own.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	return blockdev.ImageInfo{ClusterSize: im.meta.blockSize}, nil
}
