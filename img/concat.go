package img

import "github.com/qmon/qmon/blockdev"

// concat is several nodes behind each other, read-only: what convert makes of more than
// one source.
type concat struct {
	parts []blockdev.Node
	ends  []int64 // where each part ends in the whole
}

var (
	_ blockdev.Node         = (*concat)(nil)
	_ blockdev.OpaqueReader = (*concat)(nil)
)

func newConcat(parts []blockdev.Node) *concat {
	c := &concat{parts: parts}
	end := int64(0)
	for _, p := range parts {
		end += p.Size()
		c.ends = append(c.ends, end)
	}
	return c
}

// Size is that of all parts together.
func (c *concat) Size() int64 {
	if len(c.ends) == 0 {
		return 0
	}
	return c.ends[len(c.ends)-1]
}

// part finds the node at off, the offset in it, and how much of n lies in it.
func (c *concat) part(off, n int64) (node blockdev.Node, in, length int64) {
	start := int64(0)
	for i, end := range c.ends {
		if off < end {
			return c.parts[i], off - start, min(n, end-off)
		}
		start = end
	}
	return nil, 0, 0
}

// ReadAt reads across the borders of parts.
func (c *concat) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", c, off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := 0; done < len(p); {
		node, in, n := c.part(off+int64(done), int64(len(p)-done))
		if _, err := node.ReadAt(p[done:done+int(n)], in); err != nil {
			return 0, err
		}
		done += int(n)
	}
	return len(p), nil
}

// Map resolves a part's backing chain, as the whole has none: what is in no image of the
// chain is zero.
func (c *concat) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", c, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	node, in, n := c.part(off, n)
	st, err := blockdev.BlockStatus(node, in, n, nil)
	if err != nil {
		return blockdev.Extent{}, err
	}
	if st.Kind == blockdev.ExtentUnallocated {
		st.Kind = blockdev.ExtentZero
	}
	return st.Extent, nil
}

// ReadOpaque reads what a part calls opaque.
func (c *concat) ReadOpaque(p []byte, off int64) error {
	_, err := c.ReadAt(p, off)
	return err
}

// WriteAt fails: sources are not written.
func (c *concat) WriteAt([]byte, int64) (int, error) {
	return 0, blockdev.Errorf(blockdev.ErrReadOnly, "write", "", "Operation not permitted")
}

// Flush has nothing to do.
func (c *concat) Flush() error { return nil }

// Close leaves the parts to their owner.
func (c *concat) Close() error { return nil }
