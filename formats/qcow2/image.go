package qcow2

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/rangelock"
)

// Image is an opened qcow2 image: a [blockdev.Node].
type Image struct {
	name string
	file blockdev.Node
	// data is where guest clusters lie: file, or an external data file.
	data     blockdev.Node
	external bool
	mode     blockdev.Mode
	options  openOptions
	notify   func(text string) // see blockdev.Graph

	// What the header fixes for good.
	l2Geometry
	clusterSize  int64
	refBlockBits uint // log2 of the entries of a refcount block
	refWidth     refWidth
	compression  uint8

	version     atomic.Uint32 // amend changes it
	passDiscard [discardShrink + 1]bool
	signaled    atomic.Bool // the user was told that the image is corrupt
	writable    atomic.Bool
	size        atomic.Int64
	dataRaw     atomic.Bool  // see raw
	dataEnd     atomic.Int64 // the data node is at least this long
	corrupted   atomic.Bool  // found so while it was written; it is not any more
	holes       atomic.Int32 // see manyHoles
	backing     atomic.Pointer[backingNode]
	inflaters   inflaters
	deflaters   deflaters
	crypt       encryption
	sealed      sync.Pool // of *[]byte, maxSealed long
	// refersBacking tells if the header names a backing file.
	refersBacking atomic.Bool
	tracker       atomic.Pointer[tracker] // of enabled bitmaps; nil for none

	ranges   *rangelock.Lock
	commitMu sync.Mutex

	mu            sync.RWMutex // guards all below
	hdr           *header
	doubt         headerSpan // what of it the file may say otherwise
	l1            l1Table
	refs          refTable
	l2Cache       *tableCache
	refCache      *tableCache
	released      []releasedRun
	waiting       int64        // clusters in released
	freeHint      int64        // no cluster before this one is free
	packed        int64        // where in the file the next compressed data may go; 0 for none
	lazy          bool         // lazy refcounts are in use
	tablesCounted []tableWrite // see countTables
	snaps         []*snapshot
	snapshotBytes int64 // of the snapshot table
	snapshotFault error // why it could not be read; for a check, which reports it
	suspect       bool  // refcounts are wrong since an error: they are rebuilt at the end
	closed        bool
	cleaner       *time.Timer // see startCleaning; nil for none

	bitmaps        []*bitmap
	bitmapsStored  []bitmapEntry // the directory in the file
	bitmapsChanged bool          // bitmaps are to be stored

	// unrepaired: opened for a check although it is dirty or corrupt. It stays marked so
	// until a check leaves it clean.
	unrepaired bool
}

// l1Table is an L1 table in memory, section "Cluster mapping".
type l1Table struct {
	off     int64
	entries []uint64
	dirty   map[int]struct{} // entries that the file does not have yet
}

var (
	_ blockdev.Node          = (*Image)(nil)
	_ blockdev.OpaqueReader  = (*Image)(nil)
	_ blockdev.ZeroWriter    = (*Image)(nil)
	_ blockdev.Discarder     = (*Image)(nil)
	_ blockdev.Resizer       = (*Image)(nil)
	_ blockdev.Backed        = (*Image)(nil)
	_ blockdev.Snapshotter   = (*Image)(nil)
	_ blockdev.SnapshotUsage = (*Image)(nil)
	_ blockdev.VMStateStore  = (*Image)(nil)
	_ blockdev.BitmapStore   = (*Image)(nil)
	_ blockdev.Unfinisher    = (*Image)(nil)
	_ blockdev.Checker       = (*Image)(nil)
	_ blockdev.Informer      = (*Image)(nil)
	_ blockdev.Reopener      = (*Image)(nil)
	_ blockdev.Limiter       = (*Image)(nil)
	_ blockdev.Emptier       = (*Image)(nil)
	_ blockdev.Amender       = (*Image)(nil)

	_ blockdev.CompressedWriter   = (*Image)(nil)
	_ blockdev.CompressedPreparer = (*Image)(nil)
)

// Open opens the image in r.File. A backing file is not opened: attach it with SetBacking.
func Open(ctx context.Context, r blockdev.OpenRequest) (*Image, error) {
	o, err := parseOpenOptions(r)
	if err != nil {
		return nil, err
	}
	hdr, err := readHeader(r.File, r.Filename, r.Mode.Check)
	if err != nil {
		return nil, err
	}
	if err := o.checkCaches(r.Filename, hdr); err != nil {
		return nil, err
	}
	im := newImage(r, hdr, o)
	if err := im.openData(ctx, r); err != nil {
		return nil, err
	}
	if err := im.openEncryption(ctx, r); err != nil {
		return nil, err
	}
	if err := im.loadTables(); err != nil {
		return nil, err
	}
	if r.Mode.Writable {
		if err := im.startWriting(o); err != nil {
			return nil, err
		}
	}
	im.startCleaning()
	return im, nil
}

