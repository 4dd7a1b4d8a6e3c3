package img

import (
	"bytes"
	"context"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// CompareOptions of [Compare].
type CompareOptions struct {
	Session
	A, B Source
	// Strict wants the sizes to be the same, and the same ranges to be allocated.
	Strict bool
	// Progress is called with the bytes done so far.
	Progress func(done, total int64)
}

// Difference says in what two images differ.
type Difference uint8

const (
	// Identical images read the same.
	Identical Difference = iota
	// DifferentContent at Comparison.Offset.
	DifferentContent
	// DifferentSize of the images: with Strict only.
	DifferentSize
	// DifferentStatus of the range at Comparison.Offset: with Strict only.
	DifferentStatus
)

// Comparison is what [Compare] found.
type Comparison struct {
	Difference Difference
	// Offset of the first difference, rounded down to 512 bytes.
	Offset int64
	// SizesDiffer is set if one image goes on where the other ends, after both were the
	// same; what it has more was expected to be zero.
	SizesDiffer bool
}

const (
	compareChunk = 2 << 20 // bytes read at a time, of each image
	compareUnit  = 512     // granularity of the offset of a difference
)

// Compare tells if two images hold the same. The longer one may go on with zeroes.
func Compare(ctx context.Context, o CompareOptions) (c Comparison, err error) {
	g := o.graph()
	a, err := o.openIn(ctx, g, o.A, access{})
	if err != nil {
		return c, err
	}
	defer release(a, &err)
	b, err := o.openIn(ctx, g, o.B, access{})
	if err != nil {
		return c, err
	}
	defer release(b, &err)
	cmp := comparer{ctx: ctx, o: o, a: side{a.Node, o.A.label()}, b: side{b.Node, o.B.label()}}
	return cmp.run()
}

// side is one of the two images.
type side struct {
	node blockdev.Node
	name string
}

type comparer struct {
	ctx   context.Context
	o     CompareOptions
	a, b  side
	bufs  [2][]byte
	total int64 // size of the longer image
}

func (c *comparer) run() (Comparison, error) {
	sizeA, sizeB := c.a.node.Size(), c.b.node.Size()
	var res Comparison
	if sizeA != sizeB && c.o.Strict {
		res.Difference = DifferentSize
		return res, nil
	}
	c.total = max(sizeA, sizeB)
	c.bufs[0], c.bufs[1] = make([]byte, compareChunk), make([]byte, compareChunk)
	common := min(sizeA, sizeB)
	if done, err := c.walk(&res, 0, common, c.compareAt); done || err != nil {
		return res, err
	}
	res.SizesDiffer = sizeA != sizeB
	longer := c.a
	if sizeB > sizeA {
		longer = c.b
	}
	_, err := c.walk(&res, common, c.total, func(res *Comparison, off, n int64) (int64, error) {
		st, err := c.status(longer, off, n)
		if err != nil || !mayHoldData(st) {
			return st.Len, err
		}
		n = min(st.Len, compareChunk)
		return n, c.expectZeroes(res, longer, off, n)
	})
	return res, err
}

// walk calls step, which says how far it came, over [off, end) until a difference shows.
func (c *comparer) walk(res *Comparison, off, end int64, step func(*Comparison, int64, int64) (int64, error)) (bool, error) {
	for off < end {
		if err := c.ctx.Err(); err != nil {
			return true, err
		}
		n, err := step(res, off, end-off)
		if err != nil || res.Difference != Identical {
			return true, err
		}
		off += n
		if c.o.Progress != nil {
			c.o.Progress(off, c.total)
		}
	}
	return false, nil
}

// compareAt compares up to n bytes at off, where both images have some.
func (c *comparer) compareAt(res *Comparison, off, n int64) (int64, error) {
	sa, err := c.status(c.a, off, n)
	if err != nil {
		return 0, err
	}
	sb, err := c.status(c.b, off, n)
	if err != nil {
		return 0, err
	}
	n = min(sa.Len, sb.Len)
	if c.o.Strict && allocation(sa) != allocation(sb) {
		res.Difference, res.Offset = DifferentStatus, off
		return 0, nil
	}
	dataA, dataB := mayHoldData(sa), mayHoldData(sb)
	if !dataA && !dataB {
		return n, nil
	}
	n = min(n, compareChunk)
	switch {
	case !dataA:
		return n, c.expectZeroes(res, c.b, off, n)
	case !dataB:
		return n, c.expectZeroes(res, c.a, off, n)
	}
	return n, c.compareData(res, off, n)
}

func (c *comparer) compareData(res *Comparison, off, n int64) error {
	a, err := c.read(c.a, 0, off, n)
	if err != nil {
		return err
	}
	b, err := c.read(c.b, 1, off, n)
	if err != nil {
		return err
	}
	c.difference(res, a, b, off)
	return nil
}

func (c *comparer) expectZeroes(res *Comparison, s side, off, n int64) error {
	got, err := c.read(s, 0, off, n)
	if err != nil {
		return err
	}
	zero := c.bufs[1][:n]
	clear(zero)
	c.difference(res, got, zero, off)
	return nil
}

// difference records where a and b, both at off, first differ.
func (c *comparer) difference(res *Comparison, a, b []byte, off int64) {
	if bytes.Equal(a, b) {
		return
	}
	i := 0
	for bytes.Equal(a[i:min(i+compareUnit, len(a))], b[i:min(i+compareUnit, len(b))]) {
		i += compareUnit
	}
	res.Difference, res.Offset = DifferentContent, off+int64(i)
}

func (c *comparer) read(s side, buf int, off, n int64) ([]byte, error) {
	p := c.bufs[buf][:n]
	if _, err := s.node.ReadAt(p, off); err != nil {
		return nil, &blockdev.Error{Op: "read", File: s.name, Offset: off, Err: err,
			Text: fmt.Sprintf("Error while reading offset %d of %s", off, s.name)}
	}
	return p, nil
}

func (c *comparer) status(s side, off, n int64) (blockdev.Status, error) {
	st, err := blockdev.BlockStatus(s.node, off, n, nil)
	if err != nil {
		return st, blockdev.ErrorAt(err, "map", s.name, off, "Sector allocation test failed for %s", s.name)
	}
	return st, nil
}

// mayHoldData tells if a range has to be read to know what is in it.
func mayHoldData(st blockdev.Status) bool {
	return st.Kind == blockdev.ExtentData || st.Kind == blockdev.ExtentOpaque
}

// allocation is what Strict compares of a range: is it there, does it read as zeroes, and are
// these stored.
func allocation(st blockdev.Status) [3]bool {
	return [3]bool{st.Kind != blockdev.ExtentUnallocated, !mayHoldData(st), st.Written}
}
