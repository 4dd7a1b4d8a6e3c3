package img

import (
	"context"
	"sort"

	"github.com/qmon/qmon/blockdev"
)

// LayoutKind says what a part of a disk, or of a file, is.
type LayoutKind int

// The kinds of LayoutKind.
const (
	LayoutHole         LayoutKind = iota // of a disk: in no image, reads as zeroes
	LayoutZero                           // said to be zeroes
	LayoutData                           // of the image itself
	LayoutShared                         // of the image and of snapshots
	LayoutCompressed                     // of the image itself
	LayoutBacking                        // from the backing file
	LayoutDeeper                         // from further down
	LayoutSnapshotOnly                   // of a file: snapshots alone have it
	LayoutOther                          // of a file: tables, and what is not in use
	layoutKinds        = iota
)

// Layout is how the disk of an image lies in its files, in bands: equal parts of the disk
// and of each file, so that its size is bounded however large or fragmented the image is.
type Layout struct {
	Filename string
	Format   string
	Size     int64 // of the disk, bytes
	Guest    []LayoutBand
	Files    []LayoutFile
	// Totals are the bytes of the disk of each kind.
	Totals [layoutKinds]int64
	// Snapshots are the internal snapshots, and how many bytes of the disk are theirs too.
	Snapshots []LayoutSnapshot
	// Links are where in the files parts of the disk lie, the longest ones.
	Links []LayoutLink
}

// LayoutBand is how many bytes of each kind are in one part.
type LayoutBand [layoutKinds]int64

// LayoutFile is a file that holds a part of the disk.
type LayoutFile struct {
	Name  string
	Size  int64 // bytes
	Bands []LayoutBand
}

// LayoutSnapshot is an internal snapshot of a Layout.
type LayoutSnapshot struct {
	Name   string
	Shared int64 // bytes
}

// LayoutLink says that a part of the disk lies in a file.
type LayoutLink struct {
	Guest, Length int64
	File          int
	Host          int64
	Kind          LayoutKind
}

// Bounds of a Layout.
const (
	layoutBands = 640
	layoutLinks = 500
	// maxSnapshotRuns is how many runs of snapshots are looked at: above, what is shared is
	// shown as data.
	maxSnapshotRuns = 1 << 18
)

// MapLayout tells how an image is laid out.
func MapLayout(ctx context.Context, o MapOptions) (l *Layout, err error) {
	g := o.graph()
	v, err := o.openIn(ctx, g, o.Image, access{})
	if err != nil {
		return nil, err
	}
	defer release(v, &err)
	m := &layoutMaker{ctx: ctx, graph: g, top: v, files: map[blockdev.Node]int{}, small: map[LayoutLink]int64{}, Layout: Layout{
		Filename: o.Image.label(), Format: v.Driver.Name, Size: v.Node.Size(), Guest: make([]LayoutBand, layoutBands),
	}}
	for _, w := range v.Chain() {
		m.addFile(bottom(w).Node)
	}
	if err := m.mapSnapshots(); err != nil {
		return nil, err
	}
	if err := m.mapDisk(); err != nil {
		return nil, err
	}
	m.finish()
	return &m.Layout, nil
}

// bottom is the protocol that holds the bytes of v.
func bottom(v *blockdev.Vertex) *blockdev.Vertex {
	for v.File() != nil {
		v = v.File()
	}
	return v
}

// layoutMaker makes a Layout.
type layoutMaker struct {
	Layout
	ctx    context.Context
	graph  *blockdev.Graph
	top    *blockdev.Vertex
	files  map[blockdev.Node]int
	shared []snapshotRun        // by host offset in the first file
	small  map[LayoutLink]int64 // links shorter than a band, by bands
}

// snapshotRun is a run of the first file that snapshots have.
type snapshotRun struct {
	host, end int64
	snapshots []int
}

func (m *layoutMaker) addFile(n blockdev.Node) int {
	if i, ok := m.files[n]; ok {
		return i
	}
	f := LayoutFile{Size: n.Size(), Bands: make([]LayoutBand, layoutBands)}
	if v, ok := m.graph.VertexOf(n); ok {
		f.Name = v.Filename
	}
	m.files[n] = len(m.Files)
	m.Files = append(m.Files, f)
	return m.files[n]
}

