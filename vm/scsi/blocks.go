package scsi

import (
	"bytes"
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

// Commands of block devices (SBC-4, chapter 5).

// Bits of the second byte.
const (
	protectBits     = 0xe0 // RDPROTECT and its kin: no protection information here
	forceUnitAccess = 0x08
	byteCheckBit    = 0x02
	byteCheckBits   = 0x06
	anchorBit       = 0x10
	unmapBit        = 0x08
)

func (u *Unit) readCapacity10(t *Task) {
	last := u.lastBlock()
	if t.CDB[8]&1 == 0 && binary.BigEndian.Uint32(t.CDB[2:]) != 0 {
		t.fail(senseBadField)
		return
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(min(last, 1<<32-1)))
	t.reply(binary.BigEndian.AppendUint32(b, uint32(u.blockSize())), 8)
}

// readCapacity16 is the one service action of SERVICE ACTION IN (16) here.
func (u *Unit) readCapacity16(t *Task) {
	if t.CDB[1]&0x1f != 0x10 {
		t.fail(senseBadField)
		return
	}
	b := make([]byte, 32)
	binary.BigEndian.PutUint64(b, u.lastBlock())
	binary.BigEndian.PutUint32(b[8:], uint32(u.blockSize()))
	if u.kind != CDROM {
		b[14] = 0x80 // blocks can be unmapped
	}
	t.reply(b, cdb(t.CDB).limit())
}

// lastBlock is the address of the last one; of a medium with none too, 0.
func (u *Unit) lastBlock() uint64 { return max(u.blocks, 1) - 1 }

// span checks addresses and returns them in bytes.
func (u *Unit) span(t *Task, lba, blocks uint64) (off, n int64, ok bool) {
	capacity := u.blocks
	if lba > capacity || blocks > capacity-lba {
		t.fail(senseOutOfRange)
		return 0, 0, false
	}
	return int64(lba) * u.blockSize(), int64(blocks) * u.blockSize(), true
}

// protected refuses commands that want protection information, which there is none of.
func (t *Task) protected() bool {
	six := t.CDB[0]>>5 == 0 // bits of the address are there
	if six || t.CDB[1]&protectBits == 0 {
		return false
	}
	t.fail(senseBadField)
	return true
}

func (u *Unit) seek(t *Task) { u.span(t, cdb(t.CDB).lba(), 0) }

func (u *Unit) read(t *Task) {
	c := cdb(t.CDB)
	off, n, ok := u.span(t, c.lba(), c.blocks())
	if !ok || t.protected() || n == 0 {
		return
	}
	if size(t.In) < n {
		t.Overrun = true
		return
	}
	medium, bufs := u.medium, cut(t.In, n)
	t.Written = n
	t.run = func() error { return medium.ReadVector(bufs, off) }
}

// write serves WRITE and WRITE AND VERIFY: what was written and flushed can be read.
func (u *Unit) write(t *Task) {
	c := cdb(t.CDB)
	off, n, ok := u.span(t, c.lba(), c.blocks())
	if !ok || t.protected() || u.refused(t) || n == 0 {
		return
	}
	if size(t.Out) < n {
		t.Overrun = true
		return
	}
	force := t.CDB[1]&forceUnitAccess != 0 && c.op()>>5 != 0
	switch c.op() {
	case opWriteVerify10, opWriteVerify12, opWriteVerify16:
		force = true
	}
	medium, bufs := u.medium, cut(t.Out, n)
	t.Taken = n
	u.change(t, force, func() error { return medium.WriteVector(bufs, off) })
}

// refused fails a write to what cannot be written.
func (u *Unit) refused(t *Task) bool {
	if u.kind == CDROM || u.drive.ReadOnly() {
		t.fail(senseWriteProtected)
		return true
	}
	return false
}

// change has something written, and flushed if that is asked for or there is no cache.
func (u *Unit) change(t *Task, force bool, do func() error) {
	t.Writes = true
	medium, flush := u.medium, force || !u.writeback
	t.run = func() error {
		if err := do(); err != nil || !flush {
			return err
		}
		return medium.Flush()
	}
}

// verify reads what it is told to verify, and compares if asked to.
func (u *Unit) verify(t *Task) {
	c := cdb(t.CDB)
	off, n, ok := u.span(t, c.lba(), c.blocks())
	if !ok || t.protected() {
		return
	}
	check := t.CDB[1] & byteCheckBits
	switch {
	case check == 0:
		// Nothing to compare with, and every read checks what it can.
		return
	case check != byteCheckBit:
		t.fail(senseBadField)
		return
	case size(t.Out) < n:
		t.Overrun = true
		return
	}
	medium, bufs := u.medium, cut(t.Out, n)
	t.Taken = n
	t.run = func() error { return compare(medium, bufs, off) }
}

// compareSize bounds the memory that a comparison takes.
const compareSize = 64 << 10

func compare(medium blockdev.Loaded, bufs [][]byte, off int64) error {
	buf := make([]byte, compareSize)
	for _, want := range bufs {
		for len(want) > 0 {
			n := min(len(want), compareSize)
			if _, err := medium.ReadAt(buf[:n], off); err != nil {
				return err
			}
			if !bytes.Equal(buf[:n], want[:n]) {
				return &senseError{senseMiscompare}
			}
			want, off = want[n:], off+int64(n)
		}
	}
	return nil
}

// synchronizeCache flushes. Without a medium there is nothing to flush.
func (u *Unit) synchronizeCache(t *Task) {
	if u.blocks == 0 || u.kind == CDROM {
		return
	}
	t.Writes = true
	t.run = u.medium.Flush
}

// unmap gives back storage (SBC-4, 5.35): all of the segments, or none if one is wrong.
func (u *Unit) unmap(t *Task) {
	n := cdb(t.CDB).limit()
	if n == 0 {
		return
	}
	if t.CDB[1]&1 != 0 { // anchored
		t.fail(senseBadField)
		return
	}
	p := t.fetch(n)
	if p == nil || u.refused(t) {
		return
	}
	if len(p) < 8 || int(binary.BigEndian.Uint16(p)) < 6 {
		t.fail(senseParameterLength)
		return
	}
	list := p[8:]
	list = list[:min(len(list), int(binary.BigEndian.Uint16(p[2:])))]
	if len(list)/16 > maxUnmapSegments {
		t.fail(senseBadParameter)
		return
	}
	var spans [][2]int64
	for ; len(list) >= 16; list = list[16:] {
		blocks := uint64(binary.BigEndian.Uint32(list[8:]))
		off, n, ok := u.span(t, binary.BigEndian.Uint64(list), blocks)
		if !ok {
			return
		}
		if blocks > maxUnmapBlocks {
			t.fail(senseBadParameter)
			return
		}
		spans = append(spans, [2]int64{off, n})
	}
	medium := u.medium
	u.change(t, false, func() error {
		for _, s := range spans {
			if err := medium.Discard(s[0], s[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeSame writes one block again and again (SBC-4, 5.54).
func (u *Unit) writeSame(t *Task) {
	c := cdb(t.CDB)
	if t.CDB[1]&anchorBit != 0 || t.protected() || c.blocks() == 0 {
		if t.Status == StatusGood {
			t.fail(senseBadField)
		}
		return
	}
	off, n, ok := u.span(t, c.lba(), c.blocks())
	if !ok || u.refused(t) {
		return
	}
	if n/u.blockSize() > maxTransferBlocks {
		t.fail(senseBadField)
		return
	}
	block := make([]byte, u.blockSize())
	if noData := c.op() == opWriteSame16 && t.CDB[1]&1 != 0; !noData {
		if block = t.fetch(len(block)); block == nil {
			return
		}
	}
	medium, unmap := u.medium, t.CDB[1]&unmapBit != 0
	u.change(t, false, func() error { return fill(medium, block, off, n, unmap) })
}

// fill writes block from off on until n bytes are full.
func fill(medium blockdev.Loaded, block []byte, off, n int64, unmap bool) error {
	if blockdev.IsZero(block) {
		var flags blockdev.ZeroFlags
		if unmap {
			flags = blockdev.ZeroMayUnmap
		}
		return medium.WriteZeroes(off, n, flags)
	}
	pattern := bytes.Repeat(block, fillSize/len(block))
	for n > 0 {
		k := min(n, int64(len(pattern)))
		if _, err := medium.WriteAt(pattern[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// fillSize is how much is written at once: a multiple of any block.
const fillSize = 64 << 10
