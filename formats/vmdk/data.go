package vmdk

import (
	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/flat"
)

// mapSteps is how many grains one Map looks at, so that a huge disk does not hold up
// whoever only wants its beginning.
const mapSteps = 4096

// ReadAt reads from where the grains lie.
func (im *Image) ReadAt(p []byte, off int64) (int, error) {
	return blockdev.Read(reading{im}, p, off)
}

// reading is an image of which what Map finds is read: that raises events.
type reading struct{ *Image }

func (r reading) Map(off, n int64) (blockdev.Extent, error) {
	x, err := r.Image.Map(off, n)
	switch {
	case err != nil:
	case x.Kind == blockdev.ExtentData:
		blockdev.Raise(r.extentAt(off).file, blockdev.EventReadAIO)
	case x.Kind == blockdev.ExtentUnallocated && r.Backing() != nil:
		blockdev.Raise(r.file, blockdev.EventReadBackingAIO)
	}
	return x, err
}

// Map says where the bytes of a range lie.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", im, off, n); err != nil || n == 0 {
		return blockdev.Extent{}, err
	}
	e := im.extentAt(off)
	off -= e.start
	n = min(n, e.size-off)
	switch {
	case e.file == nil:
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: n}, nil
	case e.geo == nil:
		return flat.Map(e.file, e.flatAt+off, n)
	}
	im.mu.Lock()
	x, err := e.mapSparse(off, n)
	im.mu.Unlock()
	if err == nil && x.Kind == blockdev.ExtentUnallocated {
		err = im.Verify()
	}
	return x, err
}

// mapSparse finds a run of grains that are stored in the same way.
func (e *extent) mapSparse(off, n int64) (blockdev.Extent, error) {
	gs := e.geo.grain
	state, host, err := e.lookup(off / gs)
	if err != nil {
		return blockdev.Extent{}, err
	}
	x := blockdev.Extent{Len: min(n, gs-off%gs)}
	switch {
	case state == grainAbsent:
		x.Kind = blockdev.ExtentUnallocated
	case state == grainZero:
		x.Kind = blockdev.ExtentZero
	case e.geo.compressed:
		x.Kind, x.Compressed = blockdev.ExtentOpaque, true
	default:
		x.Kind, x.Node, x.Host = blockdev.ExtentData, e.file, host+off%gs
	}
	for range mapSteps {
		if x.Len >= n || !e.goesOn(x, state, (off+x.Len)/gs) {
			break
		}
		x.Len = min(n, x.Len+gs)
	}
	return x, nil
}

// goesOn tells if a grain is stored as the run x before it. An error is for whoever asks
// for that grain.
func (e *extent) goesOn(x blockdev.Extent, state grainState, grain int64) bool {
	s, host, err := e.lookup(grain)
	return err == nil && s == state && (x.Kind != blockdev.ExtentData || host == x.Host+x.Len)
}

// WriteAt writes to where the bytes lie; grains that are not there yet are added.
func (im *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := im.beginWrite("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	for rest := p; len(rest) > 0; {
		e := im.extentAt(off)
		n, err := im.writeExtent(e, rest[:min(int64(len(rest)), e.start+e.size-off)], off-e.start)
		if err != nil {
			return 0, err
		}
		rest, off = rest[n:], off+n
	}
	return len(p), nil
}

// beginWrite checks a request and marks the disk as changed.
func (im *Image) beginWrite(op string, off, n int64) error {
	if err := blockdev.CheckRange(op, im, off, n); err != nil {
		return err
	}
	if err := im.checkWritable(op); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	return im.touch()
}

// writeExtent writes the beginning of p to an extent and returns how much it was.
func (im *Image) writeExtent(e *extent, p []byte, off int64) (int64, error) {
	if e.geo == nil {
		blockdev.Raise(e.file, blockdev.EventWriteAIO)
		_, err := e.file.WriteAt(p, e.flatAt+off)
		return int64(len(p)), err
	}
	im.mu.Lock()
	x, err := e.mapSparse(off, int64(len(p)))
	im.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case x.Kind == blockdev.ExtentData:
		if e.overMetadata(x.Host - off%e.geo.grain) {
			return 0, blockdev.ErrorAt(blockdev.ErrCorrupt, "write", e.name, x.Host, "VMDK grain lies over metadata")
		}
		n := x.Len
		if n > e.geo.grain {
			n = im.soundRun(e, x, off)
		}
		blockdev.Raise(e.file, blockdev.EventWriteAIO)
		_, err := e.file.WriteAt(p[:n], x.Host)
		return n, err
	case e.geo.compressed:
		return im.writeGrain(e, p[:min(x.Len, e.geo.grain-off%e.geo.grain)], off)
	}
	return im.allocate(e, p[:x.Len], off)
}

