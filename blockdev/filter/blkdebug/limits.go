package blkdebug

import (
	"errors"
	"math"

	"github.com/qmon/qmon/blockdev"
)

var limitOptions = blockdev.OptionTable{
	{Name: "align", Type: blockdev.OptSize, Help: "alignment that requests must have, a power of 2"},
	{Name: "max-transfer", Type: blockdev.OptSize, Help: "longest request"},
	{Name: "opt-write-zero", Type: blockdev.OptSize, Help: "alignment that writes of zeroes should have"},
	{Name: "max-write-zero", Type: blockdev.OptSize, Help: "longest write of zeroes"},
	{Name: "opt-discard", Type: blockdev.OptSize, Help: "alignment that discards should have"},
	{Name: "max-discard", Type: blockdev.OptSize, Help: "longest discard"},
}

// limits of requests to the image, in bytes.
type limits struct {
	align       int64 // at least 1
	maxTransfer int64 // this and all below: 0 for no limit
	optZero     int64
	maxZero     int64
	optDiscard  int64
	maxDiscard  int64
}

// readLimits reads and checks the options: each limit is a multiple of the alignment, that
// of the image too, and a longest request one of the preferred alignment.
func readLimits(v blockdev.Values, below int64) (limits, error) {
	var l limits
	for name, to := range map[string]*int64{
		"align": &l.align, "max-transfer": &l.maxTransfer,
		"opt-write-zero": &l.optZero, "max-write-zero": &l.maxZero,
		"opt-discard": &l.optDiscard, "max-discard": &l.maxDiscard,
	} {
		*to, _ = v[name].(int64)
	}
	if l.align < 0 || l.align > math.MaxInt32 || l.align&(l.align-1) != 0 {
		return l, unmet("align", l.align)
	}
	l.align = max(l.align, 1)
	unit := max(l.align, below)
	for _, c := range []struct {
		name     string
		value    int64
		multiple int64
	}{
		{"max-transfer", l.maxTransfer, unit},
		{"opt-write-zero", l.optZero, unit},
		{"max-write-zero", l.maxZero, max(unit, l.optZero)},
		{"opt-discard", l.optDiscard, unit},
		{"max-discard", l.maxDiscard, max(unit, l.optDiscard)},
	} {
		if c.value < 0 || c.value > math.MaxInt32 || c.value%c.multiple != 0 {
			return l, unmet(c.name, c.value)
		}
	}
	return l, nil
}

func unmet(name string, value int64) error {
	return invalid("Cannot meet constraints with %s %d", name, value)
}

// Limits say what the filter wants; it takes everything.
func (n *Node) Limits() blockdev.Limits {
	l := blockdev.LimitsOf(n.image)
	l.Alignment = max(l.Alignment, n.limits.align)
	l.ZeroAlignment = max(l.ZeroAlignment, n.limits.optZero)
	l.DiscardAlignment = max(l.DiscardAlignment, n.limits.optDiscard)
	if n.limits.maxTransfer > 0 {
		l.MaxTransfer = n.limits.maxTransfer
	}
	return l
}

// isAligned tells if a range is whole blocks.
func (l limits) isAligned(off, n int64) bool { return off%l.align == 0 && n%l.align == 0 }

// aligned widens a range to whole blocks.
func (l limits) aligned(off, n int64) (start, end int64) {
	return off - off%l.align, (off + n + l.align - 1) / l.align * l.align
}

