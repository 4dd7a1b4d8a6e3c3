package vvfat

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

const (
	sectorSize = 512
	fatCopies  = 2
	// firstCluster is the number of the first cluster of the data area.
	firstCluster = 2
	direntSize   = 32
	// partitionStart is where the volume begins on a hard disk: behind the first track.
	partitionStart = 63
	// volumeID and diskID are QEMU's.
	volumeID = 0xFABE1AFD
	diskID   = 0xBE1AFDFA
	// maxFATRoot is how many entries a FAT12 or FAT16 root directory has at most: the
	// field has 16 bits, and the directory fills whole sectors.
	maxFATRoot = 0xFFF0
	// diskHeads and diskTrack are the geometry of QEMU's hard disk.
	diskHeads = 16
	diskTrack = 63
	// The type of a volume is told by its number of clusters alone (fatgen: FAT Type
	// Determination).
	minFAT16Clusters = 4085
	minFAT32Clusters = 65525
	// maxFAT32Clusters: cluster numbers have 28 bits, and the last few are marks.
	maxFAT32Clusters = 0x0FFFFFF5
	// clusterShifts is the number of cluster sizes: 1, 2, 4 ... 64 sectors.
	clusterShifts = 7
)

// demand is what a tree needs.
type demand struct {
	clusters  [clusterShifts]uint64 // of 1<<i sectors, the root directory left out
	rootBytes uint64
}

// rootClusters are those of a root directory that lies in clusters, as FAT32's does.
func (d demand) rootClusters(spc uint32) uint64 {
	return max(1, ceilDiv(d.rootBytes, uint64(spc)*sectorSize))
}

func (d demand) of(spc uint32) uint64 {
	shift := 0
	for 1<<shift < spc {
		shift++
	}
	return d.clusters[shift]
}

// layout is where everything is. Positions are sectors of the disk.
type layout struct {
	fatType             int
	floppy              bool
	cylinders           uint32
	heads, track        uint32
	total               uint32 // of the disk
	start               uint32 // of the volume
	sectors             uint32 // of the volume
	spc                 uint32 // sectors of a cluster
	reserved            uint32
	fatSectors          uint32 // of one copy
	rootEntries         uint32 // 0 for FAT32
	clusters            uint32
	media               byte
	fat, root, data     uint32 // where they start
	dataEnd             uint32
	rootFirst, rootSize uint32 // FAT32: first cluster and clusters of the root directory
}

func ceilDiv[T int | uint32 | uint64 | int64](a, b T) T { return (a + b - 1) / b }

func (l layout) clusterSize() int64 { return int64(l.spc) * sectorSize }

// clusterSector is the first sector of a cluster.
func (l layout) clusterSector(c uint32) uint32 { return l.data + (c-firstCluster)*l.spc }

// plan chooses the layout: QEMU's where the tree fits there, a larger one of the same kind
// where that can be.
func plan(c config, d demand) (layout, error) {
	var candidates []layout
	switch {
	case c.Floppy:
		candidates = floppies(c.FATType)
	default:
		candidates = disks(c.FATType, d)
	}
	for i := range candidates {
		if l := &candidates[i]; l.complete(d) {
			return *l, nil
		}
	}
	return layout{}, tooLarge(c, candidates)
}

func tooLarge(c config, candidates []layout) error {
	if len(candidates) == 0 {
		return blockdev.Errorf(blockdev.ErrInvalid, "open", c.Dir, "A floppy is too small to be FAT%d", c.FATType)
	}
	last := candidates[len(candidates)-1]
	return blockdev.Errorf(blockdev.ErrLimit, "open", c.Dir, "Directory does not fit in FAT%d (capacity %.2f MB)",
		last.fatType, float64(last.sectors)/2000)
}

// floppies are QEMU's: 2.88 MB, or 1.44 MB where FAT12 is asked for. FAT16 needs clusters
// of one sector to have as many of them as makes it FAT16.
func floppies(fatType int64) []layout {
	ed := layout{fatType: 12, floppy: true, cylinders: 80, heads: 2, track: 36, spc: 2, rootEntries: 240, media: 0xF0}
	switch fatType {
	case 0:
		return []layout{ed}
	case 12:
		hd := ed
		hd.track, hd.spc, hd.rootEntries = 18, 1, 224
		return []layout{hd}
	case 16:
		ed.fatType, ed.spc = 16, 1
		return []layout{ed}
	}
	return nil
}

