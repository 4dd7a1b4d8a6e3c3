package vvfat

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/qmon/qmon/blockdev"
)

const (
	// maxEntries is how many files and directories a disk has at most, on the host and as
	// a guest may write them: ten times what anybody has tried, at 32 bytes and a name
	// each on the way in and some two hundred bytes each on the way out.
	maxEntries = 1 << 20
	// maxFileSize is the largest file that a directory entry can tell.
	maxFileSize = 1<<32 - 1
	// MaxNotices is how many remarks about names and left out files are kept.
	MaxNotices = 1000
	// temporaryPrefix begins the names of what this package itself puts into the
	// directory while it works. They are never shown.
	temporaryPrefix = ".qmon-vvfat-"
)

// Notice tells about a file of the host that is not on the disk as it is.
type Notice struct {
	Path string // below the directory, with slashes
	Text string
}

// node is one file or directory. Names lie one behind the other in tree.names.
type node struct {
	mtime  int64 // nanoseconds since 1970
	parent uint32
	name   uint32 // where in tree.names it begins; the next node's begins at its end
	first  uint32 // first cluster, or if it has none, the first one of those that follow
	size   uint32 // bytes; of a directory, those of its entries
	child  uint32 // a directory's first child, 0 for none
	count  uint32 // of its children; notFolder for a file
}

// notFolder is the count of children of a file.
const notFolder = 1<<32 - 1

func (n node) folder() bool { return n.count != notFolder }

// tree is what the directory held when it was scanned. Directories come before what is
// in them, and the children of one lie together. It never changes.
//
//	nodes: root | a  b  c | a/x  a/y | c/z
//	               children of the root, in the order of their names
type tree struct {
	nodes    []node
	names    []byte
	layout   layout
	used     uint32 // clusters
	notices  []Notice
	unlisted int // notices that were not kept
}

