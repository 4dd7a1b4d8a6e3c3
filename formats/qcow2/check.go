package qcow2

import (
	"context"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// Check walks all metadata, counts who refers to each cluster, and compares that with the
// refcounts and the copied flags; repair.go says what it can put right. The image is not
// used meanwhile.
func (im *Image) Check(ctx context.Context, o blockdev.CheckOptions) (blockdev.CheckResult, error) {
	c := &checker{im: im, ctx: ctx, options: o, references: newReferences()}
	if c.repairs() {
		if err := im.checkWritable("check"); err != nil {
			return blockdev.CheckResult{}, err
		}
	}
	err := im.exclusive(func() error {
		if im.writable.Load() {
			// Postponed refcounts too: blocks that the file does not have yet are no damage.
			lazy := im.lazy
			im.lazy = false
			err := im.commitAll()
			im.lazy = lazy
			if err != nil {
				return err
			}
		}
		return c.run()
	})
	return c.result, err
}

// checker is one run of Check.
type checker struct {
	im         *Image
	ctx        context.Context
	options    blockdev.CheckOptions
	result     blockdev.CheckResult
	references *references
	clusters   int64  // in the file
	l2         []byte // what readL2 read last

	incomplete bool         // snapshot table entries lack what version 3 asks for
	uncounted  bool         // the snapshot table lies behind the end of the file
	structural bool         // what is counted now are the refcount structures
	structures []clusterRun // the refcount table and its blocks, as counted
	broken     bool         // the refcount structures must be made anew
}

func (c *checker) report(kind blockdev.FindingKind, format string, args ...any) {
	switch kind {
	case blockdev.FindingCorruption:
		c.result.Corruptions++
	case blockdev.FindingLeak:
		c.result.Leaks++
	case blockdev.FindingError:
		c.result.CheckErrors++
	}
	if c.options.Report != nil {
		c.options.Report(blockdev.Finding{Kind: kind, Text: fmt.Sprintf(format, args...)})
	}
}

func (c *checker) corrupt(format string, args ...any) {
	c.report(blockdev.FindingCorruption, format, args...)
}

func (c *checker) run() error {
	if err := c.readSnapshotTable(); err != nil {
		return err
	}
	if err := c.countAll(); err != nil {
		return err
	}
	counted := c.result
	c.countRefTable()
	before := c.result
	if err := c.compareRefcounts(false); err != nil {
		return err
	}
	if c.repairs() {
		if err := c.repairRefcounts(counted, before); err != nil {
			return err
		}
	}
	if err := c.checkCopiedFlags(); err != nil || !c.repairs() {
		return err
	}
	return c.finishRepair()
}

// countAll counts the references that all metadata but the refcount structures makes.
func (c *checker) countAll() error {
	c.clusters = c.im.clustersFor(c.im.file.Size())
	c.checkSnapshotEntries()
	return c.countReferences()
}

func (c *checker) countReferences() error {
	im := c.im
	c.result.TotalClusters = im.clustersFor(im.Size())
	c.count(0, im.clusterSize)
	c.count(im.l1.off, int64(len(im.l1.entries))*8)
	if err := c.countL1(im.l1.off, im.l1.entries, true); err != nil {
		return err
	}
	c.count(im.hdr.cryptArea())
	if err := c.countSnapshots(); err != nil {
		return err
	}
	return c.countBitmaps()
}

// count notes a reference to each cluster of a range. It tells if it did: what lies behind
// the end of the file has no clusters.
func (c *checker) count(off, n int64) bool {
	if n <= 0 {
		return false
	}
	im := c.im
	if off < 0 || off > maxHostOffset || off+n-im.file.Size() >= im.clusterSize {
		c.corrupt("ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset %#x size %#x", off, n)
		return false
	}
	c.clusters = max(c.clusters, im.clustersFor(off+n))
	for i := off >> im.clusterBits; i < im.clustersFor(off+n); i++ {
		if c.overflows(i) {
			continue
		}
		c.references.add(i)
	}
	return true
}

// overflows reports a reference that is one more than a refcount can express. Those of the
// refcount structures do not matter: where they are wrong they are made anew.
func (c *checker) overflows(cluster int64) bool {
	if c.structural || uint64(c.references.get(cluster)) < c.im.refWidth.max() {
		return false
	}
	c.corrupt("ERROR: overflow cluster offset=%#x\n"+
		"Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing",
		cluster<<c.im.clusterBits)
	return true
}

// countL1 counts all below an L1 table.
func (c *checker) countL1(off int64, entries []uint64, active bool) error {
	if !c.im.plausibleL1(entries) {
		c.corrupt("ERROR l1_offset=%x: L1 table has more entries than the file has clusters", off)
		return nil
	}
	for _, e := range entries {
		if e == 0 {
			continue
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if e&l1Reserved != 0 {
			c.corrupt("ERROR found L1 entry with reserved bits set: %x", e)
		}
		l2 := int64(e & entryOffset)
		c.count(l2, c.im.clusterSize)
		if l2&(c.im.clusterSize-1) != 0 {
			c.corrupt("ERROR l2_offset=%x: Table is not cluster aligned; L1 entry corrupted", l2)
			continue
		}
		if err := c.countL2(l2, active); err != nil {
			return err
		}
	}
	return nil
}

// readL2 reads an L2 table; those beyond the end of the file are empty. The next call uses
// the same memory.
func (c *checker) readL2(off int64) ([]byte, error) {
	if c.l2 == nil {
		c.l2 = make([]byte, c.im.clusterSize)
	}
	return c.l2, readPadded(c.im.file, c.l2, off)
}

func (c *checker) countL2(off int64, active bool) error {
	b, err := c.readL2(off)
	if err != nil {
		return err
	}
	var next int64
	dropped := false
	t := &table{off: off, data: b}
	for i := int64(0); i < 1<<c.im.l2Bits; i++ {
		e := c.im.entry(t, i)
		if e == (l2Entry{}) {
			continue
		}
		c.checkEntry(e)
		switch {
		case e.compressed():
			c.countCompressed(e.desc, active)
		case c.misplaced(e):
			if err := c.dropStorage(off, i); err != nil {
				return err
			}
			dropped = true
		case c.im.stored(e):
			c.countStorage(e)
			host := int64(e.desc & entryOffset)
			if active {
				c.result.AllocatedClusters++
				if next != 0 && host != next {
					c.result.FragmentedClusters++
				}
				next = host + c.im.clusterSize
			}
		}
	}
	if !dropped {
		return nil
	}
	return c.im.commitAll() // who reads the table next does so from the file
}

// misplaced reports storage without data that does not begin with a cluster, and tells if it is
// to be dropped.
func (c *checker) misplaced(e l2Entry) bool {
	if c.im.aligned(e) || c.im.held(e) != 0 {
		return false
	}
	c.fixable("offset=%x: Preallocated cluster is not properly aligned; L2 entry corrupted.", e.desc&entryOffset)
	return c.options.RepairErrors
}

// countStorage counts the storage of an entry.
func (c *checker) countStorage(e l2Entry) {
	host := int64(e.desc & entryOffset)
	if !c.im.external {
		c.count(host, c.im.clusterSize)
	}
	if !c.im.aligned(e) && c.im.held(e) != 0 {
		c.corrupt("ERROR offset=%x: Data cluster is not properly aligned; L2 entry corrupted.", host)
	}
}

// checkEntry looks for what no entry may have: reserved bits, and subclusters that are
// allocated and read as zeroes, or are allocated where there is no storage.
func (c *checker) checkEntry(e l2Entry) {
	if e.compressed() {
		if e.bitmap != 0 {
			c.corrupt("ERROR compressed cluster %x with non-zero subcluster allocation bitmap, entry=0x%x", e.desc, e.bitmap)
		}
		return
	}
	reserved := uint64(l2Reserved)
	if c.im.extended || !c.im.v3() {
		reserved |= entryZero
	}
	if e.desc&reserved != 0 {
		c.corrupt("ERROR found l2 entry with reserved bits set: %x", e.desc)
	}
	switch {
	case !c.im.invalid(e):
	case c.im.stored(e):
		c.corrupt("ERROR offset=%x: Allocated cluster has corrupted subcluster allocation bitmap", e.desc&entryOffset)
	default:
		c.corrupt("ERROR: Unallocated cluster has non-zero subcluster allocation map")
	}
}

func (c *checker) countCompressed(e uint64, active bool) {
	r := c.im.compressedExtent(e)
	if e&entryCopied != 0 {
		c.corrupt("ERROR: coffset=0x%x: copied flag must never be set for compressed clusters", r.off)
	}
	if active {
		// Compressed clusters are fragmented by their nature, since their size varies.
		c.result.AllocatedClusters++
		c.result.CompressedClusters++
		c.result.FragmentedClusters++
	}
	c.count(r.off, r.len)
}

// countRefTable counts the refcount table and its blocks, which nobody else may use.
func (c *checker) countRefTable() {
	im := c.im
	c.structural = true
	c.countStructure(im.hdr.refTableOffset, int64(im.hdr.refTableClusters)*im.clusterSize)
	for i, e := range im.refs.entries {
		off := int64(e & refBlockOffsetMask)
		cluster := off >> im.clusterBits
		switch {
		case e == 0:
			continue
		case e&refTableReserved != 0:
			c.corrupt("ERROR refcount table entry %d has reserved bits set", i)
			c.broken = true
			continue
		case off&(im.clusterSize-1) != 0:
			c.corrupt("ERROR refcount block %d is not cluster aligned; refcount table entry corrupted", i)
			c.broken = true
			continue
		case off < 0 || cluster >= c.clusters:
			c.outsideBlock(i)
			continue
		}
		c.countStructure(off, im.clusterSize)
		if n := c.references.get(cluster); n != 1 {
			c.corrupt("ERROR refcount block %d refcount=%d", i, n)
			c.broken = true
		}
	}
}

// countStructure counts a part of the refcount structures.
func (c *checker) countStructure(off, n int64) {
	if !c.count(off, n) {
		return
	}
	first := off >> c.im.clusterBits
	c.structures = append(c.structures, clusterRun{first, c.im.clustersFor(off+n) - first})
}

// compareRefcounts compares what was counted with what the image says, and with fix puts
// right what the options allow.
func (c *checker) compareRefcounts(fix bool) error {
	var highest int64
	refs := refReader{im: c.im}
	used, seen := c.usedClusters(), 0
	for i := used.from(0); i < c.clusters; i = used.from(i + 1) {
		if seen++; seen&0xffff == 0 {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			c.im.refCache.trim()
			refs.forget()
		}
		stored, err := refs.refcount(i)
		if err != nil {
			c.report(blockdev.FindingError, "Can't get refcount for cluster %d: %s", i, c.im.readFailure(err))
			continue
		}
		counted := uint64(c.references.get(i))
		if stored > 0 || counted > 0 {
			highest = i
		}
		switch {
		case stored == counted:
		case fix:
			if err := c.repairRefcount(i, stored, counted); err != nil {
				return err
			}
			refs.forget()
		default:
			c.reportRefcount(i, stored, counted)
			c.broken = c.broken || stored == 0
		}
	}
	c.result.ImageEndOffset = (highest + 1) << c.im.clusterBits
	return nil
}

func (c *checker) reportRefcount(cluster int64, stored, counted uint64) {
	if stored < counted {
		c.corrupt("ERROR cluster %d refcount=%d reference=%d", cluster, stored, counted)
		return
	}
	c.report(blockdev.FindingLeak, "Leaked cluster %d refcount=%d reference=%d", cluster, stored, counted)
}

// checkCopiedFlags compares the copied flags of the active tables with the refcounts.
func (c *checker) checkCopiedFlags() error {
	im := c.im
	if !im.plausibleL1(im.l1.entries) {
		return nil // reported by countL1
	}
	repair := c.repairsCopied()
	for i, e := range im.l1.entries {
		l2 := int64(e & entryOffset)
		if l2 == 0 || l2&(im.clusterSize-1) != 0 {
			continue
		}
		if n, err := im.refcount(l2 >> im.clusterBits); err == nil && (n == 1) != (e&entryCopied != 0) {
			if c.wrongFlag(repair, "L2 cluster: l1_index=%d l1_entry=%x refcount=%d", i, e, n) {
				im.setL1(int64(i), e^entryCopied)
			}
		}
		if err := c.checkCopiedIn(l2, repair); err != nil {
			return err
		}
		im.refCache.trim()
	}
	return nil
}

// checkCopiedIn checks the copied flags of an L2 table.
func (c *checker) checkCopiedIn(l2 int64, repair bool) error {
	im := c.im
	b, err := c.readL2(l2)
	if err != nil {
		return err
	}
	repair = repair && im.tableOverlap(l2) == ""
	raw, refs := &table{data: b}, refReader{im: im}
	for i := int64(0); i < 1<<im.l2Bits; i++ {
		e := im.entry(raw, i)
		if !im.stored(e) || im.external {
			continue
		}
		n, err := refs.refcount(int64(e.desc&entryOffset) >> im.clusterBits)
		if err != nil || (n == 1) == e.owned() {
			continue
		}
		if !c.wrongFlag(repair, "data cluster: l2_entry=%x refcount=%d", e.desc, n) {
			continue
		}
		t, err := im.l2Cache.get(l2)
		if err != nil {
			return err
		}
		e.desc ^= entryCopied
		im.putEntry(t, i, e)
	}
	if !repair {
		return nil
	}
	return im.makeRoom()
}
