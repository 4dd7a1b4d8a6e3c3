package qcow2

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// Offsets in a snapshot table entry, section "Snapshots".
const (
	snapL1Offset       = 0
	snapL1Size         = 8
	snapIDLength       = 12
	snapNameLength     = 14
	snapSeconds        = 16
	snapNanoseconds    = 20
	snapVMClock        = 24
	snapVMStateSize32  = 32
	snapExtraSize      = 36
	snapshotFixedSize  = 40
	extraVMStateSize   = 0 // in the extra data
	extraDiskSize      = 8
	extraICount        = 16
	snapshotExtraV3    = 16 // at least in version 3
	snapshotExtraKnown = 24
)

// Limits on the snapshot table, the same as QEMU's.
const (
	maxSnapshots          = 65536
	maxSnapshotExtra      = 1024
	maxSnapshotTableBytes = 64 << 20
	maxSnapshotString     = 1<<16 - 1
)

const snapshotsOffsetInvalid = "Snapshot table offset invalid"

// snapshot is an entry of the snapshot table.
type snapshot struct {
	l1Offset     int64
	l1Size       uint32
	id, name     string
	seconds      uint32
	nanoseconds  uint32
	vmClock      uint64
	vmStateSize  int64
	diskSize     int64
	icount       uint64
	extraSize    int    // as found in the file
	unknownExtra []byte // beyond what we know
	cut          int64  // bytes of extra data that the file has and that are left out
	users        int    // nodes opened on it
}

func (s *snapshot) public() blockdev.Snapshot {
	return blockdev.Snapshot{
		ID: cString(s.id), Name: cString(s.name), VMStateSize: s.vmStateSize, DiskSize: s.diskSize,
		Date: time.Unix(int64(s.seconds), int64(s.nanoseconds)), VMClock: time.Duration(s.vmClock), ICount: s.icount,
	}
}

// discarding is told what is beyond the limits on the snapshot table and left out, and of how
// many snapshots that is.
type discarding func(n int64, format string, args ...any)

// overhangs is the hint for who cannot open an image that has n snapshots too many.
func overhangs(n int64) string {
	return fmt.Sprintf("You can force-remove all %d overhanging snapshots with qemu-img check -r all", n)
}

// cString is what of a string QEMU sees.
func cString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// loadSnapshots reads the snapshot table entry by entry: their lengths are in them. With
// discard it goes on where limits are passed.
func (im *Image) loadSnapshots(discard discarding) error {
	off, count := im.hdr.snapshotsOffset, int64(im.hdr.snapshotCount)
	if !validTable(off, 0, im.clusterSize) {
		return headerError(im.name, offSnapshotsOffset, snapshotsOffsetInvalid)
	}
	if over := count - maxSnapshots; over > 0 {
		if discard == nil {
			return limitError(im.name, offSnapshotCount, "snapshot table too large\n"+overhangs(over))
		}
		discard(over, "%d overhanging snapshots", over)
		count = maxSnapshots
	}
	var list []*snapshot
	size := int64(0) // of what is kept
	for i := range count {
		s, n, err := im.readSnapshot(off, i, discard)
		if err != nil {
			return err
		}
		if size += n - s.cut; size > maxSnapshotTableBytes {
			if discard == nil {
				return limitError(im.name, off, "Snapshot table is too big\n"+overhangs(count-i))
			}
			discard(count-i, "%d overhanging snapshots (snapshot table is too big)", count-i)
			break
		}
		list = append(list, s)
		off += n
	}
	im.snaps, im.snapshotBytes = list, off-im.hdr.snapshotsOffset
	return nil
}

// readSnapshot reads the table entry at off and tells its padded length.
func (im *Image) readSnapshot(off, index int64, discard discarding) (*snapshot, int64, error) {
	fixed := make([]byte, snapshotFixedSize)
	if err := readPadded(im.file, fixed, off); err != nil {
		return nil, 0, err
	}
	be := binary.BigEndian
	s := &snapshot{
		l1Offset:    int64(be.Uint64(fixed[snapL1Offset:])),
		l1Size:      be.Uint32(fixed[snapL1Size:]),
		seconds:     be.Uint32(fixed[snapSeconds:]),
		nanoseconds: be.Uint32(fixed[snapNanoseconds:]),
		vmClock:     be.Uint64(fixed[snapVMClock:]),
		vmStateSize: int64(be.Uint32(fixed[snapVMStateSize32:])),
		diskSize:    im.hdr.size,
		icount:      blockdev.NoICount,
	}
	extra := int64(be.Uint32(fixed[snapExtraSize:]))
	switch {
	case extra > maxSnapshotExtra && discard != nil:
		discard(1, "too much extra metadata in snapshot table entry %d (%d > %d)", index, extra, maxSnapshotExtra)
		extra, s.cut = maxSnapshotExtra, extra-maxSnapshotExtra
	case extra > maxSnapshotExtra:
		return nil, 0, blockdev.ErrorAt(blockdev.ErrLimit, "open", im.name, off+snapExtraSize,
			"Too much extra metadata in snapshot table entry %d\nYou can force-remove this extra metadata with qemu-img check -r all", index)
	}
	idLen := int64(be.Uint16(fixed[snapIDLength:]))
	nameLen := int64(be.Uint16(fixed[snapNameLength:]))
	known := make([]byte, extra)
	names := make([]byte, idLen+nameLen)
	at := off + snapshotFixedSize
	if err := readPadded(im.file, known, at); err != nil {
		return nil, 0, err
	}
	at += extra + s.cut
	if err := readPadded(im.file, names, at); err != nil {
		return nil, 0, err
	}
	s.decodeExtra(known)
	s.id, s.name = string(names[:idLen]), string(names[idLen:])
	return s, (at + int64(len(names)) - off + 7) &^ 7, nil
}

