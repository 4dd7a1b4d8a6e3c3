package vpc

import (
	"encoding/binary"
	"syscall"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// Offsets of the footer's fields, "Hard Disk Footer Format".
const (
	offCookie       = 0
	offFeatures     = 8
	offVersion      = 12
	offDataOffset   = 16
	offTime         = 24
	offCreator      = 28
	offCreatorVer   = 32
	offCreatorOS    = 36
	offOriginalSize = 40
	offCurrentSize  = 48
	offGeometry     = 56
	offType         = 60
	offChecksum     = 64
	offUUID         = 68
	footerBytes     = 512
	footerCookie    = "conectix"
)

// Values of the footer's fields.
const (
	featureReserved  = 2 // always set
	version1         = 0x00010000
	qemuVersion      = 0x00050003
	typeFixed        = 2
	typeDynamic      = 3
	typeDifferencing = 4
	noDataOffset     = ^uint64(0)
	sectorSize       = 512
)

// The applications that count disk sizes in different ways.
const (
	creatorQEMU  = "qemu"
	creatorQEMU2 = "qem2" // QEMU with force_size
)

// maxSize is that of a disk: a sector's number must fit in 32 bits, with room for metadata.
// The same as QEMU's.
const maxSize = 0xff000000 * sectorSize

// footer is a decoded footer.
type footer struct {
	raw     [footerBytes]byte
	creator string
	data    uint64 // offset of the dynamic header
	current uint64 // size, bytes
	chs     geometry
	kind    uint32
}

// uuid is an identifier, as it is stored.
type uuid [16]byte

// id is the identifier of the disk.
func (f *footer) id() uuid { return uuid(f.raw[offUUID:]) }

// epoch is where time stamps begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// checksum is the one's complement of the sum of the bytes, the checksum's own taken as 0.
func checksum(b []byte, at int) uint32 {
	var sum uint32
	for i, v := range b {
		if i < at || i >= at+4 {
			sum += uint32(v)
		}
	}
	return ^sum
}

// readFooter finds the footer: its copy at the beginning of all but fixed images, else at
// the end.
func readFooter(file blockdev.Node, name string) (*footer, error) {
	size := file.Size()
	if size < footerBytes {
		return nil, blockdev.Errorf(blockdev.ErrFormat, "open", name, "invalid VPC image")
	}
	f := &footer{}
	if _, err := file.ReadAt(f.raw[:], 0); err != nil {
		return nil, err
	}
	atEnd := string(f.raw[:len(footerCookie)]) != footerCookie
	if atEnd {
		if _, err := file.ReadAt(f.raw[:], size-footerBytes); err != nil {
			return nil, err
		}
	}
	be := binary.BigEndian
	f.creator = string(f.raw[offCreator : offCreator+4])
	f.data = be.Uint64(f.raw[offDataOffset:])
	f.current = be.Uint64(f.raw[offCurrentSize:])
	f.kind = be.Uint32(f.raw[offType:])
	f.chs = geometry{
		cylinders: int64(be.Uint16(f.raw[offGeometry:])),
		heads:     int64(f.raw[offGeometry+2]),
		sectors:   int64(f.raw[offGeometry+3]),
	}
	switch {
	case string(f.raw[:len(footerCookie)]) != footerCookie, atEnd && f.kind != typeFixed:
		return nil, blockdev.Errorf(blockdev.ErrFormat, "open", name, "invalid VPC image")
	case be.Uint32(f.raw[offChecksum:]) != checksum(f.raw[:], offChecksum):
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "Incorrect header checksum")
	}
	return f, nil
}

// size is the disk's, bytes, by a rule of sizeRule.
func (f *footer) size(rule, name string) (int64, error) {
	if f.chs.total() == maxGeometry.total() || f.byCurrentSize(rule) {
		if f.current > maxSize {
			return 0, &blockdev.Error{Kind: blockdev.ErrLimit, Op: "open", File: name, Offset: blockdev.NoOffset, Err: syscall.EFBIG}
		}
		return int64(f.current) / sectorSize * sectorSize, nil
	}
	return f.chs.total() * sectorSize, nil
}

// byCurrentSize tells if the size is the field of that name, and not the geometry's. Virtual
// PC rounded sizes to whole cylinders, and so did QEMU; Hyper-V and others do not, and
// nothing but the creator's name says who is which.
func (f *footer) byCurrentSize(rule string) bool {
	switch rule {
	case sizeByGeometry:
		return false
	case sizeByField:
		return true
	case sizeLikeQEMU10:
		return f.creator != creatorQEMU && f.creator != "vpc " && f.creator != "vs  "
	}
	switch f.creator {
	case "win ", creatorQEMU2, "d2v ", "tap\x00", "CTXS":
		return true
	}
	return false
}

// newFooter makes the footer of a new image.
func newFooter(kind uint32, size int64, chs geometry, creator string, id uuid, now time.Time) []byte {
	b := make([]byte, footerBytes)
	be := binary.BigEndian
	copy(b, footerCookie)
	be.PutUint32(b[offFeatures:], featureReserved)
	be.PutUint32(b[offVersion:], version1)
	be.PutUint64(b[offDataOffset:], noDataOffset)
	if kind != typeFixed {
		be.PutUint64(b[offDataOffset:], footerBytes)
	}
	be.PutUint32(b[offTime:], uint32(now.Sub(epoch)/time.Second))
	copy(b[offCreator:], creator)
	be.PutUint32(b[offCreatorVer:], qemuVersion)
	copy(b[offCreatorOS:], "Wi2k")
	be.PutUint64(b[offOriginalSize:], uint64(size))
	be.PutUint64(b[offCurrentSize:], uint64(size))
	be.PutUint16(b[offGeometry:], uint16(chs.cylinders))
	b[offGeometry+2], b[offGeometry+3] = byte(chs.heads), byte(chs.sectors)
	be.PutUint32(b[offType:], kind)
	copy(b[offUUID:], id[:])
	be.PutUint32(b[offChecksum:], checksum(b, offChecksum))
	return b
}
