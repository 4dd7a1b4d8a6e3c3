package blockdev

import "sync"

// Read fills p from n at off by asking n.Map: data is read where it lies, holes are
// zeroed, unallocated ranges come from the backing node (zeroes past its end), opaque
// ones from the driver. Formats implement ReadAt with it. Data extents that follow each
// other in their host are read with one request.
func Read(n Node, p []byte, off int64) (int, error) {
	if err := CheckRange("read", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	var run dataRun
	done := 0
	for done < len(p) {
		ext, err := n.Map(off+int64(done), int64(len(p)-done))
		if err != nil {
			return 0, err
		}
		piece := p[done : done+int(ext.Len)]
		if ext.Kind == ExtentData && run.extend(ext) {
			done += int(ext.Len)
			continue
		}
		if err := run.read(p); err != nil {
			return 0, err
		}
		if ext.Kind == ExtentData {
			run = dataRun{node: ext.Node, host: ext.Host, at: done, n: int(ext.Len)}
		} else if err := readExtent(n, ext, piece, off+int64(done)); err != nil {
			return 0, err
		}
		done += int(ext.Len)
	}
	if err := run.read(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// dataRun is a pending read of extents that lie behind each other in one node.
type dataRun struct {
	node Node
	host int64
	at   int // where in the caller's buffer
	n    int
}

func (r *dataRun) extend(e Extent) bool {
	if r.n == 0 || e.Node != r.node || e.Host != r.host+int64(r.n) {
		return false
	}
	r.n += int(e.Len)
	return true
}

// read does the pending read, if there is one.
func (r *dataRun) read(p []byte) error {
	if r.n == 0 {
		return nil
	}
	err := ReadPadded(r.node, p[r.at:r.at+r.n], r.host)
	*r = dataRun{}
	return err
}

// readExtent reads an extent of n that is not plain data.
func readExtent(n Node, e Extent, p []byte, off int64) error {
	switch e.Kind {
	case ExtentZero:
		clear(p)
		return nil
	case ExtentUnallocated:
		return ReadPadded(BackingOf(n), p, off)
	case ExtentOpaque:
		if r, ok := n.(OpaqueReader); ok {
			return r.ReadOpaque(p, off)
		}
	}
	return ErrorAt(ErrNotSupported, "read", "", off, "%s extent cannot be read", e.Kind)
}

// ReadPadded reads from a node that may be nil or end early: what is missing is zero. A
// backing node may be shorter than what is over it, and a file than the clusters that an
// image has reserved in it.
func ReadPadded(b Node, p []byte, off int64) error {
	n := 0
	if b != nil {
		n = int(max(0, min(int64(len(p)), b.Size()-off)))
	}
	if n > 0 {
		if _, err := b.ReadAt(p[:n], off); err != nil {
			return err
		}
	}
	clear(p[n:])
	return nil
}

// BackingOf is the node attached below n, nil if n has none.
func BackingOf(n Node) Node {
	if b, ok := n.(Backed); ok {
		return b.Backing()
	}
	return nil
}

// Unfiltered is n, or the first node below it that is not a filter.
func Unfiltered(n Node) Node {
	for {
		f, ok := n.(Filter)
		if !ok {
			return n
		}
		n = f.Filtered()
	}
}

// CheckRange fails with ErrRange if [off, off+length) is not inside n.
func CheckRange(op string, n Node, off, length int64) error {
	if size := n.Size(); off < 0 || length < 0 || off > size || length > size-off {
		return ErrorAt(ErrRange, op, "", off, "%d bytes do not fit in %d", length, size)
	}
	return nil
}

// zeroes is what WriteZeroes writes where it has to.
var zeroes = sync.OnceValue(func() []byte { return make([]byte, zeroBufferSize) })

// WriteZeroes writes zeroes with n's ZeroWriter, or by writing them.
func WriteZeroes(n Node, off, length int64, flags ZeroFlags) error {
	if length == 0 {
		return nil
	}
	if z, ok := n.(ZeroWriter); ok {
		return z.WriteZeroes(off, length, flags)
	}
	if flags&ZeroNoFallback != 0 {
		return Errorf(ErrNotSupported, "write", "", "Operation not supported")
	}
	return WriteZeroBytes(n, off, length)
}

// WriteZeroBytes writes zeroes the slow way, as bytes. ZeroWriters fall back to it.
func WriteZeroBytes(n Node, off, length int64) error {
	buf := zeroes()
	for length > 0 {
		k := min(length, int64(len(buf)))
		if _, err := n.WriteAt(buf[:k], off); err != nil {
			return err
		}
		off += k
		length -= k
	}
	return nil
}

// Discard gives storage back if n can.
func Discard(n Node, off, length int64) error {
	if d, ok := n.(Discarder); ok && length > 0 {
		return d.Discard(off, length)
	}
	return nil
}

// Resize changes the size of n if it can. Making it smaller needs o.Shrink. What is new
// reads as zeroes, also where a backing node that is longer than n was has something else.
func Resize(n Node, size int64, o ResizeOptions) error {
	r, ok := n.(Resizer)
	old := n.Size()
	switch {
	case size < 0 || size > MaxSize:
		return Errorf(ErrLimit, "resize", "", "Image size %d is not between 0 and %d", size, int64(MaxSize))
	case !ok:
		return Errorf(ErrNotSupported, "resize", "", "Image format driver does not support resize")
	case size < old && !o.Shrink && !hasFixedSize(n):
		return Errorf(ErrInvalid, "resize", "", "shrinking has to be asked for")
	}
	if err := r.Resize(size, o); err != nil {
		return err
	}
	if b := BackingOf(n); b != nil && size > old && b.Size() > old {
		return WriteZeroes(n, old, min(n.Size(), b.Size())-old, ZeroMayUnmap)
	}
	return nil
}

func hasFixedSize(n Node) bool {
	f, ok := n.(FixedSizer)
	return ok && f.FixedSize()
}

// LimitsOf are n's limits, or the defaults: any offset and length will do.
func LimitsOf(n Node) Limits {
	var l Limits
	if r, ok := n.(Limiter); ok {
		l = r.Limits()
	}
	l.Alignment = max(l.Alignment, 1)
	l.ZeroAlignment = max(l.ZeroAlignment, l.Alignment)
	l.DiscardAlignment = max(l.DiscardAlignment, l.Alignment)
	return l
}
