package blockdev

// salvageUnit is what is given up where it cannot be read: a sector.
const salvageUnit = 512

// status tells how the source is stored from off on. What it cannot tell of is to be read,
// where that is to be salvaged.
func (c *copier) status(off int64) (Status, error) {
	for n := min(c.total-off, statusWindow); ; n = max(n/4/salvageUnit*salvageUnit, salvageUnit) {
		s, err := BlockStatus(c.src, off, n, c.o.Base)
		switch {
		case err == nil:
			return s, nil
		case c.o.Salvage == nil:
			return s, copyError(OpCopyMap, off, err)
		case n <= salvageUnit:
			c.o.Salvage(copyError(OpCopyMap, off, err))
			return Status{Extent: Extent{Kind: ExtentOpaque, Len: n}, Owner: c.src}, nil
		}
	}
}

// salvage reads what can be read of a piece, and leaves zeroes elsewhere.
func (c *copier) salvage(buf []byte, off int64) {
	for len(buf) > 0 {
		n := min(len(buf), salvageUnit)
		if _, err := c.src.ReadAt(buf[:n], off); err != nil {
			clear(buf[:n])
			c.o.Salvage(copyError(OpCopyRead, off, err))
		}
		buf, off = buf[n:], off+int64(n)
	}
}