// mapSnapshots finds out which parts of the first file belong to snapshots.
func (m *layoutMaker) mapSnapshots() error {
	s, ok := m.top.Node.(blockdev.Snapshotter)
	if !ok {
		return nil
	}
	list, err := s.Snapshots()
	if err != nil {
		return err
	}
	var runs []snapshotRun
	for i, sn := range list {
		m.Snapshots = append(m.Snapshots, LayoutSnapshot{Name: sn.Name})
		n, err := s.OpenSnapshot(sn.ID)
		if err != nil {
			return err
		}
		runs, err = m.snapshotRuns(runs, n, i)
		if cerr := n.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	m.shared = cutRuns(runs)
	return nil
}

func (m *layoutMaker) snapshotRuns(runs []snapshotRun, n blockdev.Node, snapshot int) ([]snapshotRun, error) {
	file := bottom(m.top).Node
	for off := int64(0); off < n.Size() && len(runs) < maxSnapshotRuns; {
		if err := m.ctx.Err(); err != nil {
			return nil, err
		}
		e, err := n.Map(off, n.Size()-off)
		if err != nil {
			return nil, err
		}
		if e.Node == file && e.Kind == blockdev.ExtentData {
			runs = append(runs, snapshotRun{host: e.Host, end: e.Host + e.Len, snapshots: []int{snapshot}})
		}
		off += e.Len
	}
	return runs, nil
}

// cutRuns cuts overlapping runs at each other's ends, so that each has all its snapshots.
func cutRuns(runs []snapshotRun) []snapshotRun {
	var cuts []int64
	for _, r := range runs {
		cuts = append(cuts, r.host, r.end)
	}
	sort.Slice(cuts, func(i, j int) bool { return cuts[i] < cuts[j] })
	sort.Slice(runs, func(i, j int) bool { return runs[i].host < runs[j].host })
	var out []snapshotRun
	var open []snapshotRun
	next := 0
	for i := 0; i+1 < len(cuts); i++ {
		from, to := cuts[i], cuts[i+1]
		if from == to {
			continue
		}
		for ; next < len(runs) && runs[next].host <= from; next++ {
			open = append(open, runs[next])
		}
		piece := snapshotRun{host: from, end: to}
		kept := open[:0]
		for _, r := range open {
			if r.end > from {
				kept = append(kept, r)
				piece.snapshots = append(piece.snapshots, r.snapshots...)
			}
		}
		if open = kept; len(open) > 0 {
			out = append(out, piece)
		}
	}
	return out
}

// mapDisk walks the disk.
func (m *layoutMaker) mapDisk() error {
	for off := int64(0); off < m.Size; {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		st, err := blockdev.BlockStatus(m.top.Node, off, m.Size-off, nil)
		if err != nil {
			return err
		}
		m.add(off, st)
		off += st.Len
	}
	return nil
}

// add notes a run of the disk.
func (m *layoutMaker) add(off int64, st blockdev.Status) {
	kind := kindOf(st)
	if st.Node == nil || kind == LayoutHole || kind == LayoutZero && !st.Allocated {
		m.addGuest(off, st.Len, kind)
		return
	}
	file, host := m.addFile(st.Node), st.Host
	if file != 0 || kind != LayoutData {
		m.addRun(off, st.Len, file, host, kind)
		return
	}
	end := host + st.Len
	for i := sort.Search(len(m.shared), func(i int) bool { return m.shared[i].end > host }); host < end; i++ {
		if i == len(m.shared) || m.shared[i].host >= end {
			m.addRun(off, end-host, file, host, LayoutData)
			return
		}
		r := &m.shared[i]
		if n := r.host - host; n > 0 {
			m.addRun(off, n, file, host, LayoutData)
			off, host = off+n, host+n
		}
		n := min(end, r.end) - host
		m.addRun(off, n, file, host, LayoutShared)
		for _, s := range r.snapshots {
			m.Snapshots[s].Shared += n
		}
		off, host = off+n, host+n
	}
}

func kindOf(st blockdev.Status) LayoutKind {
	switch {
	case st.Kind == blockdev.ExtentUnallocated:
		return LayoutHole
	case st.Kind == blockdev.ExtentZero:
		return LayoutZero
	case st.Depth == 1:
		return LayoutBacking
	case st.Depth > 1:
		return LayoutDeeper
	case st.Compressed:
		return LayoutCompressed
	}
	return LayoutData
}

func (m *layoutMaker) addGuest(off, n int64, kind LayoutKind) {
	m.Totals[kind] += n
	spread(m.Guest, m.Size, off, n, kind)
}

// addRun notes a run of the disk and where it lies. Those shorter than a band are counted
// together.
func (m *layoutMaker) addRun(off, n int64, file int, host int64, kind LayoutKind) {
	m.addGuest(off, n, kind)
	f := &m.Files[file]
	f.Size = max(f.Size, host+1)
	spread(f.Bands, f.Size, host, n, kind)
	link := LayoutLink{Guest: off, Length: n, File: file, Host: host, Kind: kind}
	guestBand, hostBand := m.Size/layoutBands+1, f.Size/layoutBands+1
	if n < guestBand {
		link.Guest, link.Host, link.Length = off/guestBand*guestBand, host/hostBand*hostBand, 0
		m.small[link] += n
		return
	}
	m.Links = append(m.Links, link)
}

// spread adds n bytes at off, of size in all, to the bands that they lie in.
func spread(bands []LayoutBand, size, off, n int64, kind LayoutKind) {
	width := size/int64(len(bands)) + 1
	for end := min(off+n, size); off < end; {
		b := off / width
		step := min(end, (b+1)*width) - off
		bands[b][kind] += step
		off += step
	}
}

// finish adds what snapshots alone have and what is left, and keeps the longest links.
func (m *layoutMaker) finish() {
	for link, n := range m.small {
		link.Length = n
		m.Links = append(m.Links, link)
	}
	sort.Slice(m.Links, func(i, j int) bool {
		a, b := m.Links[i], m.Links[j]
		return a.Length > b.Length || a.Length == b.Length && a.Guest < b.Guest
	})
	m.Links = m.Links[:min(len(m.Links), layoutLinks)]
	if len(m.Files) > 0 {
		m.addSnapshotOnly(&m.Files[0])
	}
	for i := range m.Files {
		f := &m.Files[i]
		for b := range f.Bands {
			width := f.Size/layoutBands + 1
			left := min(width, max(f.Size-int64(b)*width, 0))
			for _, n := range f.Bands[b] {
				left -= n
			}
			f.Bands[b][LayoutOther] += max(left, 0)
		}
	}
}

// addSnapshotOnly notes what snapshots have beside what is shared.
func (m *layoutMaker) addSnapshotOnly(f *LayoutFile) {
	theirs := make([]LayoutBand, layoutBands)
	for _, r := range m.shared {
		spread(theirs, f.Size, r.host, r.end-r.host, LayoutShared)
	}
	for b := range theirs {
		f.Bands[b][LayoutSnapshotOnly] = max(0, theirs[b][LayoutShared]-f.Bands[b][LayoutShared])
	}
}