// scan reads the whole tree below root.
func scan(root *os.Root, dir string) (*tree, error) {
	t := &tree{nodes: []node{{}}}
	if info, err := root.Stat("."); err == nil {
		t.nodes[0].mtime = info.ModTime().UnixNano()
	}
	for i := 0; i < len(t.nodes); i++ {
		if !t.nodes[i].folder() {
			continue
		}
		if err := t.scanFolder(root, dir, uint32(i)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// scanFolder adds the children of node i.
func (t *tree) scanFolder(root *os.Root, dir string, i uint32) error {
	at := t.path(i)
	list, err := readFolder(root, at)
	if err != nil {
		return directoryError(path.Join(dir, at), err)
	}
	t.nodes[i].child, t.nodes[i].count = uint32(len(t.nodes)), 0
	for _, e := range list {
		if err := t.add(root, dir, i, at, e); err != nil {
			return err
		}
	}
	bytes := 2 * direntSize // "." and "..", or the label
	for k, d := range t.plan(i) {
		bytes += slots(d.long) * direntSize
		child := t.nodes[i].child + uint32(k)
		if d.long != "" && d.long != t.name(child) {
			t.notice(t.path(child), "is called "+strconv.QuoteToGraphic(d.long)+" on the disk")
		}
	}
	if bytes > maxFolderBytes {
		return blockdev.Errorf(blockdev.ErrLimit, "open", dir, "Directory '%s' has more entries than FAT allows", path.Join(dir, at))
	}
	t.nodes[i].size = uint32(bytes)
	return nil
}

func readFolder(root *os.Root, at string) ([]fs.DirEntry, error) {
	f, err := root.Open(at)
	if err != nil {
		return nil, err
	}
	list, err := f.ReadDir(-1)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

// add makes a node of an entry of the directory parent, or leaves it out.
func (t *tree) add(root *os.Root, dir string, parent uint32, at string, e fs.DirEntry) error {
	name := path.Join(at, e.Name())
	if strings.HasPrefix(e.Name(), temporaryPrefix) {
		t.notice(name, "left out: left behind by an interrupted write")
		return nil
	}
	info, err := e.Info()
	if e.Type()&fs.ModeSymlink != 0 {
		if info, err = root.Stat(name); err != nil || !info.Mode().IsRegular() {
			t.notice(name, "left out: a symbolic link that leads to no file of the directory")
			return nil //nolint:nilerr // the notice says so
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // removed while we look
	case err != nil:
		return directoryError(path.Join(dir, name), err)
	case !info.IsDir() && !info.Mode().IsRegular():
		t.notice(name, "left out: not a file or directory")
		return nil
	case info.Size() > maxFileSize && !info.IsDir():
		return blockdev.Errorf(blockdev.ErrLimit, "open", dir, "File %s is larger than 4GB", path.Join(dir, name))
	case len(t.nodes) >= maxEntries:
		return blockdev.Errorf(blockdev.ErrLimit, "open", dir, "Directory '%s' holds more than %d files", dir, maxEntries)
	}
	n := node{mtime: info.ModTime().UnixNano(), parent: parent, name: uint32(len(t.names)), count: notFolder}
	if info.IsDir() {
		n.count = 0
	} else {
		n.size = uint32(info.Size())
	}
	t.names = append(t.names, e.Name()...)
	t.nodes = append(t.nodes, n)
	t.nodes[parent].count++
	return nil
}

func (t *tree) notice(name, text string) {
	if len(t.notices) < MaxNotices {
		t.notices = append(t.notices, Notice{name, text})
	} else {
		t.unlisted++
	}
}

// name is the host's name of node i.
func (t *tree) name(i uint32) string {
	end := uint32(len(t.names))
	if int(i)+1 < len(t.nodes) {
		end = t.nodes[i+1].name
	}
	return string(t.names[t.nodes[i].name:end])
}

// path is where node i is below the directory, "." for the root.
func (t *tree) path(i uint32) string {
	if i == 0 {
		return "."
	}
	parts := []string{}
	for ; i != 0; i = t.nodes[i].parent {
		parts = append(parts, t.name(i))
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// plan names the children of directory i, in order: the long name where the short one
// does not say it all, and a short one.
func (t *tree) plan(i uint32) []dirent {
	dir := t.nodes[i]
	out := make([]dirent, dir.count)
	short := newAliases(len(out))
	seen := make(map[string]bool, len(out))
	for k := range out {
		host := t.name(dir.child + uint32(k))
		long := guestName(host)
		for n := 0; seen[fold(long)] && n < maxTwins; n++ {
			long = guestName(host) + string(rune(privateTwin+n))
		}
		seen[fold(long)] = true
		s, ok, exact := asShort(long)
		out[k].long, out[k].short = long, s
		if ok {
			short.taken[s] = true
			if exact {
				out[k].long = ""
			}
		}
	}
	for k := range out {
		if out[k].short == (shortName{}) {
			out[k].short = short.alias(out[k].long)
		}
	}
	return out
}

// demand is how much room the tree needs.
func (t *tree) demand() demand {
	d := demand{rootBytes: uint64(t.nodes[0].size)}
	for _, n := range t.nodes[1:] {
		for shift := range d.clusters {
			d.clusters[shift] += ceilDiv(uint64(n.size), sectorSize<<shift)
		}
	}
	return d
}

// place gives everything its clusters, in order.
func (t *tree) place(l layout) {
	t.layout = l
	next := uint32(firstCluster)
	for i := range t.nodes {
		n := &t.nodes[i]
		n.first = next
		if i == 0 {
			next += l.rootSize
		} else {
			next += uint32(ceilDiv(int64(n.size), l.clusterSize()))
		}
	}
	t.used = next - firstCluster
}

// at is the node that owns an allocated cluster.
func (t *tree) at(c uint32) uint32 {
	return uint32(sort.Search(len(t.nodes), func(i int) bool { return t.nodes[i].first > c })) - 1
}

// end is the cluster behind node i's last.
func (t *tree) end(i uint32) uint32 {
	if int(i)+1 < len(t.nodes) {
		return t.nodes[i+1].first
	}
	return firstCluster + t.used
}

// start is what a directory entry says of node i's first cluster: 0 if there is none.
func (t *tree) start(i uint32) uint32 {
	if t.nodes[i].first == t.end(i) {
		return 0
	}
	return t.nodes[i].first
}

// stamp is by what a change of node i's file is noticed.
func (t *tree) stamp(i uint32) stamp { return stamp{int64(t.nodes[i].size), t.nodes[i].mtime} }

func (n node) time() time.Time { return time.Unix(0, n.mtime) }

// folderBytes are the entries of directory i.
func (t *tree) folderBytes(i uint32, label string) []byte {
	n := t.nodes[i]
	p := make([]byte, 0, n.size)
	if i == 0 {
		var s shortName
		copy(s[:], padded(label, labelSize))
		p = dirent{short: s, attr: attrVolume, time: newFATTime(n.time())}.append(p)
	} else {
		p = t.dots(p, i)
	}
	for k, d := range t.plan(i) {
		child := n.child + uint32(k)
		c := t.nodes[child]
		d.attr, d.first, d.size, d.time = attrArchive, t.start(child), c.size, newFATTime(c.time())
		if c.folder() {
			d.attr, d.size = attrFolder, 0
		}
		p = d.append(p)
	}
	return p
}

// dots adds "." and "..", which every directory but the root begins with. The root is
// called 0 there, whatever cluster it has.
func (t *tree) dots(p []byte, i uint32) []byte {
	n := t.nodes[i]
	up := uint32(0)
	if n.parent != 0 {
		up = t.nodes[n.parent].first
	}
	self := dirent{attr: attrFolder, first: n.first, time: newFATTime(n.time())}
	copy(self.short[:], padded(".", len(self.short)))
	above := self
	above.first, above.short[1] = up, '.'
	return above.append(self.append(p))
}
