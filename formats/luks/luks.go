// Package luks reads and writes encrypted disks: LUKS version 1, as cryptsetup and QEMU
// make them.
//
//	file    | header, key slots | sector 0 | sector 1 | ...
//	                                 |          |
//	guest                       | sector 0 | sector 1 | ...
//
// The disk is as long as what follows the header. The passphrase comes from a secret that
// the option key-secret names; see package blockdev/secret. The cryptography is in
// formats/internal/luks1.
package luks

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/secret"
	"github.com/qmon/qmon/formats/internal/luks1"
	"github.com/qmon/qmon/formats/internal/sectors"
)

const (
	sectorSize = luks1.SectorSize
	// maxPiece is how much is encrypted at once, and so the memory that a request needs.
	maxPiece = 1 << 20
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "luks",
		Probe:         probe,
		OpenOptions:   openOptions,
		CreateOptions: createOptions,
		Open: func(ctx context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
			im, err := Open(ctx, r)
			if err != nil {
				return nil, err
			}
			return im, nil
		},
		Create: Create,
	})
}

var openOptions = blockdev.OptionTable{
	{Name: "key-secret", Type: blockdev.OptString, Help: "ID of the secret that provides the keyslot passphrase"},
}

func probe(head []byte, _ string) int {
	if luks1.Probe(head) {
		return 100
	}
	return 0
}

// Image is an opened volume: a [blockdev.Node].
type Image struct {
	name   string
	file   blockdev.Node
	header *luks1.Header
	cipher *sectors.Cipher // nil if opened for metadata only
	// partial is held for writing while sectors are read, changed in part and written back,
	// and for reading by all other writes.
	partial  sync.RWMutex
	pieces   sync.Pool // of *[]byte, maxPiece long
	writable atomic.Bool
}

var (
	_ blockdev.Node         = (*Image)(nil)
	_ blockdev.OpaqueReader = (*Image)(nil)
	_ blockdev.Resizer      = (*Image)(nil)
	_ blockdev.Informer     = (*Image)(nil)
	_ blockdev.Reopener     = (*Image)(nil)
	_ blockdev.Limiter      = (*Image)(nil)
	_ blockdev.NewContents  = (*Image)(nil)
)

// Open opens the volume in r.File with the passphrase of the secret.
func Open(ctx context.Context, r blockdev.OpenRequest) (*Image, error) {
	b := make([]byte, luks1.HeaderBytes)
	if r.File.Size() >= luks1.HeaderBytes {
		if _, err := r.File.ReadAt(b, 0); err != nil {
			return nil, err
		}
	}
	h, err := luks1.Parse(b, r.Filename)
	if err != nil {
		return nil, err
	}
	if h.Payload > r.File.Size() {
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "open", r.Filename, "LUKS payload, at %d, is not in the file", h.Payload)
	}
	im := &Image{name: r.Filename, file: r.File, header: h}
	im.pieces.New = func() any { b := make([]byte, maxPiece); return &b }
	im.writable.Store(r.Mode.Writable)
	if r.Mode.NoIO {
		return im, nil
	}
	return im, im.unlock(ctx, r.Options)
}

// unlock makes the cipher.
func (im *Image) unlock(ctx context.Context, o blockdev.Values) error {
	passphrase, err := passphrase(o, "open", im.name)
	if err != nil {
		return err
	}
	key, err := im.header.Unlock(ctx, passphrase, im.file, im.name)
	if err != nil {
		return err
	}
	im.cipher, err = sectors.New(im.header.Spec, key)
	return err
}

func passphrase(o blockdev.Values, op, name string) ([]byte, error) {
	id, _ := o["key-secret"].(string)
	if id == "" {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, op, name, "Parameter 'key-secret' is required for cipher")
	}
	return secret.Lookup(id)
}

// Size is that of the disk.
func (im *Image) Size() int64 {
	return max(0, im.file.Size()-im.header.Payload) / sectorSize * sectorSize
}

// Map says of all bytes that they are to be read here: they are encrypted.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", im, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	return blockdev.Extent{Kind: blockdev.ExtentOpaque, Len: n}, nil
}

// usable fails without a key.
func (im *Image) usable(op string, off, n int64) error {
	if im.cipher == nil {
		return blockdev.Errorf(blockdev.ErrDenied, op, im.name, "Image was opened without a key")
	}
	return blockdev.CheckRange(op, im, off, n)
}

