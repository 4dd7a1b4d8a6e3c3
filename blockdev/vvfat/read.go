package vvfat

import (
	"sync"

	"github.com/qmon/qmon/blockdev"
)

// ReadAt makes up what the disk holds.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if err := n.read(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// read reads any range; the caller holds mu.
func (n *Node) read(p []byte, off int64) error {
	head := off % sectorSize
	if head == 0 && len(p)%sectorSize == 0 {
		return n.readSectors(p, uint32(off/sectorSize))
	}
	whole := make([]byte, ceilDiv(head+int64(len(p)), sectorSize)*sectorSize)
	if err := n.readSectors(whole, uint32(off/sectorSize)); err != nil {
		return err
	}
	copy(p, whole[head:])
	return nil
}

// readSectors reads whole sectors: what the guest wrote, else what was there.
func (n *Node) readSectors(p []byte, sector uint32) error {
	for len(p) > 0 {
		count := uint32(len(p) / sectorSize)
		written := false
		if n.overlay != nil {
			written, count = n.overlay.run(sector, count)
		}
		read := n.readBase
		if written {
			read = n.overlay.read
		}
		if err := read(p[:int64(count)*sectorSize], sector); err != nil {
			return err
		}
		p, sector = p[int64(count)*sectorSize:], sector+count
	}
	return nil
}

// readBase reads sectors as they were before anything was written to them.
func (n *Node) readBase(p []byte, sector uint32) error {
	for len(p) > 0 {
		s := n.segment(sector)
		count := min(uint32(len(p)/sectorSize), s.end-sector)
		piece := p[:int64(count)*sectorSize]
		if s.fill == nil {
			clear(piece)
		} else if err := s.fill(piece, sector); err != nil {
			return err
		}
		p, sector = p[len(piece):], sector+count
	}
	return nil
}

// segment is a run of sectors that are made up in one way.
type segment struct {
	end  uint32
	fill func(p []byte, sector uint32) error // nil: they are zero
}

// segment is the one that begins at or before the sector.
func (n *Node) segment(sector uint32) segment {
	l := n.layout
	switch {
	case sector < l.start:
		return n.fixed(sector, l.start, map[uint32]func() []byte{0: l.masterBoot})
	case sector < l.fat:
		boot := func() []byte { return n.boot }
		info := func() []byte { return l.freeSpaceInfo(n.tree.used) }
		sectors := map[uint32]func() []byte{l.start: boot}
		if l.fatType == 32 {
			sectors[l.start+infoSector], sectors[l.start+backupSector] = info, boot
			sectors[l.start+backupSector+infoSector] = info
		}
		return n.fixed(sector, l.fat, sectors)
	case sector < l.root:
		copyStart := l.fat + (sector-l.fat)/l.fatSectors*l.fatSectors
		return segment{end: copyStart + l.fatSectors, fill: func(p []byte, sector uint32) error {
			n.tree.tableBytes(p, int64(sector-copyStart)*sectorSize)
			return nil
		}}
	case sector < l.data:
		return segment{end: l.data, fill: n.folderFiller(0, l.root)}
	case sector < l.dataEnd:
		return n.clusterSegment(sector)
	}
	return segment{end: l.total}
}

// fixed is one of the sectors given, or the zeroes up to the next one or end.
func (n *Node) fixed(sector, end uint32, sectors map[uint32]func() []byte) segment {
	if make := sectors[sector]; make != nil {
		return segment{end: sector + 1, fill: func(p []byte, _ uint32) error { copy(p, make()); return nil }}
	}
	for s := range sectors {
		if s > sector {
			end = min(end, s)
		}
	}
	return segment{end: end}
}

