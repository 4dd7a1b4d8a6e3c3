package protocol

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// Offsets within an inode object, in bytes.
const (
	OffsetName        = 0
	OffsetTag         = 256
	OffsetCreateTime  = 512
	OffsetSnapTime    = 520
	OffsetVMClock     = 528
	OffsetSize        = 536
	OffsetVMStateSize = 544
	OffsetCopyPolicy  = 552
	OffsetStorePolicy = 553
	OffsetCopies      = 554
	OffsetShift       = 555
	OffsetSnapID      = 556
	OffsetVID         = 560
	OffsetParent      = 564
	// InodeHeaderSize is all that is before the unused part.
	InodeHeaderSize = 568
	// OffsetTable is where the table begins, 4 bytes an entry: for each object of the disk
	// the VDI that owns it, 0 for a hole. A header is never written beyond it: a write that
	// runs from one into the other escapes the daemon's counting of references.
	OffsetTable = 4664
	// EntrySize is that of a table entry.
	EntrySize = 4
	// OffsetReferences is the daemon's own part, never to be written.
	OffsetReferences = OffsetTable + MaxObjects*EntrySize
)

// EntryOffset is where the table has the entry of an object.
func EntryOffset(index uint32) uint32 { return OffsetTable + index*EntrySize }

// Inode is the header of an inode object.
type Inode struct {
	Name, Tag   string
	CreateTime  time.Time
	SnapTime    time.Time     // zero for the working VDI
	VMClock     time.Duration // when a snapshot of a machine was made
	Size        uint64        // of the disk, bytes
	VMStateSize uint64        // bytes
	CopyPolicy  uint8         // 0, or an erasure code: data strips / 2, parity strips
	StorePolicy uint8         // 0 for a plain table
	Copies      uint8
	Shift       uint8 // the object size is 1<<Shift bytes
	SnapID      uint32
	VID         VID
	Parent      VID // 0 for none
}

// DecodeInode reads the header, InodeHeaderSize bytes, without judging it.
func DecodeInode(b []byte) Inode {
	le := binary.LittleEndian
	return Inode{
		Name: cString(b[OffsetName:][:NameSize]), Tag: cString(b[OffsetTag:][:NameSize]),
		CreateTime: decodeTime(b[OffsetCreateTime:]), SnapTime: decodeTime(b[OffsetSnapTime:]),
		VMClock: time.Duration(le.Uint64(b[OffsetVMClock:])),
		Size:    le.Uint64(b[OffsetSize:]), VMStateSize: le.Uint64(b[OffsetVMStateSize:]),
		CopyPolicy: b[OffsetCopyPolicy], StorePolicy: b[OffsetStorePolicy],
		Copies: b[OffsetCopies], Shift: b[OffsetShift],
		SnapID: le.Uint32(b[OffsetSnapID:]), VID: VID(le.Uint32(b[OffsetVID:])),
		Parent: VID(le.Uint32(b[OffsetParent:])),
	}
}

// Encode writes the header to b, which has InodeHeaderSize bytes; the daemon's counter
// between them stays.
func (n Inode) Encode(b []byte) {
	clear(b[:OffsetCreateTime])
	copy(b[OffsetName:][:NameSize], n.Name)
	copy(b[OffsetTag:][:NameSize], n.Tag)
	le := binary.LittleEndian
	le.PutUint64(b[OffsetCreateTime:], encodeTime(n.CreateTime))
	le.PutUint64(b[OffsetSnapTime:], encodeTime(n.SnapTime))
	le.PutUint64(b[OffsetVMClock:], uint64(n.VMClock))
	le.PutUint64(b[OffsetSize:], n.Size)
	le.PutUint64(b[OffsetVMStateSize:], n.VMStateSize)
	b[OffsetCopyPolicy], b[OffsetStorePolicy] = n.CopyPolicy, n.StorePolicy
	b[OffsetCopies], b[OffsetShift] = n.Copies, n.Shift
	le.PutUint32(b[OffsetSnapID:], n.SnapID)
	le.PutUint32(b[OffsetVID:], uint32(n.VID))
	le.PutUint32(b[OffsetParent:], uint32(n.Parent))
}

