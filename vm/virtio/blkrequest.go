package virtio

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

// Requests of the block device (section 5.2.6).
const (
	sectorSize = 512

	blkRead         = 0
	blkWrite        = 1
	blkFlushRequest = 4
	blkGetID        = 8
	blkDiscardReq   = 11
	blkZeroRequest  = 13
	blkBarrier      = 0x80000000 // legacy: a bit beside the type, without a meaning here

	blkHeaderSize  = 16 // le32 type, le32 reserved, le64 sector
	blkSegmentSize = 16 // le64 sector, le32 sectors, le32 flags
	blkUnmap       = 1  // flag of a segment
	blkIDSize      = 20

	statusOK          = 0
	statusIOError     = 1
	statusUnsupported = 2
)

// maxBlkSectors is the most sectors of a discard or write-zeroes request, as the config
// space says: what fits 2 GiB less one block.
const maxBlkSectors = 1<<22 - 1

// blkRequest is one request between being taken from the queue and being returned.
type blkRequest struct {
	block   *Block
	queue   *Queue
	chain   *Chain
	kind    uint32
	off     int64   // on the drive, in bytes
	length  int64   // of data, or of what is to be discarded
	data    Buffers // what is to be read or written
	status8 Buffers // where the status goes
	unmap   bool

	flushAfter bool
	status     byte
	written    uint64 // bytes of data written into the guest's memory
	err        error  // of the drive
}

// newRequest takes a chain apart; nil, and the device stopped, if it has no header or no
// status. A request that makes no sense has its status already.
func (b *Block) newRequest(q *Queue, c *Chain) *blkRequest {
	var header [blkHeaderSize]byte
	n := c.In.Len()
	if c.Out.CopyTo(header[:]) < blkHeaderSize || n == 0 {
		b.slot.fail("request without header or status in queue %d", q.Index())
		return nil
	}
	r := &blkRequest{block: b, queue: q, chain: c, kind: binary.LittleEndian.Uint32(header[:]) &^ blkBarrier}
	sector := binary.LittleEndian.Uint64(header[8:])
	_, out := c.Out.Cut(blkHeaderSize)
	var in Buffers
	in, r.status8 = c.In.Cut(n - 1)
	switch r.kind {
	case blkRead:
		r.data = in
		b.place(r, sector, r.data.Len())
	case blkWrite:
		r.data = out
		b.place(r, sector, r.data.Len())
		b.refuseReadOnly(r)
	case blkFlushRequest:
	case blkGetID:
		r.getID(in, b.serial)
	case blkDiscardReq, blkZeroRequest:
		b.placeSegment(r, out)
		b.refuseReadOnly(r)
	default:
		r.status = statusUnsupported
	}
	return r
}

// place checks where a transfer lies.
func (b *Block) place(r *blkRequest, sector, n uint64) {
	if n%sectorSize != 0 || sector > b.capacity || n/sectorSize > b.capacity-sector {
		r.status = statusIOError
		return
	}
	r.off, r.length = int64(sector*sectorSize), int64(n)
}

// placeSegment reads the one segment of a discard or write-zeroes request; the config
// space allows no more.
func (b *Block) placeSegment(r *blkRequest, out Buffers) {
	var segment [blkSegmentSize]byte
	if out.Len() != blkSegmentSize {
		r.status = statusUnsupported
		return
	}
	out.CopyTo(segment[:])
	sectors := binary.LittleEndian.Uint32(segment[8:])
	flags := binary.LittleEndian.Uint32(segment[12:])
	r.unmap = flags&blkUnmap != 0
	switch {
	case flags&^blkUnmap != 0, r.unmap && r.kind == blkDiscardReq:
		r.status = statusUnsupported
	case sectors > maxBlkSectors:
		r.status = statusIOError
	default:
		b.place(r, binary.LittleEndian.Uint64(segment[:]), uint64(sectors)*sectorSize)
	}
}

func (b *Block) refuseReadOnly(r *blkRequest) {
	if r.status == statusOK && b.drive.ReadOnly() {
		r.status = statusIOError
	}
}

// getID answers with the serial number, padded with zeroes, unterminated if it is long.
func (r *blkRequest) getID(in Buffers, serial string) {
	var id [blkIDSize]byte
	copy(id[:], serial)
	r.written = uint64(in.CopyFrom(id[:]))
}

// needsDrive tells if there is anything left to do.
func (r *blkRequest) needsDrive() bool { return r.status == statusOK && r.kind != blkGetID }

// run does the work. It is called on a goroutine of its own and touches nothing but the
// request, its buffers and the drive.
func (r *blkRequest) run() {
	d := r.block.drive
	switch r.kind {
	case blkRead:
		r.err = d.Any().ReadVector(r.data.pieces(), r.off)
		// The whole buffer counts as written: what a failed read left there is undefined.
		r.written = uint64(r.length)
	case blkWrite:
		r.err = d.Any().WriteVector(r.data.pieces(), r.off)
	case blkFlushRequest:
		r.err = d.Flush()
	case blkDiscardReq:
		r.err = d.Discard(r.off, r.length)
	case blkZeroRequest:
		var flags blockdev.ZeroFlags
		if r.unmap {
			flags = blockdev.ZeroMayUnmap
		}
		r.err = d.WriteZeroes(r.off, r.length, flags)
	}
	if r.err == nil && r.flushAfter && r.kind != blkRead && r.kind != blkFlushRequest {
		r.err = d.Flush()
	}
	if r.err != nil {
		r.status = statusIOError
	}
}
