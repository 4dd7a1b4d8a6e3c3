package blockdev

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// CopyOptions steer Copy.
type CopyOptions struct {
	Workers   int   // parallel requests, 0 for the default
	ChunkSize int64 // bytes per request at most, 0 for the default
	// Base: copy only what is allocated above this node.
	Base Node
	// DetectZeroes looks for zeroes in data, at this granularity in bytes (0: not).
	DetectZeroes int64
	// TargetIsZero says that the target reads as zeroes already.
	TargetIsZero bool
	// Compress writes whole clusters through CompressedWriter.
	Compress bool
	// InOrder writes one request after the other, by offset, so that a format that
	// allocates as it is written lays the data out in order. Reading stays parallel.
	InOrder bool
	// Offload has the host copy data, where dst is a RangeCopier and can do it. Zeroes in
	// the data are not looked for then. Not with Compress or Salvage.
	Offload bool
	// RateLimit is how many bytes of data may be copied in a second, 0 for any number.
	RateLimit int64
	// Salvage goes on with zeroes where a sector cannot be read, and with reading where its
	// status is not known. It gets the [Error] of each; nil stops at the first. One
	// request follows the other then. With DataProgress it is told of a status twice.
	Salvage func(err error)
	// Progress is called with the bytes of the source done so far, or with DataProgress
	// only those that hold data; the source is mapped once more to know how many.
	Progress     func(done, total int64)
	DataProgress bool
	// ProgressStep: Progress is called as requests reach a multiple of this many bytes of the
	// source, the end of an extent, or the end; 0: as each is done.
	ProgressStep int64
}

