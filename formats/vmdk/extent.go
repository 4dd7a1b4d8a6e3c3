package vmdk

import (
	"encoding/binary"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// The kinds of extents in a descriptor.
const (
	kindFlat     = "FLAT"
	kindZero     = "ZERO"
	kindSparse   = "SPARSE"
	kindVMFS     = "VMFS"
	kindVMFSCowd = "VMFSSPARSE"
	kindSE       = "SESPARSE"
)

// extent is a part of the disk. The image's mu guards all but what opening sets.
type extent struct {
	kind   string
	shown  string // the kind as info shows it
	file   blockdev.Node
	name   string
	start  int64 // on the disk
	size   int64
	flatAt int64     // of a flat extent: where in its file
	geo    *geometry // of a sparse one
	// readOnly is why it cannot be written, "" if it can.
	readOnly string

	dir    []int64 // places of grain tables, 0 for none
	dirCpy []int64 // ... and of their copies
	tables map[int64]*table
	dirty  int
	end    int64 // where the next grain goes, under the image's allocMu
	// meta are the places of all grain tables in order: no grain may lie over one.
	meta []int64
}

// grainState is how a grain is stored.
type grainState uint8

const (
	grainAbsent grainState = iota // in the parent
	grainZero
	grainStored
)

// table is a grain table in memory. One that is dirty, or on its way to the file, stays.
type table struct {
	data  []byte
	dirty bool
	busy  bool
}

// maxTableBytes bounds the tables of one extent in memory: 16 MiB are for 256 GiB of disk
// in grains of 64 KiB.
const maxTableBytes = 16 << 20

// maxDirtyTables is how many tables may wait to be written.
const maxDirtyTables = 1024

// loadDirectory reads the grain directory, whose size the header's check has limited.
func (e *extent) loadDirectory() error {
	var err error
	if e.dir, err = e.readDirectory(e.geo.directory); err != nil {
		return err
	}
	if e.geo.redundant != 0 {
		if e.dirCpy, err = e.readDirectory(e.geo.redundant); err != nil {
			return err
		}
	}
	e.tables = map[int64]*table{}
	e.meta = append(slices.Clone(e.dir), e.dirCpy...)
	slices.Sort(e.meta)
	return nil
}

func (e *extent) readDirectory(at int64) ([]int64, error) {
	g := e.geo
	b := make([]byte, g.dirEntries*g.entrySize)
	if err := readFull(e.file, b, at); err != nil {
		return nil, err
	}
	dir := make([]int64, g.dirEntries)
	for i := range dir {
		if !g.se {
			dir[i] = int64(binary.LittleEndian.Uint32(b[i*4:])) * sectorSize
			continue
		}
		// The upper half tells that there is a table, the lower half which.
		switch v := binary.LittleEndian.Uint64(b[i*8:]); {
		case v == 0:
		case v>>32 == 0x10000000:
			dir[i] = g.tablesBase + int64(uint32(v))*g.tableSize()
		default:
			return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", e.name, at+int64(i)*8, "invalid seSparse directory entry %#x", v)
		}
	}
	return dir, nil
}

// table reads the grain table of a directory entry, nil if there is none.
func (e *extent) table(i int64) (*table, error) {
	if t := e.tables[i]; t != nil {
		return t, nil
	}
	at := e.dir[i]
	if at == 0 {
		return nil, nil
	}
	if int64(len(e.tables))*e.geo.tableSize() >= maxTableBytes {
		e.trim()
	}
	t := &table{data: make([]byte, e.geo.tableSize())}
	blockdev.Raise(e.file, blockdev.EventL2Load)
	if err := readFull(e.file, t.data, at); err != nil {
		return nil, err
	}
	e.tables[i] = t
	return t, nil
}

// trim forgets the tables that are as in the file.
func (e *extent) trim() {
	for i, t := range e.tables {
		if !t.dirty && !t.busy {
			delete(e.tables, i)
		}
	}
}

// lookup finds a grain.
func (e *extent) lookup(grain int64) (grainState, int64, error) {
	g := e.geo
	t, err := e.table(grain / g.perTable)
	if err != nil || t == nil {
		return grainAbsent, 0, err
	}
	state, host := grainStored, int64(0)
	if g.se {
		if state, host, err = e.decodeSE(binary.LittleEndian.Uint64(t.data[grain%g.perTable*8:])); err != nil {
			return 0, 0, err
		}
	} else {
		v := binary.LittleEndian.Uint32(t.data[grain%g.perTable*4:])
		host = int64(v) * sectorSize
		switch {
		case v == 0:
			state = grainAbsent
		case v == 1 && g.zeroGrains:
			state = grainZero
		}
	}
	if state == grainStored && host >= e.file.Size() {
		return 0, 0, blockdev.ErrorAt(blockdev.ErrCorrupt, "map", e.name, host, "VMDK grain %d lies behind the end of the file", grain)
	}
	return state, host, nil
}

// decodeSE reads an entry of a space-efficient extent: the state is in the top 4 bits, and
// the grain's number in two parts that changed their places.
func (e *extent) decodeSE(v uint64) (grainState, int64, error) {
	switch v >> 60 {
	case 0, 1:
		return grainAbsent, 0, nil
	case 2:
		return grainZero, 0, nil
	case 3:
		n := v>>48&0xfff | v&0xffffffffffff<<12
		if n > uint64(blockdev.MaxSize/e.geo.grain) {
			break
		}
		if host := e.geo.grainsAt + int64(n)*e.geo.grain; host >= 0 {
			return grainStored, host, nil
		}
	}
	return 0, 0, blockdev.Errorf(blockdev.ErrCorrupt, "map", e.name, "invalid seSparse table entry %#x", v)
}

// set changes the entry of a grain.
func (e *extent) set(grain int64, sector uint32) error {
	t, err := e.table(grain / e.geo.perTable)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(t.data[grain%e.geo.perTable*4:], sector)
	if !t.dirty {
		t.dirty = true
		e.dirty++
	}
	return nil
}

// overMetadata tells if a grain at host lies over the header or over tables.
func (e *extent) overMetadata(host int64) bool {
	g := e.geo
	end := host + g.grain
	if host < sectorSize || g.descSize > 0 && host < g.descriptor+g.descSize && g.descriptor < end {
		return true
	}
	for _, at := range []int64{g.directory, g.redundant} {
		if at != 0 && host < at+g.dirEntries*g.entrySize && at < end {
			return true
		}
	}
	i, _ := slices.BinarySearch(e.meta, host-g.tableSize()+1)
	for ; i < len(e.meta) && e.meta[i] < end; i++ {
		if e.meta[i] != 0 {
			return true
		}
	}
	return false
}

// startWriting makes the extent ready to be written.
func (e *extent) startWriting() {
	if e.geo == nil {
		return
	}
	size := e.file.Size()
	if e.geo.compressed {
		e.end = (size + sectorSize - 1) / sectorSize * sectorSize
		return
	}
	e.end = (size + e.geo.grain - 1) / e.geo.grain * e.geo.grain
	if size%e.geo.grain != 0 {
		e.end += e.geo.grain // the last grain may reach past the end of the file
	}
}