// IsSnapshot tells a snapshot from a working VDI.
func (n Inode) IsSnapshot() bool { return !n.SnapTime.IsZero() }

// ObjectSize is in bytes.
func (n Inode) ObjectSize() int64 { return 1 << n.Shift }

// Objects is how many entries of the table belong to the disk.
func (n Inode) Objects() uint32 { return Objects(int64(n.Size), n.Shift) }

// Objects is how many objects of 1<<shift bytes a disk of size bytes has.
func Objects(size int64, shift uint8) uint32 { return uint32((size + 1<<shift - 1) >> shift) }

// MaxSize is how large a disk with objects of 1<<shift bytes can be, in bytes.
func MaxSize(shift uint8) int64 { return MaxObjects << shift }

// Check refuses an inode that is not that of vid, or that nothing here can use. The
// daemon accepts every value, so everything is checked that a computation relies on.
func (n Inode) Check(file string, vid VID) error {
	corrupt := func(format string, args ...any) error {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", file, format, args...)
	}
	switch {
	case n.VID != vid:
		return corrupt("the inode of VDI %s says that it is %s's", vid, n.VID)
	case n.Name == "":
		return corrupt("VDI %s was deleted", vid)
	case n.StorePolicy != 0:
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", file,
			"VDI %s is a hypervolume (store policy %d), which is not supported", vid, n.StorePolicy)
	case n.Shift < MinShift || n.Shift > MaxShift:
		return corrupt("VDI %s has objects of 2^%d bytes, not 2^%d to 2^%d", vid, n.Shift, MinShift, MaxShift)
	case n.Size > uint64(MaxSize(n.Shift)):
		return corrupt("VDI %s has %d bytes, more than its table can hold", vid, n.Size)
	case n.VMStateSize > uint64(MaxVMStateSize(n.Shift)):
		return corrupt("VDI %s has %d bytes of VM state", vid, n.VMStateSize)
	}
	return nil
}

// MaxVMStateSize is how large a VM state may be, in bytes. The index has 32 bits; the
// table's limit is kept, which is a thousand times the RAM of any machine.
func MaxVMStateSize(shift uint8) int64 { return MaxSize(shift) }

// DecodeTable reads table entries. An entry that is no VDI id is an error.
func DecodeTable(file string, b []byte) ([]VID, error) {
	table := make([]VID, len(b)/EntrySize)
	for i := range table {
		table[i] = VID(binary.LittleEndian.Uint32(b[i*EntrySize:]))
		if table[i] >= MaxVID {
			return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", file, int64(i),
				"table entry %d is %#x, which is no VDI id", i, uint32(table[i]))
		}
	}
	return table, nil
}

// cString is what is before the first NUL.
func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// Times have seconds in the high and nanoseconds in the low 32 bits; 0 is none.
func decodeTime(b []byte) time.Time {
	v := binary.LittleEndian.Uint64(b)
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(int64(v>>32), int64(v&(1<<32-1)))
}

func encodeTime(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.Unix())<<32 | uint64(t.Nanosecond())
}

// EncodeName is a NUL-padded field of NameSize bytes, appended to b.
func EncodeName(b []byte, name string) []byte {
	var field [NameSize]byte
	copy(field[:MaxName], name)
	return append(b, field[:]...)
}

// CheckName refuses names and tags that the daemon would accept and not find again.
func CheckName(what, name string) error {
	switch {
	case name == "":
		return blockdev.Errorf(blockdev.ErrInvalid, "", "", "%s is empty", what)
	case len(name) > MaxName:
		return blockdev.Errorf(blockdev.ErrLimit, "", "", "%s is longer than %d bytes", what, MaxName)
	case bytes.IndexByte([]byte(name), 0) >= 0:
		return blockdev.Errorf(blockdev.ErrInvalid, "", "", "%s has a NUL", what)
	}
	return nil
}