// ReadAt reads and decrypts.
func (im *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := im.ReadOpaque(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadOpaque reads and decrypts. Whole sectors are decrypted where they were read to.
func (im *Image) ReadOpaque(p []byte, off int64) error {
	if err := im.usable("read", off, int64(len(p))); err != nil {
		return err
	}
	return im.eachPiece(p, off, func(p []byte, off int64) error {
		if isWhole(p, off) {
			return im.readSectors(p, off)
		}
		b, in, done := im.borrow(p, off)
		defer done()
		if err := im.readSectors(b, off-in); err != nil {
			return err
		}
		copy(p, b[in:])
		return nil
	})
}

// eachPiece calls f with pieces that, rounded to sectors, fit in a buffer.
func (im *Image) eachPiece(p []byte, off int64, f func(p []byte, off int64) error) error {
	for len(p) > 0 {
		n := min(int64(len(p)), maxPiece-off%sectorSize)
		if err := f(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func isWhole(p []byte, off int64) bool { return off%sectorSize == 0 && len(p)%sectorSize == 0 }

// borrow is a buffer for the sectors that p at off is in. in is where p begins in it.
func (im *Image) borrow(p []byte, off int64) (b []byte, in int64, done func()) {
	buf := im.pieces.Get().(*[]byte)
	in = off % sectorSize
	n := (in + int64(len(p)) + sectorSize - 1) / sectorSize * sectorSize
	return (*buf)[:n], in, func() { im.pieces.Put(buf) }
}

func (im *Image) readSectors(p []byte, off int64) error {
	if _, err := im.file.ReadAt(p, im.header.Payload+off); err != nil {
		return err
	}
	im.cipher.Decrypt(p, uint64(off/sectorSize))
	return nil
}

// WriteAt encrypts and writes. Sectors that are written in part are read first.
func (im *Image) WriteAt(p []byte, off int64) (int, error) {
	if !im.writable.Load() {
		return 0, blockdev.Errorf(blockdev.ErrReadOnly, "write", im.name, "Block node is read-only")
	}
	if err := im.usable("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	if err := im.eachPiece(p, off, im.writePiece); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (im *Image) writePiece(p []byte, off int64) error {
	b, in, done := im.borrow(p, off)
	defer done()
	start := off - in
	if isWhole(p, off) {
		im.partial.RLock()
		defer im.partial.RUnlock()
	} else {
		im.partial.Lock()
		defer im.partial.Unlock()
		if err := im.readEdges(b, start); err != nil {
			return err
		}
	}
	copy(b[in:], p)
	im.cipher.Encrypt(b, uint64(start/sectorSize))
	_, err := im.file.WriteAt(b, im.header.Payload+start)
	return err
}

// readEdges reads the first and the last sector of a piece.
func (im *Image) readEdges(b []byte, start int64) error {
	if err := im.readSectors(b[:sectorSize], start); err != nil || len(b) == sectorSize {
		return err
	}
	last := int64(len(b) - sectorSize)
	return im.readSectors(b[last:], start+last)
}

// Resize changes the length of the file.
func (im *Image) Resize(size int64, o blockdev.ResizeOptions) error {
	size = (size + sectorSize - 1) / sectorSize * sectorSize
	if size > blockdev.MaxSize-im.header.Payload {
		return blockdev.Errorf(blockdev.ErrLimit, "resize", im.name, "The requested file size is too large")
	}
	return blockdev.Resize(im.file, im.header.Payload+size, o)
}

// ZeroWhenNew is false: zeroes in the file are decrypted too.
func (im *Image) ZeroWhenNew() bool { return false }

// Limits: requests of whole sectors spare reading and decrypting what is around them.
func (im *Image) Limits() blockdev.Limits { return blockdev.Limits{OptimalTransfer: maxPiece} }

// Writable tells if writes are accepted.
func (im *Image) Writable() bool { return im.writable.Load() }

// ReopenWritable switches between read-only and read-write.
func (im *Image) ReopenWritable(writable bool) error {
	im.writable.Store(writable)
	return nil
}

// Flush flushes the file: nothing is kept here.
func (im *Image) Flush() error { return im.file.Flush() }

// Close flushes; the file belongs to the graph.
func (im *Image) Close() error { return im.Flush() }