// pieces calls do with pieces of at most limit bytes; 0 is no limit.
func pieces(off, n, limit int64, do func(off, n int64) error) error {
	for n > 0 {
		k := n
		if limit > 0 {
			k = min(k, limit)
		}
		if err := do(off, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// ReadAt reads whole blocks of the image, in requests that are not too long.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	start, end := n.limits.aligned(off, int64(len(p)))
	defer n.busy.Lock(start, end, false)()
	buf := p
	if start != off || end != off+int64(len(p)) {
		buf = make([]byte, end-start)
	}
	if err := n.readBlocks(buf, start); err != nil {
		return 0, err
	}
	if len(buf) != len(p) {
		copy(p, buf[off-start:])
	}
	return len(p), nil
}

// readBlocks reads whole blocks; what is behind the image's end is zero.
func (n *Node) readBlocks(p []byte, off int64) error {
	return pieces(off, int64(len(p)), n.limits.maxTransfer, func(at, k int64) error {
		if err := n.check(ioRead, at, k); err != nil {
			return err
		}
		piece := p[at-off : at-off+k]
		have := max(0, min(k, n.image.Size()-at))
		clear(piece[have:])
		if have == 0 {
			return nil
		}
		_, err := n.image.ReadAt(piece[:have], at)
		return err
	})
}

// WriteAt writes whole blocks. What surrounds a misaligned write is read first, while
// nobody else changes it.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	length := int64(len(p))
	start, end := n.limits.aligned(off, length)
	padded := start != off || end != off+length
	defer n.busy.Lock(start, end, padded)()
	buf := p
	if padded {
		buf = make([]byte, end-start)
		if err := n.readAround(buf, off, length, start); err != nil {
			return 0, err
		}
		copy(buf[off-start:], p)
	}
	// A misaligned write near the end does not make the image longer than it asks for.
	buf = buf[:min(int64(len(buf)), max(n.image.Size(), off+length)-start)]
	if err := n.writeBlocks(buf, start); err != nil {
		return 0, err
	}
	return len(p), nil
}

// readAround reads the first and the last block of a misaligned write into buf.
func (n *Node) readAround(buf []byte, off, length, start int64) error {
	end := start + int64(len(buf))
	head, tail := off != start, off+length != end
	blocks := int64(1)
	if head && tail {
		blocks = 2
	}
	if end-start <= blocks*n.limits.align { // one read for both
		n.raiseIf(head, blockdev.EventPwritevRMWHead)
		n.raiseIf(tail, blockdev.EventPwritevRMWTail)
		if err := n.readBlocks(buf, start); err != nil {
			return err
		}
		n.raiseIf(head, blockdev.EventPwritevRMWAfterHead)
		n.raiseIf(tail, blockdev.EventPwritevRMWAfterTail)
		return nil
	}
	if head {
		n.Receive(blockdev.EventPwritevRMWHead)
		if err := n.readBlocks(buf[:n.limits.align], start); err != nil {
			return err
		}
		n.Receive(blockdev.EventPwritevRMWAfterHead)
	}
	if !tail {
		return nil
	}
	n.Receive(blockdev.EventPwritevRMWTail)
	last := end - n.limits.align
	if err := n.readBlocks(buf[last-start:], last); err != nil {
		return err
	}
	n.Receive(blockdev.EventPwritevRMWAfterTail)
	return nil
}

func (n *Node) raiseIf(on bool, e blockdev.Event) {
	if on {
		n.Receive(e)
	}
}

func (n *Node) writeBlocks(p []byte, off int64) error {
	n.Receive(blockdev.EventPwritev)
	defer n.Receive(blockdev.EventPwritevDone)
	return pieces(off, int64(len(p)), n.limits.maxTransfer, func(at, k int64) error {
		if err := n.check(ioWrite, at, k); err != nil {
			return err
		}
		n.unflushed.Store(true)
		_, err := n.image.WriteAt(p[at-off:at-off+k], at)
		return err
	})
}

// WriteZeroes passes on whole blocks, in pieces that the preferred alignment cuts. A piece
// that is shorter than that alignment, or no whole block, is written as bytes, as in QEMU.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	return n.split(off, length, n.limits.optZero, n.limits.maxZero, func(off, length int64) error {
		if !n.limits.isAligned(off, length) || length < n.limits.optZero {
			return n.zeroBytes(off, length, flags)
		}
		err := n.zeroBlocks(off, length, flags)
		if errors.Is(err, blockdev.ErrNotSupported) {
			return n.zeroBytes(off, length, flags)
		}
		return err
	})
}

func (n *Node) zeroBlocks(off, length int64, flags blockdev.ZeroFlags) error {
	defer n.busy.Lock(off, off+length, false)()
	n.Receive(blockdev.EventPwritevZero)
	defer n.Receive(blockdev.EventPwritevDone)
	if err := n.check(ioWriteZeroes, off, length); err != nil {
		return err
	}
	n.unflushed.Store(true)
	return blockdev.WriteZeroes(n.image, off, length, flags)
}

func (n *Node) zeroBytes(off, length int64, flags blockdev.ZeroFlags) error {
	if flags&blockdev.ZeroNoFallback != 0 {
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", "", "Operation not supported")
	}
	return blockdev.WriteZeroBytes(n, off, length)
}

// Discard passes on whole blocks, in pieces that the preferred alignment cuts, and leaves the
// rest alone.
func (n *Node) Discard(off, length int64) error {
	return n.split(off, length, n.limits.optDiscard, n.limits.maxDiscard, func(off, length int64) error {
		if !n.limits.isAligned(off, length) {
			return nil
		}
		defer n.busy.Lock(off, off+length, false)()
		if err := n.check(ioDiscard, off, length); err != nil {
			return err
		}
		n.unflushed.Store(true)
		return blockdev.Discard(n.image, off, length)
	})
}

// split calls do with the blocks of a range in pieces of at most limit bytes, cut where a
// multiple of the preferred alignment begins and ends, and with the parts of blocks around.
func (n *Node) split(off, length, preferred, limit int64, do func(off, n int64) error) error {
	unit := n.limits.align
	return cut(off, length, max(preferred, unit), func(off, length int64) error {
		return cut(off, length, unit, func(off, length int64) error {
			return pieces(off, length, limit, do)
		})
	})
}

// cut calls do with what is before the first whole unit, the whole units, and what is behind.
func cut(off, n, unit int64, do func(off, n int64) error) error {
	head := min(n, (unit-off%unit)%unit)
	whole := (n - head) / unit * unit
	for _, part := range []int64{head, whole, n - head - whole} {
		if part == 0 {
			continue
		}
		if err := do(off, part); err != nil {
			return err
		}
		off += part
	}
	return nil
}
