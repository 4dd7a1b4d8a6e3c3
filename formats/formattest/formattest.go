// Package formattest is the test that every image format passes. A format's own test
// calls it in a few lines:
//
//	func TestConformance(t *testing.T) {
//		formattest.Run(t, formattest.Format{Driver: "qcow2"})
//	}
//
// Images live in memory. What is optional is tested where a format offers it.
package formattest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// Format says what to test.
type Format struct {
	Driver        string
	CreateOptions blockdev.Options
	OpenOptions   blockdev.Options
	// Size of the images, bytes; 0 for 3 MiB and a bit, whole sectors.
	Size int64
	// Undefined: a new image reads as anything, and what it grew by.
	Undefined bool
}

// defaultSize is no multiple of any usual cluster size.
const defaultSize = 3<<20 + 5*512

// Run tests the format.
func Run(t *testing.T, f Format) {
	if f.Size == 0 {
		f.Size = defaultSize
	}
	for _, sub := range []struct {
		name string
		test func(*testing.T, Format)
	}{
		{"ReadWrite", testReadWrite},
		{"Ranges", testRanges},
		{"ZeroAndDiscard", testZeroAndDiscard},
		{"Map", testMap},
		{"Resize", testResize},
		{"Snapshots", testSnapshots},
		{"Backing", testBacking},
		{"Empty", testEmpty},
		{"ReadOnly", testReadOnly},
		{"Concurrent", testConcurrent},
		{"Faults", testFaults},
		{"Hostile", testHostile},
	} {
		t.Run(sub.name, func(t *testing.T) { sub.test(t, f) })
	}
}

// create makes an image in memory.
func (f Format) create(t *testing.T) *blocktest.Memory {
	t.Helper()
	d, err := blockdev.LookupDriver(f.Driver)
	if err != nil {
		t.Fatal(err)
	}
	options, err := d.CreateOptions.Parse(f.CreateOptions.Clone())
	if err != nil {
		t.Fatal(err)
	}
	file := &blocktest.Memory{}
	err = d.Create(context.Background(), blockdev.CreateRequest{Filename: "test", Size: f.Size, File: file, Options: options})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// open opens an image that lies in file.
func (f Format) open(file blockdev.Node, writable bool) (*blockdev.Vertex, error) {
	return f.openAs(file, blockdev.Mode{Writable: writable, Unmap: true})
}

func (f Format) openAs(file blockdev.Node, mode blockdev.Mode) (*blockdev.Vertex, error) {
	g := &blockdev.Graph{}
	if _, err := g.Add(file, "bytes", mode); err != nil {
		return nil, err
	}
	o := f.OpenOptions.Clone()
	o["driver"], o["file"] = f.Driver, "bytes"
	return g.OpenDescription(context.Background(), o, blockdev.OpenOptions{Mode: mode})
}

// image is an open image with the bytes it must hold.
type image struct {
	t      *testing.T
	format Format
	file   blockdev.Node
	vertex *blockdev.Vertex
	model  []byte
	rng    *rand.Rand
}

// fresh makes and opens an image.
func (f Format) fresh(t *testing.T) *image {
	t.Helper()
	m := &image{t: t, format: f, file: f.create(t), model: make([]byte, f.Size), rng: rand.New(rand.NewPCG(1, 2))}
	m.reopen()
	m.define(0)
	return m
}

// define writes zeroes from off on, where a format leaves anything there.
func (m *image) define(off int64) {
	m.t.Helper()
	n := m.node().Size() - off
	if !m.format.Undefined || n <= 0 {
		return
	}
	if err := blockdev.WriteZeroes(m.node(), off, n, 0); err != nil {
		m.t.Fatal(err)
	}
}

// reopen closes the image if it is open, and opens it.
func (m *image) reopen() {
	m.t.Helper()
	m.close()
	v, err := m.format.open(m.file, true)
	if err != nil {
		m.t.Fatal(err)
	}
	m.vertex = v
}

func (m *image) close() {
	m.t.Helper()
	if m.vertex == nil {
		return
	}
	if err := m.vertex.Unref(); err != nil {
		m.t.Error(err)
	}
	m.vertex = nil
}

func (m *image) node() blockdev.Node { return m.vertex.Node }

// somewhere picks a range inside the image: whole sectors at times, often small.
func (m *image) somewhere() (off, n int64) {
	limit := int64(1) << (3 + m.rng.IntN(16))
	off = m.rng.Int64N(int64(len(m.model)))
	n = min(1+m.rng.Int64N(limit), int64(len(m.model))-off)
	if m.rng.IntN(2) == 0 {
		off, n = off&^511, (n+511)&^511
		n = min(n, int64(len(m.model))-off)
	}
	return off, n
}

// write writes random bytes somewhere.
func (m *image) write() {
	m.t.Helper()
	off, n := m.somewhere()
	p := m.model[off : off+n]
	fill(p, m.rng)
	if k, err := m.node().WriteAt(p, off); err != nil || k != len(p) {
		m.t.Fatalf("write of %d at %d: %d, %v", n, off, k, err)
	}
}

func fill(p []byte, rng *rand.Rand) {
	for i := range p {
		p[i] = byte(1 + rng.IntN(255))
	}
}

// verify compares everything with the model, and lets the image check itself.
func (m *image) verify() {
	m.t.Helper()
	if size := m.node().Size(); size != int64(len(m.model)) {
		m.t.Fatalf("size is %d, not %d", size, len(m.model))
	}
	got := make([]byte, len(m.model))
	if _, err := m.node().ReadAt(got, 0); err != nil {
		m.t.Fatal(err)
	}
	if at := firstDifference(got, m.model); at >= 0 {
		m.t.Fatalf("byte %d is %#x, not %#x", at, got[at], m.model[at])
	}
	m.check()
}

func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// check fails on anything but leaks.
func (m *image) check() {
	m.t.Helper()
	c, ok := m.node().(blockdev.Checker)
	if !ok {
		return
	}
	r, err := c.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) { m.t.Log(f.Text) }})
	if err != nil || r.Corruptions > 0 || r.CheckErrors > 0 {
		m.t.Fatalf("check: %+v, %v", r, err)
	}
}

// unsupported tells that a format does not offer an operation, which is all right.
func unsupported(err error) bool { return errors.Is(err, blockdev.ErrNotSupported) }
