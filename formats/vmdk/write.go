package vmdk

import (
	"math"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// maxRun is how many bytes of new grains are written at once, where the ends of the run
// have to be filled up.
const maxRun = 4 << 20

func errNoTable(e *extent) error {
	return blockdev.Errorf(blockdev.ErrNotSupported, "write", e.name, "VMDK grain table is missing, extent cannot be written there")
}

// allocate writes p, for which there are no grains yet, to new ones behind the end of the
// file. It returns how much it wrote: nothing where somebody else was faster.
func (im *Image) allocate(e *extent, p []byte, off int64) (int64, error) {
	if err := im.makeRoom(e); err != nil {
		return 0, err
	}
	im.allocMu.Lock()
	defer im.allocMu.Unlock()
	gs := e.geo.grain
	im.mu.Lock()
	x, err := e.mapSparse(off, int64(len(p)))
	im.mu.Unlock()
	if err != nil || x.Kind != blockdev.ExtentUnallocated && x.Kind != blockdev.ExtentZero {
		return 0, err
	}
	n := min(x.Len, maxRun-off%gs)
	buf, err := im.wholeGrains(e, p[:n], off, x.Kind)
	if err != nil {
		return 0, err
	}
	host := e.end
	if (host+int64(len(buf)))/sectorSize > math.MaxUint32 {
		return 0, blockdev.Errorf(blockdev.ErrNoSpace, "write", e.name, "VMDK extent is full")
	}
	if err := im.checkTables(e, off/gs, int64(len(buf))/gs); err != nil {
		return 0, err
	}
	if len(buf) != int(n) {
		blockdev.Raise(e.file, blockdev.EventCOWWrite)
	}
	blockdev.Raise(e.file, blockdev.EventWriteAIO)
	if _, err := e.file.WriteAt(buf, host); err != nil {
		return 0, err
	}
	e.end += int64(len(buf))
	im.mu.Lock()
	defer im.mu.Unlock()
	for i := range int64(len(buf)) / gs {
		if err := e.set(off/gs+i, uint32((host+i*gs)/sectorSize)); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// makeRoom writes tables back if too many wait.
func (im *Image) makeRoom(e *extent) error {
	im.mu.Lock()
	full := e.dirty >= maxDirtyTables
	im.mu.Unlock()
	if !full {
		return nil
	}
	return im.commit()
}

// checkTables makes sure that n grains have tables, and has those in memory.
func (im *Image) checkTables(e *extent, grain, n int64) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	for i := grain / e.geo.perTable; i <= (grain+n-1)/e.geo.perTable; i++ {
		t, err := e.table(i)
		if err != nil {
			return err
		}
		if t == nil {
			return errNoTable(e)
		}
	}
	return nil
}

// wholeGrains is p with what is before and behind it in its first and last grain.
func (im *Image) wholeGrains(e *extent, p []byte, off int64, kind blockdev.ExtentKind) ([]byte, error) {
	gs := e.geo.grain
	head := off % gs
	length := (head + int64(len(p)) + gs - 1) / gs * gs
	if length == int64(len(p)) {
		return p, nil
	}
	buf := make([]byte, length)
	if kind == blockdev.ExtentUnallocated && im.Backing() != nil {
		if err := im.fill(e, buf[:head], off-head); err != nil {
			return nil, err
		}
		end := off + int64(len(p))
		tail := min(length-head-int64(len(p)), e.size-end)
		if err := im.fill(e, buf[head+int64(len(p)):][:tail], end); err != nil {
			return nil, err
		}
	}
	copy(buf[head:], p)
	return buf, nil
}

// fill reads from the parent; what it does not have is zero.
func (im *Image) fill(e *extent, p []byte, off int64) error {
	if err := im.Verify(); err != nil {
		return err
	}
	b := im.Backing()
	off += e.start
	n := max(0, min(int64(len(p)), b.Size()-off))
	if n == 0 {
		return nil
	}
	blockdev.Raise(e.file, blockdev.EventCOWRead)
	_, err := b.ReadAt(p[:n], off)
	return err
}

// dirtyTable is a copy of a table on its way to the file.
type dirtyTable struct {
	e    *extent
	i    int64
	t    *table
	data []byte
}

// commit makes all data durable, and then the tables that say where it is.
func (im *Image) commit() error {
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	list := im.takeDirty()
	err := im.flushFiles()
	if len(list) == 0 {
		return err
	}
	for _, d := range list {
		if err != nil {
			break
		}
		err = d.write()
	}
	if err == nil {
		err = im.flushFiles()
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, d := range list {
		d.t.busy = false
		if err != nil && !d.t.dirty {
			d.t.dirty = true
			d.e.dirty++
		}
	}
	return err
}

// takeDirty copies the dirty tables. They count as clean, but stay in memory.
func (im *Image) takeDirty() []dirtyTable {
	im.mu.Lock()
	defer im.mu.Unlock()
	var list []dirtyTable
	for _, e := range im.extents {
		if e.dirty == 0 {
			continue
		}
		for i, t := range e.tables {
			if t.dirty {
				t.dirty, t.busy = false, true
				list = append(list, dirtyTable{e, i, t, slices.Clone(t.data)})
			}
		}
		e.dirty = 0
	}
	return list
}

// write writes the copy of the table first: readers go by the other one.
func (d *dirtyTable) write() error {
	blockdev.Raise(d.e.file, blockdev.EventL2Update)
	if d.e.dirCpy != nil && d.e.dirCpy[d.i] != 0 {
		if _, err := d.e.file.WriteAt(d.data, d.e.dirCpy[d.i]); err != nil {
			return err
		}
	}
	_, err := d.e.file.WriteAt(d.data, d.e.dir[d.i])
	return err
}