// clusterSegment is the part of the data area that the sector is in: a directory's
// clusters, a run of a file, or free ones.
func (n *Node) clusterSegment(sector uint32) segment {
	l := n.layout
	c := firstCluster + (sector-l.data)/l.spc
	end := firstCluster + l.clusters
	if n.live != nil {
		x, next := n.live.find(c)
		if x != nil {
			return segment{l.clusterSector(x.end()), n.fileFiller(x.item.path(), x.item.stamp, l.clusterSector(x.first), x.off)}
		}
		end = min(end, next)
	}
	if c >= firstCluster+n.tree.used {
		return segment{end: l.clusterSector(end)}
	}
	i := n.tree.at(c)
	node := n.tree.nodes[i]
	end, start := min(end, n.tree.end(i)), l.clusterSector(node.first)
	switch {
	case node.folder():
		return segment{l.clusterSector(end), n.folderFiller(i, start)}
	case n.live != nil: // what was here is elsewhere now, or gone
		return segment{end: l.clusterSector(end)}
	}
	return segment{l.clusterSector(end), n.fileFiller(n.tree.path(i), n.tree.stamp(i), start, 0)}
}

// fileFiller reads a file of the host whose byte off is at the start of the sector start;
// behind its end are zeroes.
func (n *Node) fileFiller(name string, was stamp, start uint32, off int64) func([]byte, uint32) error {
	return func(p []byte, sector uint32) error {
		at := off + int64(sector-start)*sectorSize
		length := max(0, min(int64(len(p)), was.size-at))
		clear(p[length:])
		if length == 0 {
			return nil
		}
		return n.files.readAt(name, was, p[:length], at)
	}
}

// folderFiller makes up the entries of directory i, which begin at the sector start.
func (n *Node) folderFiller(i, start uint32) func([]byte, uint32) error {
	return func(p []byte, sector uint32) error {
		entries := n.folders.get(n.tree, i, n.config.Label)
		off := min(int64(sector-start)*sectorSize, int64(len(entries)))
		clear(p[copy(p, entries[off:]):])
		return nil
	}
}

// folderCache keeps the entries of the directories that were read last.
type folderCache struct {
	mu     sync.Mutex
	recent []cachedFolder // the latest last
}

type cachedFolder struct {
	node    uint32
	entries []byte
}

// cachedFolders of at most 2 MiB each are kept.
const cachedFolders = 8

func (c *folderCache) get(t *tree, i uint32, label string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.recent {
		if f.node == i {
			return f.entries
		}
	}
	if len(c.recent) == cachedFolders {
		c.recent = c.recent[1:]
	}
	f := cachedFolder{i, t.folderBytes(i, label)}
	c.recent = append(c.recent, f)
	return f.entries
}

// Map says which sectors hold something; free clusters are zeroes.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", n, off, length); err != nil {
		return blockdev.Extent{}, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	sector, last := uint32(off/sectorSize), uint32(ceilDiv(off+length, sectorSize))
	data, end := n.kind(sector, last)
	for end < last {
		more, next := n.kind(end, last)
		if more != data {
			break
		}
		end = next
	}
	kind := blockdev.ExtentZero
	if data {
		kind = blockdev.ExtentData
	}
	return blockdev.Extent{Kind: kind, Len: min(int64(end)*sectorSize, off+length) - off, Node: n, Host: off}, nil
}

// kind tells if the sectors from one on hold data, and where that changes at the earliest.
func (n *Node) kind(sector, last uint32) (data bool, end uint32) {
	count := last - sector
	if n.overlay != nil {
		if data, count = n.overlay.run(sector, count); data {
			return true, sector + count
		}
	}
	s := n.segment(sector)
	return s.fill != nil, min(s.end, sector+count)
}

// Verify fails if a file of the directory is not as it was, and names it. Files that are
// new on the host are not on the disk, and do no harm.
func (n *Node) Verify() (err error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.live != nil {
		n.live.root.all(func(it *item) {
			if err == nil && !it.folder {
				err = n.files.check("verify", it.path(), it.stamp)
			}
		})
		return err
	}
	for i, node := range n.tree.nodes {
		if node.folder() {
			continue
		}
		if err := n.files.check("verify", n.tree.path(uint32(i)), n.tree.stamp(uint32(i))); err != nil {
			return err
		}
	}
	return nil
}