func newImage(r blockdev.OpenRequest, hdr *header, o openOptions) *Image {
	cs := hdr.clusterSize()
	im := &Image{
		name: r.Filename, file: r.File, mode: r.Mode, options: o, notify: r.Notify,
		data:         r.File,
		l2Geometry:   hdr.geometry(),
		clusterSize:  cs,
		refBlockBits: uint(hdr.clusterBits) + 3 - uint(hdr.refcountOrder),
		refWidth:     refWidth(hdr.refcountOrder),

		compression: hdr.compression,
		ranges:      rangelock.New(),
		hdr:         hdr,
		l2Cache:     newTableCache(r.File, r.Filename, "L2 table", blockdev.EventL2Load, cs, o.l2CacheSize),
		refCache:    newTableCache(r.File, r.Filename, "Refcount block", "", cs, o.refcountCacheSize),
	}
	im.version.Store(hdr.version)
	im.passDiscard[discardRequest] = o.passDiscardRequest
	im.passDiscard[discardSnapshot] = o.passDiscardSnapshot
	im.passDiscard[discardOther] = o.passDiscardOther
	im.passDiscard[discardShrink] = true
	im.sealed.New = func() any { b := make([]byte, maxSealed); return &b }
	im.size.Store(hdr.size)
	im.refersBacking.Store(hdr.backingName != "")
	return im
}

// loadTables reads the tables that are held in memory as a whole.
func (im *Image) loadTables() error {
	h := im.hdr
	if err := im.checkTablesInFile(); err != nil {
		return err
	}
	im.raise(blockdev.EventReftableLoad)
	refs, err := im.readEntries(h.refTableOffset, int64(h.refTableClusters)*im.clusterSize/8)
	if err != nil {
		return err
	}
	im.refs = refTable{entries: refs, dirty: map[int]struct{}{}}
	l1, err := im.readEntries(h.l1Offset, int64(h.l1Size))
	if err != nil {
		return err
	}
	im.l1 = l1Table{off: h.l1Offset, entries: l1, dirty: map[int]struct{}{}}
	if err := im.loadSnapshots(nil); err != nil {
		if !im.mode.Check {
			return err
		}
		im.snapshotFault = err
	}
	return im.openBitmaps()
}

// maxTableBeyond is how long a table may be that the file does not hold: what is missing is
// taken for empty, as QEMU does, but not much memory is taken for it.
const maxTableBeyond = 1 << 20

// checkTablesInFile refuses long tables that the file ends before. A check makes such a
// refcount table anew.
func (im *Image) checkTablesInFile() error {
	h := im.hdr
	beyond := func(off, n int64) bool { return n > maxTableBeyond && off+n > im.file.Size()+im.clusterSize }
	if n := int64(h.l1Size) * 8; beyond(h.l1Offset, n) {
		return headerError(im.name, offL1Size, "L1 table of %d bytes at %#x is beyond the end of the file at %#x", n, h.l1Offset, im.file.Size())
	}
	if n := int64(h.refTableClusters) * im.clusterSize; !im.mode.Check && beyond(h.refTableOffset, n) {
		return headerError(im.name, offRefTableClusters, "Refcount table of %d bytes at %#x is beyond the end of the file at %#x", n, h.refTableOffset, im.file.Size())
	}
	return nil
}

// readEntries reads a table of n 8-byte entries, whose size the header's check limits. What
// is past the end of the file is 0.
func (im *Image) readEntries(off, n int64) ([]uint64, error) {
	entries := make([]uint64, n)
	b := make([]byte, min(n, entriesAtOnce)*8)
	for i := int64(0); i < n && off+i*8 < im.file.Size(); i += entriesAtOnce {
		b = b[:min(n-i, entriesAtOnce)*8]
		if err := readPadded(im.file, b, off+i*8); err != nil {
			return nil, err
		}
		for j := range entries[i : i+int64(len(b)/8)] {
			entries[i+int64(j)] = binary.BigEndian.Uint64(b[j*8:])
		}
	}
	return entries, nil
}

// entriesAtOnce is how many entries of a table are read together.
const entriesAtOnce = 8 << 10

// startWriting makes a freshly opened, or reopened, image ready to be written.
func (im *Image) startWriting(o openOptions) error {
	im.unrepaired = im.mode.Check && im.hdr.incompatible&(incompatDirty|incompatCorrupt) != 0
	if im.hdr.incompatible&incompatCorrupt != 0 && !im.unrepaired {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, "qcow2: Image is corrupt; cannot be opened read/write")
	}
	if !im.v3() && o.lazyRefcounts(im.hdr) {
		return blockdev.Errorf(blockdev.ErrInvalid, "open", im.name, "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
	}
	im.writable.Store(true)
	im.lazy = false
	if err := im.prepareHeader(); err != nil {
		im.writable.Store(false)
		return err
	}
	im.lazy = o.lazyRefcounts(im.hdr)
	return nil
}

// v3 tells if the image has what version 3 brought.
func (im *Image) v3() bool { return im.version.Load() >= 3 }

// Size is the size of the virtual disk.
func (im *Image) Size() int64 { return im.size.Load() }

