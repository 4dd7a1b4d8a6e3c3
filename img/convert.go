package img

import (
	"context"
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// ConvertOptions of [Convert].
type ConvertOptions struct {
	Session
	// Sources are written one behind the other.
	Sources []Source
	// Snapshot of the only source to convert, in place of its present contents.
	Snapshot SnapshotName
	// Target is the image to be written. Its Options are for opening it.
	Target Source
	// Create are the options for creating the target, as in CreateOptions. Its size is
	// that of the sources, whatever they say.
	Create                 blockdev.Options
	Backing, BackingFormat string
	// Existing writes into a target that is there already, instead of creating it.
	Existing bool
	// TargetIsZero promises that an existing target reads as zeroes.
	TargetIsZero bool
	// Sparse is the size of the runs of zeroes, in bytes, that are not written as data;
	// 0 for DefaultSparse. Dense writes every byte instead.
	Sparse int64
	Dense  bool
	// Compress stores the data compressed, where the target's format can.
	Compress bool
	// Bitmaps copies the dirty bitmaps of the only source. SkipBrokenBitmaps leaves out, with a
	// warning, those that are inconsistent.
	Bitmaps, SkipBrokenBitmaps bool
	// Workers is how many requests run in parallel, 0 for the default.
	Workers int
	// OutOfOrder allows the target to be written out of order, which is faster on targets
	// that are fully allocated; others end up laid out out of order.
	OutOfOrder bool
	// RateLimit is how many bytes of data may be copied in a second, 0 for any number.
	RateLimit int64
	// Offload has the host copy data from file to raw target, where it can: see
	// [blockdev.CopyOptions].
	Offload bool
	// Salvage goes on with zeroes where a sector cannot be read, and is told of each as
	// [blockdev.CopyOptions] says; nil stops at the first.
	Salvage func(err error)
	// Progress is called with the bytes of the sources done so far: of their data, or with
	// Dense or CoarseProgress all, which saves counting the data first.
	Progress       func(done, total int64)
	CoarseProgress bool
}

// DefaultSparse is the default of ConvertOptions.Sparse.
const DefaultSparse = 4096

// progressStep is how much is copied between two calls of Progress, in bytes: qemu-img, whose
// requests are this large, tells as often.
const progressStep = 2 << 20

// SnapshotName finds a snapshot: by every field that is not empty, where Any is an ID or
// else a name.
type SnapshotName struct{ ID, Name, Any string }

func (n SnapshotName) isZero() bool { return n == SnapshotName{} }

func (n SnapshotName) matches(s blockdev.Snapshot) bool {
	return (n.ID == "" || n.ID == s.ID) && (n.Name == "" || n.Name == s.Name)
}

// Convert copies images into another one. If it fails, or ctx is done, a target that it
// created is removed, or emptied if there was a file of that name before: nothing is left
// that looks like a complete image.
func Convert(ctx context.Context, o ConvertOptions) error {
	c := &conversion{o: o, graph: o.graph()}
	err := c.run(ctx)
	if cerr := c.closeSources(); err == nil {
		err = cerr
	}
	return err
}

// conversion is one run of Convert.
type conversion struct {
	o       ConvertOptions
	graph   *blockdev.Graph
	sources []*blockdev.Vertex
	src     blockdev.Node
	base    blockdev.Node         // what is in here and below is not copied, nil to copy all
	bitmaps []blockdev.BitmapInfo // to be copied
	closers []func() error
}

func (c *conversion) run(ctx context.Context) error {
	if err := c.openSources(ctx); err != nil {
		return err
	}
	if err := c.findBitmaps(); err != nil {
		return err
	}
	if c.o.Existing {
		return c.fill(ctx)
	}
	plan, err := c.plan()
	if err != nil {
		return err
	}
	if err := c.checkCompress(plan); err != nil {
		return err
	}
	existed := fileExists(c.o.Target.Filename)
	err = checkOverlap("convert", c.o.Target.Filename, c.sources...)
	if err == nil {
		err = plan.create(ctx)
	}
	if err != nil {
		return wrap("convert", c.o.Target.label(), fmt.Sprintf("%s: error while converting %s",
			c.o.Target.label(), plan.driver.Name), err)
	}
	if err := c.fill(ctx); err != nil {
		c.discardTarget(existed, ctx.Err() != nil)
		return err
	}
	return nil
}

// checkOverlap refuses to empty what is to be read, in the words of the lock that notices it
// where there are locks.
func checkOverlap(op, target string, sources ...*blockdev.Vertex) error {
	for _, s := range sources {
		for _, v := range s.Chain() {
			if sameFile(v.Filename, target) && isRegular(target) {
				return blockdev.Errorf(blockdev.ErrInUse, op, target,
					"Failed to get \"write\" lock\nIs another process using the image [%s]?", target)
			}
		}
	}
	return nil
}

func (c *conversion) openSources(ctx context.Context) error {
	for _, s := range c.o.Sources {
		v, err := c.o.openIn(ctx, c.graph, s, access{})
		if err != nil {
			return err
		}
		c.closers = append(c.closers, v.Unref)
		c.sources = append(c.sources, v)
	}
	if !c.o.Snapshot.isZero() {
		return c.openSnapshot()
	}
	if len(c.sources) == 1 {
		c.src = c.sources[0].Node
		return nil
	}
	parts := make([]blockdev.Node, len(c.sources))
	for i, v := range c.sources {
		parts[i] = v.Node
	}
	c.src = newConcat(parts)
	return nil
}

func (c *conversion) openSnapshot() error {
	if len(c.sources) > 1 {
		return invalid("convert", "", "No support for concatenating multiple snapshot")
	}
	const failed = "Failed to load snapshot"
	v := c.sources[0]
	s, ok := v.Node.(blockdev.Snapshotter)
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotSupported, "convert", v.Filename,
			"%s: Block format '%s' used by device '' does not support temporarily loading internal snapshots",
			failed, v.Driver.Name)
	}
	sn, err := c.o.Snapshot.find(s)
	if err != nil {
		return wrap("convert", v.Filename, failed, err)
	}
	n, err := s.OpenSnapshot(sn.ID)
	if err != nil {
		return wrap("convert", v.Filename, failed, err)
	}
	c.src = n
	c.closers = append(c.closers, n.Close)
	return nil
}