// Copy copies src to dst, holes as holes, in parallel, memory bounded by
// Workers*ChunkSize. It stops at the first error or when ctx is done. dst must be at least
// as long as src. Data is read where it lies, past the formats above it: nobody may write
// to src or what is below it meanwhile. Nothing is flushed.
//
// A failing request gives an [Error] whose Op is OpCopyMap, OpCopyRead or OpCopyWrite, with
// the offset in src and dst; its message is that of the cause.
func Copy(ctx context.Context, dst, src Node, o CopyOptions) error {
	c, err := newCopier(dst, src, o)
	if err != nil {
		return err
	}
	if (o.Progress != nil || o.Salvage != nil) && o.DataProgress {
		if err := c.countData(ctx); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	c.turn = newTurnstile(ctx)
	c.pace = pace{limit: o.RateLimit, start: time.Now()}
	if o.Salvage != nil {
		group.Go(func() error {
			return c.plan(ctx, func(p copyPiece) error { return c.workOn(ctx, p) })
		})
		return group.Wait()
	}
	pieces := make(chan copyPiece)
	group.Go(func() error {
		defer close(pieces)
		return c.plan(ctx, func(p copyPiece) error {
			select {
			case pieces <- p:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	for range c.o.Workers {
		group.Go(func() error { return c.work(ctx, pieces) })
	}
	return group.Wait()
}

// The operations of Copy that can fail.
const (
	OpCopyMap   = "copy: map"
	OpCopyRead  = "copy: read"
	OpCopyWrite = "copy: write"
)

func copyError(op string, off int64, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Offset: off, Err: err}
}

// copier is one Copy.
type copier struct {
	dst, src   Node
	o          CopyOptions
	total      int64
	compressed CompressedWriter // nil unless asked for
	ranges     RangeCopier      // nil unless asked for
	noRanges   atomic.Bool      // ranges has said that it cannot
	turn       *turnstile
	pace       pace
	pool       sync.Pool // buffers of ChunkSize bytes

	mu        sync.Mutex
	done      int64
	doneTotal int64 // what done will be at the end
}

// copyPiece is one worker's next request. status.Len bytes are stored in one way.
type copyPiece struct {
	seq    int64
	off    int64
	status Status
	last   bool // of its extent
}

func newCopier(dst, src Node, o CopyOptions) (*copier, error) {
	c := &copier{dst: dst, src: src, o: o, total: src.Size()}
	c.doneTotal = c.total
	if dst.Size() < c.total {
		return nil, Errorf(ErrRange, "copy", "", "the target has %d bytes, the source %d", dst.Size(), c.total)
	}
	if c.o.Workers <= 0 {
		c.o.Workers = defaultCopyWorkers
	}
	if c.o.ChunkSize <= 0 {
		c.o.ChunkSize = defaultCopyChunk
	}
	if o.Compress {
		w, ok := dst.(CompressedWriter)
		if !ok {
			return nil, Errorf(ErrNotSupported, "copy", "", "Compression not supported for this file format")
		}
		c.compressed, c.o.ChunkSize = w, clusterSize(dst)
	}
	if o.Offload && !o.Compress && o.Salvage == nil {
		c.ranges, _ = dst.(RangeCopier)
	}
	c.pool.New = func() any { b := make([]byte, c.o.ChunkSize); return &b }
	return c, nil
}

// defaultCluster is taken as the unit of compression of a node that does not tell its own.
const defaultCluster = 64 << 10

func clusterSize(n Node) int64 {
	if i, ok := n.(Informer); ok {
		if info, err := i.Info(); err == nil && info.ClusterSize > 0 {
			return info.ClusterSize
		}
	}
	return defaultCluster
}

// countData finds out how much there is to be read.
func (c *copier) countData(ctx context.Context) error {
	c.doneTotal = 0
	for off := int64(0); off < c.total; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s, err := c.status(off)
		if err != nil {
			return err
		}
		if carriesData(s) {
			c.doneTotal += s.Len
		}
		off += s.Len
	}
	return nil
}

// plan walks the source and hands out pieces.
func (c *copier) plan(ctx context.Context, hand func(copyPiece) error) error {
	seq := int64(0)
	for off := int64(0); off < c.total; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s, err := c.status(off)
		if err != nil {
			return err
		}
		end := off + s.Len
		for off < end {
			p := c.cut(off, end-off, s)
			p.seq, p.last = seq, off+p.status.Len >= end
			seq++
			if s.Kind == ExtentData {
				s.Host += p.status.Len
			}
			if err := hand(p); err != nil {
				return err
			}
			off += p.status.Len
		}
	}
	return nil
}

// cut takes a request's worth off the length bytes at off, which are stored as s says.
// Pieces end at multiples of the chunk size. With compression a piece is a whole cluster,
// whatever it is made of, and may so reach past what s says.
func (c *copier) cut(off, length int64, s Status) copyPiece {
	next := (off/c.o.ChunkSize + 1) * c.o.ChunkSize
	whole := min(next, c.total) - off
	switch {
	case c.compressed != nil && length < whole:
		s = Status{Extent: Extent{Kind: ExtentOpaque}, Owner: c.src}
		length = whole
	case carriesData(s):
		length = min(length, whole)
	case c.compressed != nil:
		length = whole + (length-whole)/c.o.ChunkSize*c.o.ChunkSize
	}
	s.Len = length
	return copyPiece{off: off, status: s}
}

// carriesData tells if there are bytes to be read.
func carriesData(s Status) bool {
	return s.Kind == ExtentData || s.Kind == ExtentOpaque
}

// work does pieces until there are no more.
func (c *copier) work(ctx context.Context, pieces <-chan copyPiece) error {
	for p := range pieces {
		if err := c.workOn(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) workOn(ctx context.Context, p copyPiece) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if carriesData(p.status) {
		if err := c.pace.wait(ctx, p.status.Len); err != nil {
			return err
		}
	}
	return c.do(p)
}

func (c *copier) progress(p copyPiece) {
	if c.o.Progress == nil || c.o.DataProgress && !carriesData(p.status) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += p.status.Len
	step := max(c.o.ProgressStep, 1)
	if p.last || (p.off+p.status.Len)%step == 0 || c.done == c.doneTotal {
		c.o.Progress(c.done, c.doneTotal)
	}
}

func (c *copier) do(p copyPiece) error {
	switch {
	case p.status.Kind == ExtentUnallocated && c.o.Base != nil:
		return c.inTurn(p, func() error { return nil })
	case !carriesData(p.status):
		return c.inTurn(p, func() error { return c.zero(p.off, p.status.Len) })
	}
	if copied, err := c.offload(p); copied {
		return c.inTurn(p, func() error { return err })
	}
	held := c.pool.Get().(*[]byte)
	defer c.pool.Put(held)
	buf := (*held)[:p.status.Len]
	if err := c.read(buf, p); err != nil {
		if c.o.Salvage == nil {
			return copyError(OpCopyRead, p.off, err)
		}
		c.salvage(buf, p.off)
	}
	write := func() error { return c.write(buf, p.off) }
	if c.compressed != nil {
		var err error
		if write, err = c.prepareCompressed(buf, p.off); err != nil {
			return copyError(OpCopyWrite, p.off, err)
		}
	}
	return c.inTurn(p, write)
}

// offload has the host copy data; copied is false if it cannot, and it is not asked again.
func (c *copier) offload(p copyPiece) (copied bool, err error) {
	if c.ranges == nil || p.status.Kind != ExtentData || c.noRanges.Load() {
		return false, nil
	}
	err = c.ranges.CopyRange(p.status.Node, p.status.Host, p.off, p.status.Len)
	if errors.Is(err, ErrNotSupported) {
		c.noRanges.Store(true)
		return false, nil
	}
	return true, err
}

// inTurn calls write, with InOrder after those of all the pieces before p.
func (c *copier) inTurn(p copyPiece, write func() error) error {
	if c.o.InOrder {
		if err := c.turn.wait(p.seq); err != nil {
			return err
		}
	}
	if err := write(); err != nil {
		return copyError(OpCopyWrite, p.off, err)
	}
	c.progress(p)
	if c.o.InOrder {
		c.turn.pass()
	}
	return nil
}

// read gets data from where it lies, and the rest through the source.
func (c *copier) read(buf []byte, p copyPiece) error {
	if p.status.Kind == ExtentData {
		Raise(p.status.Node, EventReadAIO) // as the source would
		return ReadPadded(p.status.Node, buf, p.status.Host)
	}
	_, err := c.src.ReadAt(buf, p.off)
	return err
}

func (c *copier) zero(off, n int64) error {
	if c.o.TargetIsZero {
		return nil
	}
	return WriteZeroes(c.dst, off, n, ZeroMayUnmap)
}

// prepareCompressed does what may be done out of turn: compressing.
func (c *copier) prepareCompressed(buf []byte, off int64) (write func() error, err error) {
	if IsZero(buf) {
		return func() error { return c.zero(off, int64(len(buf))) }, nil
	}
	return prepareCompressed(c.compressed, buf, off)
}

// write writes buf, with the zeroes in it as zeroes if that was asked for.
func (c *copier) write(buf []byte, off int64) error {
	grain := c.o.DetectZeroes
	if grain <= 0 {
		_, err := c.dst.WriteAt(buf, off)
		return err
	}
	for len(buf) > 0 {
		n, zero := zeroRun(buf, off, grain)
		var err error
		if zero {
			err = c.zero(off, int64(n))
		} else {
			_, err = c.dst.WriteAt(buf[:n], off)
		}
		if err != nil {
			return err
		}
		buf, off = buf[n:], off+int64(n)
	}
	return nil
}

// zeroRun tells how many bytes at the beginning of buf, in units of grain that are aligned
// in the node, are all zero or all not.
func zeroRun(buf []byte, off, grain int64) (n int, zero bool) {
	for n < len(buf) {
		at := off + int64(n)
		k := int(min(int64(len(buf)-n), grain-at%grain))
		z := IsZero(buf[n : n+k])
		if n > 0 && z != zero {
			break
		}
		n, zero = n+k, z
	}
	return n, zero
}

// zeroPage is compared with, as bytes.Equal goes by words and vectors.
var zeroPage [4096]byte

// IsZero tells if p has nothing but zeroes.
func IsZero(p []byte) bool {
	for len(p) > len(zeroPage) {
		if !bytes.Equal(p[:len(zeroPage)], zeroPage[:]) {
			return false
		}
		p = p[len(zeroPage):]
	}
	return bytes.Equal(p, zeroPage[:len(p)])
}
