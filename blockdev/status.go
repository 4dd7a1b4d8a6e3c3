package blockdev

// Status is the engine's view of a range through the whole chain, coalesced: what
// convert, compare, map and NBD's block status go by.
type Status struct {
	Extent
	// Depth is how many backing files down the extent was found, 0 the top.
	Depth int
	// Owner is the node at that depth whose Map said so.
	Owner Node
}

// BlockStatus resolves up to length bytes at off through the chain below n, stopping at
// the node base (nil: to the end of the chain). Ranges in no node are ExtentUnallocated;
// but where a node above base ends early, that hides what base has, and the range is
// ExtentZero.
func BlockStatus(n Node, off, length int64, base Node) (Status, error) {
	first, err := statusOf(n, off, length, base)
	for err == nil && first.Len < length {
		var next Status
		next, err = statusOf(n, off+first.Len, length-first.Len, base)
		if err != nil || !first.continues(next) {
			break
		}
		first.Len += next.Len
	}
	return first, err
}

// continues tells if next, which follows s, is stored in the same way and place.
func (s Status) continues(next Status) bool {
	if s.Kind != next.Kind || s.Owner != next.Owner || s.Allocated != next.Allocated || s.Compressed != next.Compressed ||
		s.Written != next.Written || s.Undefined != next.Undefined {
		return false
	}
	switch s.Kind {
	case ExtentData:
		return s.Node == next.Node && s.Host+s.Len == next.Host
	case ExtentZero, ExtentUnallocated:
		return !s.Allocated || s.Node == next.Node && s.Host+s.Len == next.Host
	}
	return false // opaque extents are read one by one
}

// statusOf is BlockStatus for the first extent alone.
func statusOf(n Node, off, length int64, base Node) (Status, error) {
	if err := CheckRange("map", n, off, length); err != nil {
		return Status{}, err
	}
	for depth := 0; ; depth++ {
		e, err := n.Map(off, length)
		if err != nil {
			return Status{}, err
		}
		s := Status{Extent: e, Depth: depth, Owner: n}
		below := BackingOf(n)
		if e.Kind != ExtentUnallocated || below == nil || below == base {
			return s, nil
		}
		room := below.Size() - off
		if room <= 0 && base != nil {
			return Status{Extent: Extent{Kind: ExtentZero, Len: e.Len}, Depth: depth + 1, Owner: below}, nil
		}
		if room <= 0 {
			return s, nil
		}
		n, length = below, min(e.Len, room)
	}
}
