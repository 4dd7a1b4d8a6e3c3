package vpc

// geometry of a disk: all that Virtual PC's guests know of its size.
type geometry struct{ cylinders, heads, sectors int64 }

// maxGeometry is the largest; larger disks have it and their size in the footer.
var maxGeometry = geometry{65535, 16, 255}

// total is the number of sectors.
func (g geometry) total() int64 { return g.cylinders * g.heads * g.sectors }

// chs finds the geometry for at most total sectors, "Appendix: CHS Calculation".
func chs(total int64) geometry {
	total = min(total, maxGeometry.total())
	if total >= 65535*16*63 {
		return geometry{total / 255 / 16, 16, 255}
	}
	g := geometry{sectors: 17}
	tracks := total / g.sectors
	g.heads = max((tracks+1023)/1024, 4)
	if tracks >= g.heads*1024 || g.heads > 16 {
		g.sectors, g.heads = 31, 16
		tracks = total / g.sectors
	}
	if tracks >= g.heads*1024 {
		g.sectors, g.heads = 63, 16
		tracks = total / g.sectors
	}
	g.cylinders = tracks / g.heads
	return g
}

// chsFor finds the smallest geometry that chs makes with at least total sectors.
func chsFor(total int64) geometry {
	switch {
	case total == 0:
		return geometry{}
	case total >= maxGeometry.total():
		return maxGeometry
	}
	for n := total; ; n++ {
		if g := chs(n); g.total() >= total {
			return g
		}
	}
}