func (s *snapshot) decodeExtra(b []byte) {
	be := binary.BigEndian
	s.extraSize = len(b)
	if len(b) >= extraVMStateSize+8 {
		s.vmStateSize = int64(be.Uint64(b[extraVMStateSize:]) & (1<<63 - 1))
	}
	if len(b) >= extraDiskSize+8 {
		s.diskSize = int64(be.Uint64(b[extraDiskSize:]) & (1<<63 - 1))
	}
	if len(b) >= extraICount+8 {
		s.icount = be.Uint64(b[extraICount:])
	}
	if len(b) > snapshotExtraKnown {
		s.unknownExtra = append([]byte(nil), b[snapshotExtraKnown:]...)
	}
}

// encode is the table entry, padded.
func (s *snapshot) encode() []byte {
	b := make([]byte, snapshotFixedSize+snapshotExtraKnown)
	be := binary.BigEndian
	be.PutUint64(b[snapL1Offset:], uint64(s.l1Offset))
	be.PutUint32(b[snapL1Size:], s.l1Size)
	be.PutUint16(b[snapIDLength:], uint16(len(s.id)))
	be.PutUint16(b[snapNameLength:], uint16(len(s.name)))
	be.PutUint32(b[snapSeconds:], s.seconds)
	be.PutUint32(b[snapNanoseconds:], s.nanoseconds)
	be.PutUint64(b[snapVMClock:], s.vmClock)
	if s.vmStateSize < 1<<32 {
		be.PutUint32(b[snapVMStateSize32:], uint32(s.vmStateSize))
	}
	be.PutUint32(b[snapExtraSize:], uint32(snapshotExtraKnown+len(s.unknownExtra)))
	extra := b[snapshotFixedSize:]
	be.PutUint64(extra[extraVMStateSize:], uint64(s.vmStateSize))
	be.PutUint64(extra[extraDiskSize:], uint64(s.diskSize))
	be.PutUint64(extra[extraICount:], s.icount)
	b = append(b, s.unknownExtra...)
	b = append(b, s.id...)
	b = append(b, s.name...)
	return append(b, make([]byte, -len(b)&7)...)
}

// writeSnapshotTable writes the table anew, elsewhere, and makes the header point to it
// once all metadata is durable. commitMu and mu are held.
func (im *Image) writeSnapshotTable(list []*snapshot) error {
	var b []byte
	for _, s := range list {
		b = append(b, s.encode()...)
	}
	if len(b) > maxSnapshotTableBytes {
		return blockdev.Errorf(blockdev.ErrLimit, "snapshot", im.name, "Snapshot table is too big")
	}
	var run clusterRun
	var off int64
	if len(b) > 0 {
		var err error
		if run, err = im.allocate("", im.clustersFor(int64(len(b))), true); err != nil {
			return err
		}
		off = run.first << im.clusterBits
		if _, err = im.file.WriteAt(b, off); err != nil {
			im.giveBack(run)
			return err
		}
	}
	if err := im.commitLocked(); err != nil {
		im.giveBack(run)
		return err
	}
	if err := im.setSnapshotTable(uint32(len(list)), off); err != nil {
		im.giveBack(run)
		return err
	}
	im.release(im.hdr.snapshotsOffset>>im.clusterBits, im.clustersFor(im.snapshotBytes), 1, discardSnapshot)
	im.hdr.snapshotCount, im.hdr.snapshotsOffset = uint32(len(list)), off
	im.snaps, im.snapshotBytes = list, int64(len(b))
	return nil
}

// setSnapshotTable changes count and offset in the header: neighbours in one sector.
func (im *Image) setSnapshotTable(count uint32, off int64) error {
	var b [12]byte
	binary.BigEndian.PutUint32(b[:], count)
	binary.BigEndian.PutUint64(b[4:], uint64(off))
	return im.changeHeader(offSnapshotCount, b[:])
}

// snapshotL1 reads a snapshot's L1 table.
func (im *Image) snapshotL1(s *snapshot) ([]uint64, error) {
	if err := im.checkSnapshotL1(s); err != nil {
		return nil, err
	}
	if need := im.l1Needed(s.diskSize); need > maxL1Bytes/8 {
		return nil, im.corrupt("snapshot", s.l1Offset, "Snapshot disk size %d is too large", s.diskSize)
	}
	return im.readL1(s)
}

// checkSnapshotL1 refuses an L1 table that cannot be where and as long as the snapshot table
// says.
func (im *Image) checkSnapshotL1(s *snapshot) error {
	refuse := func(errno syscall.Errno, text string) error {
		return blockdev.ErrorAt(&refusal{blockdev.ErrCorrupt, errno}, "snapshot", im.name, s.l1Offset, "%s", text)
	}
	if int64(s.l1Size) > maxL1Bytes/8 {
		return refuse(syscall.EFBIG, "Snapshot L1 table too large")
	}
	if !validTable(s.l1Offset, int64(s.l1Size)*8, im.clusterSize) {
		return refuse(syscall.EINVAL, "Snapshot L1 table offset invalid")
	}
	return nil
}

// readL1 reads as much of a snapshot's L1 table as the file has: what is missing is empty,
// and a hostile table of many snapshots costs no more than the file is long.
func (im *Image) readL1(s *snapshot) ([]uint64, error) {
	inFile := max(im.file.Size()-s.l1Offset+7, 0) / 8
	return im.readEntries(s.l1Offset, min(int64(s.l1Size), inFile))
}
