// Package luks reads and writes encrypted disks: LUKS version 1, as cryptsetup and QEMU
// make them, and version 2, as cryptsetup makes it, of which the header is only read.
//
//	file    | header, key slots | sector 0 | sector 1 | ...
//	                                 |          |
//	guest                       | sector 0 | sector 1 | ...
//
// The disk is as long as what follows the header. The passphrase comes from a secret that
// the option key-secret names; see package blockdev/secret. The cryptography is in
// formats/internal/luks1 and luks2.
//
// With a detached header, the child named header, the disk is all of the file.
package luks

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
	"github.com/qmon/qmon/formats/internal/luks2"
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
		Children:      []blockdev.Child{{Name: "file"}, {Name: headerChild}},
		Probe:         probe,
		OpenOptions:   openOptions,
		CreateOptions: createOptions,
		AmendOptions:  amendOptions,
		Open:          blockdev.Opener(Open),
		Create:        Create,
		Measure:       measure,
	})
}

// headerChild is the name of a file that holds the header apart from the disk.
const headerChild = "header"

var openOptions = blockdev.OptionTable{
	{Name: luks1.KeySecret, Type: blockdev.OptString, Help: "ID of the secret that provides the keyslot passphrase"},
}

func probe(head []byte, _ string) int {
	if luks1.Probe(head) {
		return 100
	}
	return 0
}

// Image is an opened volume: a [blockdev.Node].
type Image struct {
	name    string
	file    blockdev.Node
	head    blockdev.Node // where the header lies: file, or a file of its own
	payload int64         // where the disk begins in file
	fixed   int64         // its size in bytes, or luks2.Dynamic
	sector  int64         // bytes
	tweak   uint64        // what is added to the numbers of sectors
	header  *luks1.Header // nil for version 2
	header2 *luks2.Header // nil for version 1
	volume  *luks1.Volume // nil if opened for metadata only, and so is cipher, or for version 2
	cipher  *sectors.Cipher
	slots   sync.Mutex // guards the key slots of header
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
	_ blockdev.Amender      = (*Image)(nil)
)

// Open opens the volume in r.File with the passphrase of the secret.
func Open(ctx context.Context, r blockdev.OpenRequest) (*Image, error) {
	im := &Image{name: r.Filename, file: r.File, head: r.File, fixed: luks2.Dynamic, sector: sectorSize}
	if r.OpenChild != nil {
		head, err := r.OpenChild(ctx, headerChild)
		if err != nil {
			return nil, err
		}
		if head != nil {
			im.head = head
		}
	}
	if err := im.readHeader(); err != nil {
		return nil, err
	}
	im.pieces.New = func() any { b := make([]byte, maxPiece); return &b }
	im.writable.Store(r.Mode.Writable)
	if r.Mode.NoIO {
		return im, nil
	}
	return im, im.unlock(ctx, r.Options)
}

func (im *Image) readHeader() error {
	b := make([]byte, luks1.HeaderBytes)
	if im.head.Size() >= luks1.HeaderBytes {
		if _, err := im.head.ReadAt(b, 0); err != nil {
			return err
		}
	}
	if !luks1.Probe(b) && luks2.Found(im.head, im.head.Size()) {
		return im.readHeader2()
	}
	var err error
	if im.header, err = luks1.Parse(b, im.name, im.head != im.file); err != nil {
		return err
	}
	im.payload = im.header.Payload
	return im.checkPayload()
}

func (im *Image) readHeader2() error {
	var err error
	if im.header2, err = luks2.Read(im.head, im.head.Size(), im.name, im.head != im.file); err != nil {
		return err
	}
	s := im.header2.Segment
	im.payload, im.fixed, im.sector, im.tweak = s.Offset, s.Size, s.SectorSize, s.Tweak
	return im.checkPayload()
}

func (im *Image) checkPayload() error {
	if im.payload > im.file.Size() {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, "LUKS payload, at %d, is not in the file", im.payload)
	}
	if im.fixed > im.file.Size()-im.payload {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, "LUKS2 segment, %d bytes at %d, is not in the file", im.fixed, im.payload)
	}
	return nil
}

// unlock makes the cipher.
func (im *Image) unlock(ctx context.Context, o blockdev.Values) error {
	passphrase, err := luks1.Passphrase(o, "", "open", im.name)
	if err != nil {
		return err
	}
	if im.header2 != nil {
		im.cipher, err = im.header2.Unlock(ctx, passphrase, im.head, im.name)
		return err
	}
	if im.volume, err = im.header.Unlock(ctx, passphrase, im.head, im.name); err != nil {
		return err
	}
	im.cipher, err = im.volume.Cipher()
	return err
}

// Size is that of the disk.
func (im *Image) Size() int64 {
	if im.fixed != luks2.Dynamic {
		return im.fixed
	}
	return max(0, im.file.Size()-im.payload) / im.sector * im.sector
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
		if im.isWhole(p, off) {
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
		n := min(int64(len(p)), maxPiece-off%im.sector)
		if err := f(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (im *Image) isWhole(p []byte, off int64) bool {
	return off%im.sector == 0 && int64(len(p))%im.sector == 0
}

// borrow is a buffer for the sectors that p at off is in. in is where p begins in it.
func (im *Image) borrow(p []byte, off int64) (b []byte, in int64, done func()) {
	buf := im.pieces.Get().(*[]byte)
	in = off % im.sector
	n := (in + int64(len(p)) + im.sector - 1) / im.sector * im.sector
	return (*buf)[:n], in, func() { im.pieces.Put(buf) }
}

// number is what the initial vector of the sector at off is made of: it counts 512 bytes,
// however large sectors are.
func (im *Image) number(off int64) uint64 { return im.tweak + uint64(off/sectors.Size) }

func (im *Image) readSectors(p []byte, off int64) error {
	if _, err := im.file.ReadAt(p, im.payload+off); err != nil {
		return err
	}
	im.cipher.Decrypt(p, im.number(off))
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
	if im.isWhole(p, off) {
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
	im.cipher.Encrypt(b, im.number(start))
	_, err := im.file.WriteAt(b, im.payload+start)
	return err
}

// readEdges reads the first and the last sector of a piece.
func (im *Image) readEdges(b []byte, start int64) error {
	last := int64(len(b)) - im.sector
	if err := im.readSectors(b[:im.sector], start); err != nil || last == 0 {
		return err
	}
	return im.readSectors(b[last:], start+last)
}

// Resize changes the length of the file.
func (im *Image) Resize(size int64, o blockdev.ResizeOptions) error {
	if im.fixed != luks2.Dynamic {
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", im.name, "LUKS2 segment has a fixed size")
	}
	size = (size + im.sector - 1) / im.sector * im.sector
	if size > blockdev.MaxSize-im.payload {
		return blockdev.Errorf(blockdev.ErrLimit, "resize", im.name, "The requested file size is too large")
	}
	if o.Preallocation == "metadata" {
		return blockdev.Errorf(blockdev.ErrInvalid, "resize", im.name, "Unsupported preallocation mode: metadata")
	}
	return blockdev.Resize(im.file, im.payload+size, o)
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
func (im *Image) Flush() error {
	blockdev.Raise(im.file, blockdev.EventFlushToOS)
	return im.file.Flush()
}

// Close flushes; the file belongs to the graph.
func (im *Image) Close() error { return im.Flush() }