// soundRun is how much of a run of grains lies over no metadata.
func (im *Image) soundRun(e *extent, x blockdev.Extent, off int64) int64 {
	n := min(x.Len, e.geo.grain-off%e.geo.grain)
	for n < x.Len && !e.overMetadata(x.Host+n) {
		n = min(x.Len, n+e.geo.grain)
	}
	return n
}

// WriteZeroes zeroes what is stored; absent grains read as zeroes already, unless there is
// a parent.
func (im *Image) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if err := im.beginWrite("write", off, n); err != nil {
		return err
	}
	for n > 0 {
		e := im.extentAt(off)
		k, err := im.zeroExtent(e, off-e.start, min(n, e.start+e.size-off), flags)
		if err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// zeroExtent zeroes the beginning of a range of an extent and returns how much it was.
func (im *Image) zeroExtent(e *extent, off, n int64, flags blockdev.ZeroFlags) (int64, error) {
	if e.geo == nil {
		blockdev.Raise(e.file, blockdev.EventWriteAIO)
		return n, blockdev.WriteZeroes(e.file, e.flatAt+off, n, flags)
	}
	im.mu.Lock()
	x, err := e.mapSparse(off, n)
	im.mu.Unlock()
	if err != nil {
		return 0, err
	}
	gs := e.geo.grain
	switch {
	case x.Kind == blockdev.ExtentData:
		if e.overMetadata(x.Host - off%gs) {
			return 0, blockdev.ErrorAt(blockdev.ErrCorrupt, "write", e.name, x.Host, "VMDK grain lies over metadata")
		}
		x.Len = im.soundRun(e, x, off)
		blockdev.Raise(e.file, blockdev.EventWriteAIO)
		return x.Len, blockdev.WriteZeroes(e.file, x.Host, x.Len, flags)
	case x.Kind == blockdev.ExtentOpaque:
		return 0, im.writtenTwice(e)
	case x.Kind == blockdev.ExtentZero || !im.hasBacking():
		return x.Len, nil
	}
	k := min(x.Len, gs-off%gs)
	if e.geo.zeroGrains && off%gs == 0 && (k == gs || off+k == e.size) {
		return im.zeroGrains(e, off, x.Len)
	}
	return im.writeExtent(e, make([]byte, k), off)
}

// zeroGrains marks the whole grains of a range as zero and returns how much that is: nothing
// from a grain on that somebody has stored meanwhile.
func (im *Image) zeroGrains(e *extent, off, n int64) (done int64, err error) {
	if err := im.makeRoom(e); err != nil {
		return 0, err
	}
	im.allocMu.Lock()
	defer im.allocMu.Unlock()
	im.mu.Lock()
	defer im.mu.Unlock()
	for done < n {
		k := min(n-done, e.geo.grain)
		grain := (off + done) / e.geo.grain
		state, _, err := e.lookup(grain)
		if err != nil || state != grainAbsent || k < e.geo.grain && off+done+k < e.size {
			return done, err
		}
		if e.dir[grain/e.geo.perTable] == 0 {
			return done, errNoTable(e)
		}
		if err := e.set(grain, 1); err != nil {
			return done, err
		}
		done += k
	}
	return done, nil
}

// AllocatedSize is that of all the files.
func (im *Image) AllocatedSize() (int64, error) {
	var sum int64
	files := []blockdev.Node{im.file}
	for _, e := range im.extents {
		if e.file != nil && e.file != im.file {
			files = append(files, e.file)
		}
	}
	for _, f := range files {
		a, ok := f.(blockdev.AllocatedSizer)
		if !ok {
			return 0, blockdev.Errorf(blockdev.ErrNotSupported, "size", im.name, "Operation not supported")
		}
		n, err := a.AllocatedSize()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