func (n SnapshotName) find(s blockdev.Snapshotter) (blockdev.Snapshot, error) {
	if n.Any != "" {
		return findSnapshot(s, n.Any, true)
	}
	list, err := s.Snapshots()
	if err != nil {
		return blockdev.Snapshot{}, err
	}
	for _, sn := range list {
		if n.matches(sn) {
			return sn, nil
		}
	}
	return findSnapshot(nil, "", false)
}

// closeSources closes in the reverse order of opening.
func (c *conversion) closeSources() error {
	var first error
	for i := len(c.closers) - 1; i >= 0; i-- {
		if err := c.closers[i](); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// plan checks how the target is to be created. Its backing file is recorded as it is
// given; whether it opens shows when the target is opened.
func (c *conversion) plan() (*createPlan, error) {
	co := CreateOptions{Session: c.o.Session, Filename: c.o.Target.Filename, Format: c.o.Target.Format,
		Options: c.o.Create, Backing: c.o.Backing, BackingFormat: c.o.BackingFormat, Unchecked: true}
	co.Graph = c.graph
	p, err := co.parse()
	if err != nil {
		return nil, err
	}
	size := c.src.Size()
	co.Size = &size
	if err := p.setSize(co); err != nil {
		return nil, err
	}
	if p.backing.Name != "" {
		if len(c.sources) > 1 {
			return nil, invalid("convert", c.o.Target.label(),
				"Having a backing file for the target makes no sense when concatenating multiple input images")
		}
		if p.backing.Format == "" {
			return nil, invalid("convert", c.o.Target.label(), "Use of backing file requires explicit backing format")
		}
		c.base = blockdev.BackingOf(c.src)
	}
	return p, nil
}

// target is the target as it is opened: what it was encrypted with opens it.
func (o *ConvertOptions) target() Source {
	t := o.Target
	for _, k := range []string{"key-secret", "encrypt.key-secret"} {
		if v, ok := o.Create[k]; ok {
			t.Options = t.Options.Clone()
			t.Options[k] = v
		}
	}
	return t
}

// fill opens the target and copies the source into it.
func (c *conversion) fill(ctx context.Context) (err error) {
	dst, err := c.o.openIn(ctx, c.graph, c.o.target(), access{writable: true, unmap: true})
	if err != nil {
		return err
	}
	defer release(dst, &err)
	if dst.Node.Size() < c.src.Size() {
		return invalid("convert", c.o.Target.label(), "output file is smaller than input file")
	}
	if err := c.checkBitmapTarget(dst); err != nil {
		return err
	}
	if err := c.setUnfinished(dst.Node, true); err != nil {
		return err
	}
	if c.o.Existing && c.o.Backing != "" {
		c.base = blockdev.BackingOf(c.src)
	}
	c.o.Compress = c.o.Compress || compressedOnly(dst.Node)
	target := dst.Node
	co := blockdev.CopyOptions{
		Workers:      c.o.Workers,
		Base:         c.base,
		DetectZeroes: c.o.Sparse,
		TargetIsZero: c.o.TargetIsZero || !c.o.Existing && dst.Backing() == nil && blockdev.IsZeroWhenNew(dst.Node),
		InOrder:      !c.o.OutOfOrder,
		Progress:     c.o.Progress,
		ProgressStep: progressStep,
		DataProgress: !c.o.Dense && (!c.o.CoarseProgress || c.o.Salvage != nil),
		Compress:     c.o.Compress,
		Offload:      c.o.Offload,
		RateLimit:    c.o.RateLimit,
		Salvage:      c.o.Salvage,
	}
	if co.DetectZeroes == 0 {
		co.DetectZeroes = DefaultSparse
	}
	if c.o.Compress {
		if _, ok := target.(blockdev.CompressedWriter); !ok {
			return c.noCompression()
		}
	}
	if c.o.Dense {
		target, co.DetectZeroes, co.TargetIsZero = c.dense(dst.Node), 0, false
	}
	if err := blockdev.Copy(ctx, target, c.src, co); err != nil {
		return c.copyError(err)
	}
	if err := c.copyBitmaps(dst); err != nil {
		return err
	}
	if err := dst.Node.Flush(); err != nil {
		return err
	}
	return c.setUnfinished(dst.Node, false)
}

// setUnfinished marks a new target, where its format has a mark, for as long as it is
// being filled.
func (c *conversion) setUnfinished(n blockdev.Node, on bool) error {
	if m, ok := n.(blockdev.Unfinisher); ok && !c.o.Existing {
		return m.SetUnfinished(on)
	}
	return nil
}

// copyFailures words what can go wrong at an offset while copying.
var copyFailures = map[string]string{
	blockdev.OpCopyMap:   "error while reading block status at offset %d",
	blockdev.OpCopyRead:  "error while reading at byte %d",
	blockdev.OpCopyWrite: "error while writing at byte %d",
}

// copyFailure is the error of a transfer that err is about, nil if there is none.
func copyFailure(err error) *blockdev.Error {
	var e *blockdev.Error
	if errors.As(err, &e) && copyFailures[e.Op] != "" {
		return e
	}
	return nil
}

// copyError words what went wrong while copying.
func (c *conversion) copyError(err error) error {
	e := copyFailure(err)
	if e == nil {
		return err
	}
	return wrap("convert", c.o.Target.label(), fmt.Sprintf(copyFailures[e.Op], e.Offset), e.Err)
}

// dense is the target such that zeroes are stored like data.
func (c *conversion) dense(n blockdev.Node) blockdev.Node {
	if w, ok := n.(compressedTarget); ok && c.o.Compress {
		return denseCompressed{w}
	}
	return plainNode{n}
}

// plainNode hides a node's other abilities, so that zeroes are written to it as bytes.
type plainNode struct{ blockdev.Node }

// discardTarget makes sure that nothing half-written looks like an image. Who interrupted the
// conversion is told.
func (c *conversion) discardTarget(existed, interrupted bool) {
	name, what := c.o.Target.Filename, "removed"
	if existed {
		what = "emptied"
	}
	done := existed && emptyFile(name) || !existed && removeFile(name)
	if done && interrupted {
		c.o.warn(fmt.Sprintf("The unfinished image '%s' was %s.\n", c.o.Target.label(), what))
	}
}