// disks are QEMU's first; then come those with larger clusters, and FAT32.
func disks(fatType int64, d demand) []layout {
	disk := func(fatType int, cylinders, spc uint32) layout {
		return layout{fatType: fatType, cylinders: cylinders, heads: diskHeads, track: diskTrack, spc: spc,
			rootEntries: 512, media: 0xF8, start: partitionStart}
	}
	switch fatType {
	case 12:
		return []layout{disk(12, 64, 16), disk(12, 128, 32), disk(12, 256, 64)}
	case 16:
		return []layout{disk(16, 1024, 16), disk(16, 2048, 32), disk(16, 4096, 64)}
	}
	var out []layout
	if fatType == 0 {
		out = append(out, disk(16, 1024, 16))
	}
	for _, s := range fat32Sizes {
		l := disk(32, 0, s.spc)
		l.rootEntries = 0
		l.cylinders = fat32Cylinders(d, s.spc)
		if uint64(l.cylinders)*diskHeads*diskTrack <= s.sectors {
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		out = append(out, disk(32, maxCylinders, 64))
	}
	return out
}

// fat32Sizes is how large a volume may be with which cluster (fatgen: DskTableFAT32).
var fat32Sizes = []struct {
	spc     uint32
	sectors uint64
}{{8, 16777216}, {16, 33554432}, {32, 67108864}, {64, 0xFFFFFFFF}}

// maxCylinders is the most that fit into a 32-bit number of sectors.
const maxCylinders = 0xFFFFFFFF / (diskHeads * diskTrack)

// fat32Cylinders is the size of a FAT32 disk: never smaller than QEMU's disk, and with an
// eighth of what is in it, or 512 MiB, left free for the guest.
func fat32Cylinders(d demand, spc uint32) uint32 {
	const minCylinders, minFree = 1024, 512 << 20
	clusters := d.of(spc) + d.rootClusters(spc)
	clusters += max(clusters/8, minFree/(uint64(spc)*sectorSize))
	sectors := clusters*uint64(spc) + fatCopies*ceilDiv((clusters+firstCluster)*4, sectorSize) + fat32Reserved + partitionStart
	return uint32(min(maxCylinders+1, max(minCylinders, ceilDiv(sectors, diskHeads*diskTrack))))
}

// fat32Reserved is the usual number of sectors before a FAT32's first table.
const fat32Reserved = 32

// complete works out what depends on the size, and tells if the tree fits.
func (l *layout) complete(d demand) bool {
	l.total = l.cylinders * l.heads * l.track
	l.sectors = l.total - l.start
	l.reserved = 1
	need := d.of(l.spc)
	if l.fatType == 32 {
		l.reserved = fat32Reserved
		l.rootFirst, l.rootSize = firstCluster, uint32(d.rootClusters(l.spc))
		need += uint64(l.rootSize)
	} else {
		slots := ceilDiv(d.rootBytes/direntSize, 16) * 16
		if slots > maxFATRoot {
			return false
		}
		l.rootEntries = max(l.rootEntries, uint32(slots))
		if slots*2 > uint64(l.rootEntries) { // leave the guest some room
			l.rootEntries = min(uint32(slots)*2, maxFATRoot)
		}
	}
	rootSectors := l.rootEntries * direntSize / sectorSize
	l.sizeTables(l.sectors - l.reserved - rootSectors)
	l.fat = l.start + l.reserved
	l.root = l.fat + fatCopies*l.fatSectors
	l.data = l.root + rootSectors
	l.dataEnd = l.data + l.clusters*l.spc
	return need <= uint64(l.clusters) && l.typeFits()
}

// sizeTables divides the sectors between the tables and the clusters. How many clusters
// there are follows from the size of a table (fatgen: CountofClusters), and a table must
// have room for them all.
func (l *layout) sizeTables(sectors uint32) {
	room := func(clusters uint32) uint32 {
		bits := (uint64(clusters) + firstCluster) * uint64(l.fatType)
		return uint32(ceilDiv(bits, 8*sectorSize))
	}
	fit := func() uint32 { return (sectors - fatCopies*l.fatSectors) / l.spc }
	l.fatSectors = room(sectors / l.spc)
	for l.clusters = fit(); room(l.clusters) < l.fatSectors; l.clusters = fit() {
		l.fatSectors--
		if room(fit()) > l.fatSectors { // one fewer is too few
			l.fatSectors++
			l.clusters = fit()
			return
		}
	}
}

// typeFits tells if the number of clusters means the type.
func (l *layout) typeFits() bool {
	switch l.fatType {
	case 12:
		return l.clusters < minFAT16Clusters
	case 16:
		return l.clusters >= minFAT16Clusters && l.clusters < minFAT32Clusters
	}
	return l.clusters >= minFAT32Clusters && l.clusters <= maxFAT32Clusters
}

// masterBoot is sector 0 of a hard disk: a partition table with one, bootable partition.
func (l layout) masterBoot() []byte {
	s := make([]byte, sectorSize)
	binary.LittleEndian.PutUint32(s[0x1B8:], diskID)
	p := s[0x1BE:]
	p[0] = 0x80
	l.putCHS(p[1:], l.start)
	p[4] = map[int]byte{12: 0x01, 16: 0x06, 32: 0x0C}[l.fatType]
	l.putCHS(p[5:], l.total-1)
	binary.LittleEndian.PutUint32(p[8:], l.start)
	binary.LittleEndian.PutUint32(p[12:], l.sectors)
	s[510], s[511] = 0x55, 0xAA
	return s
}

// putCHS writes a sector as head, sector, cylinder; what is past the last cylinder that
// has a number there is given as the last.
func (l layout) putCHS(p []byte, sector uint32) {
	const maxCylinder = 1023
	c, h, s := sector/(l.heads*l.track), sector/l.track%l.heads, sector%l.track+1
	if c > maxCylinder {
		c, h, s = maxCylinder, l.heads-1, l.track
	}
	p[0], p[1], p[2] = byte(h), byte(s)|byte(c>>8<<6), byte(c)
}

// bootSector is the volume's first (fatgen: Boot Sector and BPB Structure).
func (l layout) bootSector(label string) []byte {
	s := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(s, "\xEB\x3E\x90MSWIN4.1")
	le.PutUint16(s[11:], sectorSize)
	s[13] = byte(l.spc)
	le.PutUint16(s[14:], uint16(l.reserved))
	s[16] = fatCopies
	le.PutUint16(s[17:], uint16(l.rootEntries))
	if l.sectors < 1<<16 && l.fatType != 32 {
		le.PutUint16(s[19:], uint16(l.sectors))
	} else {
		le.PutUint32(s[32:], l.sectors)
	}
	s[21] = l.media
	le.PutUint16(s[24:], uint16(l.track))
	le.PutUint16(s[26:], uint16(l.heads))
	le.PutUint32(s[28:], l.start)
	ext := s[36:]
	if l.fatType == 32 {
		s[1] = 0x58
		le.PutUint32(s[36:], l.fatSectors)
		le.PutUint32(s[44:], l.rootFirst)
		le.PutUint16(s[48:], infoSector)
		le.PutUint16(s[50:], backupSector)
		ext = s[64:]
	} else {
		le.PutUint16(s[22:], uint16(l.fatSectors))
	}
	if !l.floppy {
		ext[0] = 0x80
	}
	ext[2] = 0x29
	le.PutUint32(ext[3:], volumeID)
	copy(ext[7:], padded(label, labelSize))
	copy(ext[18:], map[int]string{12: "FAT12   ", 16: "FAT16   ", 32: "FAT32   "}[l.fatType])
	s[510], s[511] = 0x55, 0xAA
	return s
}

// Sectors of a FAT32 volume's reserved area: the free space hint, and the copy of both.
const (
	infoSector   = 1
	backupSector = 6
)

// freeSpaceInfo is FAT32's hint of where free clusters are (fatgen: FSInfo).
func (l layout) freeSpaceInfo(used uint32) []byte {
	s := make([]byte, sectorSize)
	le := binary.LittleEndian
	le.PutUint32(s[0:], 0x41615252)
	le.PutUint32(s[484:], 0x61417272)
	le.PutUint32(s[488:], l.clusters-used)
	le.PutUint32(s[492:], firstCluster+used)
	s[510], s[511] = 0x55, 0xAA
	return s
}

// padded is s, filled with spaces to n bytes.
func padded(s string, n int) []byte {
	p := make([]byte, n)
	for i := copy(p, s); i < n; i++ {
		p[i] = ' '
	}
	return p
}
