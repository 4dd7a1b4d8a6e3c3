package protocol

import (
	"fmt"
	"hash/fnv"
)

// VID identifies a VDI: 24 bits, and 0 for none.
type VID uint32

func (v VID) String() string { return fmt.Sprintf("%06x", uint32(v)) }

// Valid tells if v can be that of a VDI.
func (v VID) Valid() bool { return v > 0 && v < MaxVID }

// HashName is the id that a VDI of that name gets if it is free: FNV-1a, 64 bits, cut to
// 24. If it is not, the next free one above is taken.
func HashName(name string) VID {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash takes everything
	return max(VID(h.Sum64()&(MaxVID-1)), 1)
}

// Next is the id behind v, around the end.
func (v VID) Next() VID {
	if v+1 >= MaxVID {
		return 1
	}
	return v + 1
}

// ObjectID names an object:
//
//	bit 63 inode | 62 VM state | 55..32 VDI id | 31..0 index of the object
type ObjectID uint64

const (
	inodeBit   ObjectID = 1 << 63
	vmStateBit ObjectID = 1 << 62
	vidShift            = 32
)

// InodeID is the object with a VDI's inode.
func InodeID(v VID) ObjectID { return inodeBit | ObjectID(v)<<vidShift }

// DataID is the object of index in a VDI's disk.
func DataID(v VID, index uint32) ObjectID { return ObjectID(v)<<vidShift | ObjectID(index) }

// VMStateID is the object of index in a VDI's VM state.
func VMStateID(v VID, index uint32) ObjectID { return vmStateBit | DataID(v, index) }

// VID is the VDI that the object belongs to.
func (o ObjectID) VID() VID { return VID(o >> vidShift & (MaxVID - 1)) }

// Index is the object's index in its VDI.
func (o ObjectID) Index() uint32 { return uint32(o) }

// IsInode and IsVMState tell the kinds apart; what is neither is data.
func (o ObjectID) IsInode() bool { return o&inodeBit != 0 }

// IsVMState tells if the object is a part of a machine's state.
func (o ObjectID) IsVMState() bool { return o&vmStateBit != 0 }

func (o ObjectID) String() string { return fmt.Sprintf("%016x", uint64(o)) }