// Flush writes back all metadata and makes it and all data durable.
func (im *Image) Flush() error {
	im.raise(blockdev.EventFlushToOS)
	if im.writable.Load() {
		return im.commit()
	}
	im.mu.RLock()
	err := im.lost()
	im.mu.RUnlock()
	if err != nil {
		return err
	}
	if err := im.flushData(); err != nil {
		return err
	}
	return im.file.Flush()
}

// lost is the error for metadata that cannot be written any more, since the image turned
// out to be corrupt. mu is held.
func (im *Image) lost() error {
	if im.writable.Load() || !im.unwritten() {
		return nil
	}
	return blockdev.Errorf(corruptRefusal, "flush", im.name, "Metadata cannot be written: the image is corrupt")
}

// Close writes everything back. The node must not be in use any more. After a failure it
// can be tried again.
func (im *Image) Close() error {
	defer im.ranges.Lock(0, allClusters, true)()
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.closed {
		return nil
	}
	if err := im.stopWriting(); err != nil {
		return err
	}
	im.closed = true
	if im.cleaner != nil {
		im.cleaner.Stop()
	}
	im.inflaters.close()
	im.deflaters.close()
	return nil
}

// stopWriting brings the file to rest: everything written, refcounts right, not dirty.
func (im *Image) stopWriting() error {
	if !im.writable.Load() {
		if im.told() {
			return nil
		}
		return im.lost()
	}
	im.lazy = false
	if im.suspect {
		if err := im.rebuildRefcounts(); err != nil {
			return err
		}
	}
	if err := im.commitAll(); err != nil {
		return im.unflushed(err)
	}
	if !im.unrepaired {
		if err := im.setDirty(false); err != nil {
			return err
		}
	}
	if err := im.padPacked(); err != nil {
		return err
	}
	// The last step that can fail: bitmaps are valid once nobody writes any more.
	if err := im.stopTracking(); err != nil {
		return err
	}
	im.writable.Store(false)
	return nil
}

// unflushed says which tables err kept from reaching the file, as QEMU does: it flushes L2
// tables first, and with them the file, which then fails where none of them is dirty. A
// refusal to write is about dirty tables alone. commitMu and mu are held.
func (im *Image) unflushed(err error) error {
	if im.flushData() != nil {
		return err // the data file's own: no table is to blame
	}
	failed := func(what string, err error) error {
		_, words := blockdev.SystemError(err)
		return blockdev.Errorf(err, "close", im.name, "Failed to flush the %s cache: %s", what, words)
	}
	var errs []error
	if len(im.l2Cache.dirty)+len(im.l1.dirty) > 0 || im.checkInactive() == nil {
		errs = append(errs, failed("L2 table", err))
	}
	if again := im.writeRefcounts(); again != nil || errs == nil {
		errs = append(errs, failed("refcount block", err))
	}
	return errors.Join(errs...)
}

// writeRefcounts is a commit of refcounts alone. commitMu and mu are held.
func (im *Image) writeRefcounts() error {
	if err := im.settleHeader(); err != nil {
		return err
	}
	w := im.collectRefcounts()
	return im.finish(w, im.run(w))
}

// allClusters as the end of a locked range means every cluster, the VM state's included.
const allClusters = rangelock.End

// exclusive runs f while no request is in flight and no commit runs, with mu held.
func (im *Image) exclusive(f func() error) error {
	defer im.ranges.Lock(0, allClusters, true)()
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := im.settleHeader(); err != nil {
		return err
	}
	return im.judgeLocked(f())
}

// update runs f, which changes metadata, with mu held. Before that it makes room in the
// caches, so that they stay within bounds, and in the file.
func (im *Image) update(f func() error) error {
	im.mu.Lock()
	if im.l2Cache.crowded() || im.refCache.crowded() || im.hoards() {
		im.mu.Unlock()
		if err := im.commit(); err != nil {
			return err
		}
		im.mu.Lock()
	}
	defer im.mu.Unlock()
	if err := im.settleHeader(); err != nil {
		return err
	}
	im.l2Cache.trim()
	im.refCache.trim()
	if im.lazy {
		if err := im.setDirty(true); err != nil {
			return err
		}
	}
	return im.judgeLocked(f())
}

// raise tells what is below, as blkdebug, what is about to be done to the file.
func (im *Image) raise(e blockdev.Event) { blockdev.Raise(im.file, e) }

// checkRange checks a guest range.
func (im *Image) checkRange(op string, off, n int64) error {
	if off < 0 || n < 0 || off > im.Size()-n {
		return blockdev.ErrorAt(blockdev.ErrRange, op, im.name, off, "Request of %d bytes is outside the disk of %d", n, im.Size())
	}
	return nil
}

// Writable tells if the image accepts writes at present.
func (im *Image) Writable() bool { return im.writable.Load() }

func (im *Image) checkWritable(op string) error {
	if im.corrupted.Load() {
		return blockdev.Errorf(corruptRefusal, op, im.name, "Image is corrupt and can only be read")
	}
	if !im.writable.Load() {
		return blockdev.Errorf(blockdev.ErrReadOnly, op, im.name, "Block node is read-only")
	}
	return nil
}
