package file

import "github.com/qmon/qmon/blockdev"

// Map says where the file has data and where holes. The system is asked each time: what
// is remembered would be wrong as soon as another request wrote.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", n, off, length); err != nil {
		return blockdev.Extent{}, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	hole, end := n.region(off)
	e := blockdev.Extent{Kind: blockdev.ExtentData, Len: length, Node: n, Host: off}
	if hole {
		e = blockdev.Extent{Kind: blockdev.ExtentZero, Len: length, Node: n, Host: off}
	}
	if end > off {
		e.Len = min(length, end-off)
	}
	return e, nil
}

// region tells if off is in a hole, and where the hole or the data ends. A file whose
// holes cannot be known is data.
func (n *Node) region(off int64) (hole bool, end int64) {
	if n.fixed {
		return false, n.Size()
	}
	data, found, ok := seekData(n.f, off)
	switch {
	case !ok:
		return false, n.Size()
	case !found:
		return true, n.Size()
	case data > off:
		return true, data
	}
	end, ok = seekHole(n.f, off)
	if !ok {
		end = n.Size()
	}
	return false, end
}
