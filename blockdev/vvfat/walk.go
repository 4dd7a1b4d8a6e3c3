package vvfat

import (
	"encoding/binary"
	"fmt"
	"path"
	"unicode/utf16"
)

// found is a file or directory that the guest sees.
type found struct {
	parent   *found
	guest    string // its name
	host     string // what it is to be called on the host
	folder   bool
	first    uint32
	size     uint32
	time     fatTime
	runs     []run // of a file
	children []*found

	item    *item  // what it is on the host already, nil for nothing
	changed bool   // its contents are not those of item
	staged  string // where its new contents lie
	stamp   stamp  // of those
}

func (f *found) path() string {
	if f.parent == nil {
		return "."
	}
	return path.Join(f.parent.path(), f.host)
}

// maxDepth is how deep directories nest: what a path of 4096 bytes can say with names of
// one letter is half of that, and people's trees are nowhere near.
const maxDepth = 1024

// walker reads the file system that the guest sees.
type walker struct {
	n     *Node
	table *table
	count int // files and directories so far
}

// walk reads everything that the guest sees but the contents of files. If that is not a
// sound file system, the error is an *unfinished.
func (n *Node) walk() (*found, error) {
	if err := n.checkLayout(); err != nil {
		return nil, err
	}
	w := &walker{n: n, table: newTable(n)}
	root := &found{folder: true, first: n.layout.rootFirst}
	entries := make([]byte, int64(n.layout.data-n.layout.root)*sectorSize)
	var err error
	if n.layout.fatType == 32 {
		entries, err = w.entries(root)
	} else {
		err = n.readSectors(entries, n.layout.root)
	}
	if err == nil {
		err = w.folder(root, entries, 0)
	}
	if err == nil {
		err = w.table.checkLost()
	}
	return root, err
}

// entries reads a directory's clusters.
func (w *walker) entries(f *found) ([]byte, error) {
	size := w.n.layout.clusterSize()
	runs, err := w.table.chain(f, maxFolderBytes/size)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, r := range runs {
		p := make([]byte, int64(r.count)*size)
		if err := w.n.readSectors(p, w.n.layout.clusterSector(r.first)); err != nil {
			return nil, err
		}
		out = append(out, p...)
	}
	return out, nil
}

// folder reads the entries of f, and what is below.
func (w *walker) folder(f *found, entries []byte, depth int) error {
	if depth > maxDepth {
		return &unfinished{fmt.Sprintf("'%s' is too deep", f.path())}
	}
	if f.parent != nil {
		if err := f.checkDots(entries); err != nil {
			return err
		}
		entries = entries[2*direntSize:]
	}
	if err := w.children(f, entries); err != nil {
		return err
	}
	for _, c := range f.children {
		if !c.folder {
			continue
		}
		below, err := w.entries(c)
		if err == nil {
			err = w.folder(c, below, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkDots tells if a directory begins with itself and the one above it.
func (f *found) checkDots(entries []byte) error {
	up := uint32(0)
	if f.parent.parent != nil {
		up = f.parent.first
	}
	want := []struct {
		name  string
		first uint32
	}{{".          ", f.first}, {"..         ", up}}
	for i, d := range want {
		e := entries[i*direntSize:]
		if string(e[:11]) != d.name || e[11]&attrFolder == 0 || clusterOf(e) != d.first {
			return &unfinished{fmt.Sprintf("'%s' does not begin with '.' and '..'", f.path())}
		}
	}
	return nil
}

func clusterOf(e []byte) uint32 {
	return uint32(binary.LittleEndian.Uint16(e[20:]))<<16 | uint32(binary.LittleEndian.Uint16(e[26:]))
}

// children decodes the entries of f.
func (w *walker) children(f *found, entries []byte) error {
	var long longName
	guests, hosts := map[string]bool{}, map[string]bool{}
	for ; len(entries) >= direntSize; entries = entries[direntSize:] {
		e := entries[:direntSize]
		switch attr := e[11] & attrMask; {
		case e[0] == 0:
			return nil
		case e[0] == deletedMark:
			long = longName{}
			continue
		case attr == attrLong:
			long.add(e)
			continue
		case attr&attrVolume != 0:
			long = longName{}
			continue
		}
		c, err := w.child(f, e, &long)
		if err != nil {
			return err
		}
		long = longName{}
		if guests[fold(c.guest)] || hosts[c.host] {
			return &unfinished{fmt.Sprintf("two files are called '%s'", c.path())}
		}
		guests[fold(c.guest)], hosts[c.host] = true, true
		f.children = append(f.children, c)
	}
	return nil
}

// child decodes the entry e of f and, for a file, finds its clusters.
func (w *walker) child(f *found, e []byte, long *longName) (*found, error) {
	var short shortName
	copy(short[:], e)
	guest, ok := long.text(short)
	if !ok {
		if short[0] == deletedEscape {
			short[0] = deletedMark
		}
		guest = short.text(e[12])
	}
	c := &found{parent: f, guest: guest, folder: e[11]&attrFolder != 0, first: clusterOf(e), size: binary.LittleEndian.Uint32(e[28:])}
	c.time = fatTime(uint32(binary.LittleEndian.Uint16(e[24:]))<<16 | uint32(binary.LittleEndian.Uint16(e[22:])))
	if c.host, ok = hostName(guest); !ok {
		return nil, &unfinished{fmt.Sprintf("'%s' has a file whose name '%q' the host cannot have", f.path(), guest)}
	}
	if w.count++; w.count > maxEntries {
		return nil, &unfinished{fmt.Sprintf("there are more than %d files", maxEntries)}
	}
	if c.folder {
		return c, nil
	}
	return c, w.contents(c)
}

// contents finds the clusters of a file: as many as its size needs, no more.
func (w *walker) contents(c *found) error {
	clusters := ceilDiv(int64(c.size), w.n.layout.clusterSize())
	if clusters == 0 {
		if c.first != 0 {
			return &unfinished{fmt.Sprintf("'%s' is empty, but has clusters", c.path())}
		}
		return nil
	}
	runs, err := w.table.chain(c, clusters)
	if err != nil {
		return err
	}
	length := int64(0)
	for _, r := range runs {
		length += int64(r.count)
	}
	if length < clusters {
		return &unfinished{fmt.Sprintf("'%s' has fewer clusters than its size needs", c.path())}
	}
	c.runs = runs
	return nil
}

// longName collects the pieces of a long name, which come last piece first.
type longName struct {
	units []uint16
	next  int // the number of the piece that must come now; 0 when all are there
	sum   byte
	good  bool
}

func (l *longName) add(e []byte) {
	number := int(e[0] &^ lastLong)
	switch {
	case e[0]&lastLong != 0 && number >= 1 && number <= ceilDiv(maxLongName, unitsPerLong):
		*l = longName{units: make([]uint16, number*unitsPerLong), next: number, sum: e[13], good: true}
	case !l.good || number != l.next || number == 0 || e[13] != l.sum:
		*l = longName{}
		return
	}
	for k, at := range longOffsets {
		l.units[(number-1)*unitsPerLong+k] = binary.LittleEndian.Uint16(e[at:])
	}
	l.next--
}

// text is the name, if all of it is there and belongs to the short one that follows it.
func (l *longName) text(short shortName) (string, bool) {
	if !l.good || l.next != 0 || l.sum != short.checksum() {
		return "", false
	}
	units := l.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units)), len(units) > 0 && len(units) <= maxLongName
}
