package formattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

const (
	crashWrites  = 30
	crashFlushes = 5 // a flush after this many writes
)

// RunCrash writes to an image and flushes it now and then, and then looks at what a crash
// at any point could have left of the file: it must open, its check must find leaks at
// worst, or what accept allows (nil: nothing more), and it must hold all that was flushed.
// What was written since is there or not, byte by byte.
func RunCrash(t *testing.T, f Format, accept func(blockdev.Finding) bool) {
	if f.Size == 0 {
		f.Size = defaultSize
	}
	c := &crashTest{t: t, format: f, accept: accept}
	file := c.record()
	err := file.Replay(blocktest.ReplayOptions{Subsets: 3, Seed: 1}, c.look)
	if err != nil {
		t.Error(err)
	}
}

// crashTest is what RunCrash knows of its image.
type crashTest struct {
	t       *testing.T
	format  Format
	accept  func(blockdev.Finding) bool
	writes  []crashWrite
	flushed []crashMoment
}

type crashWrite struct {
	off  int64
	data []byte
}

// crashMoment is after a flush.
type crashMoment struct {
	position int // in the recorder's log
	writes   int // how many were done
	contents []byte
}

// record makes the image and its history.
func (c *crashTest) record() *blocktest.Recorder {
	t := c.t
	rec := blocktest.NewRecorder(c.format.create(t).Bytes())
	v, err := c.format.open(rec, true)
	if err != nil {
		t.Fatal(err)
	}
	m := &image{t: t, format: c.format, vertex: v, model: make([]byte, v.Node.Size()), rng: rand.New(rand.NewPCG(5, 5))}
	flush := func() {
		if err := v.Node.Flush(); err != nil {
			t.Fatal(err)
		}
		c.flushed = append(c.flushed, crashMoment{rec.Position(), len(c.writes), slices.Clone(m.model)})
	}
	flush()
	for i := range crashWrites {
		off, n := m.somewhere()
		p := m.model[off : off+n]
		if i%6 == 4 {
			clear(p)
			err = blockdev.WriteZeroes(v.Node, off, n, blockdev.ZeroMayUnmap)
		} else {
			fill(p, m.rng)
			_, err = v.Node.WriteAt(p, off)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.writes = append(c.writes, crashWrite{off, slices.Clone(p)})
		if i%crashFlushes == crashFlushes-1 {
			flush()
		}
	}
	m.close()
	return rec
}

// look examines what a crash left, of which the first durable operations are safe.
func (c *crashTest) look(file *blocktest.Memory, durable int) error {
	var safe crashMoment
	for _, m := range c.flushed {
		if m.position <= durable {
			safe = m
		}
	}
	if safe.contents == nil {
		return nil // before the first flush
	}
	if err := c.check(file.Clone()); err != nil {
		return err
	}
	v, err := c.format.open(file, true)
	if errors.Is(err, blockdev.ErrCorrupt) {
		// Some want a check first where an image was not closed.
		if err := c.repair(file); err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		v, err = c.format.open(file, true)
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	got := make([]byte, v.Node.Size())
	if _, err := v.Node.ReadAt(got, 0); err != nil {
		return err
	}
	want := slices.Clone(safe.contents)
	for _, w := range c.writes[safe.writes:] {
		for i, b := range w.data {
			if at := w.off + int64(i); got[at] == b {
				want[at] = b
			}
		}
	}
	if at := firstDifference(got, want); at >= 0 {
		return fmt.Errorf("byte %d is %#x, was flushed as %#x, and never written so", at, got[at], want[at])
	}
	return c.goOn(v, got)
}

// check fails on what is neither a leak nor accepted.
func (c *crashTest) check(file *blocktest.Memory) (err error) {
	v, err := c.format.open(file, false)
	if err != nil {
		return fmt.Errorf("open read-only: %w", err)
	}
	defer func() { _ = v.Unref() }()
	k, ok := v.Node.(blockdev.Checker)
	if !ok {
		return nil
	}
	var accepted int64
	var texts []string
	r, err := k.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) {
		if f.Kind != blockdev.FindingLeak && c.accept != nil && c.accept(f) {
			accepted++
		}
		texts = append(texts, f.Text)
	}})
	if err == nil && r.Corruptions+r.CheckErrors > accepted {
		err = fmt.Errorf("check: %+v, %q", r, texts)
	}
	return err
}

// repair opens an image for a check.
func (c *crashTest) repair(file *blocktest.Memory) error {
	v, err := c.format.openAs(file, blockdev.Mode{Writable: true, Check: true})
	if err != nil {
		return err
	}
	if k, ok := v.Node.(blockdev.Checker); ok {
		_, err = k.Check(context.Background(), blockdev.CheckOptions{RepairErrors: true, RepairLeaks: true})
	}
	return errors.Join(err, v.Unref())
}

// goOn writes to what a crash left, closes it, and looks again.
func (c *crashTest) goOn(v *blockdev.Vertex, model []byte) error {
	p := []byte("written after the crash")
	for _, off := range []int64{0, int64(len(model)) / 2, int64(len(model) - len(p))} {
		copy(model[off:], p)
		if _, err := v.Node.WriteAt(p, off); err != nil {
			return err
		}
	}
	got := make([]byte, len(model))
	if _, err := v.Node.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, model) {
		return fmt.Errorf("writing after the crash changed something else at %d", firstDifference(got, model))
	}
	return v.Unref()
}
