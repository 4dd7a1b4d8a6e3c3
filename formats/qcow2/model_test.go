package qcow2

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/blockdev/filter/blkdebug" // between the guest and some images
)

// disk is the model of an image: its contents as bytes, and those of its snapshots.
type disk struct {
	data    []byte
	vmState []byte
	backing []byte
}

func (d disk) clone() disk {
	return disk{bytes.Clone(d.data), bytes.Clone(d.vmState), d.backing}
}

// machine is an image beside its model.
type machine struct {
	file      *blocktest.Memory
	data      *blocktest.Memory // the external data file, nil for none
	image     *Image
	guest     blockdev.Node    // what guest requests go to: the image, or blkdebug over it
	limits    blockdev.Options // of that blkdebug, nil for none
	align     int              // of the requests that it passes on
	backing   *blocktest.Memory
	model     disk
	snapshots map[string]disk // by ID
	version   int
	cluster   int
	extended  bool
	raw       bool            // the data file is
	options   blockdev.Values // how it is opened
}

// drawMachine makes an image of random options, perhaps over a backing file.
func drawMachine(t *rapid.T) *machine {
	m := &machine{file: &blocktest.Memory{}, snapshots: map[string]disk{}, version: rapid.IntRange(2, 3).Draw(t, "version")}
	m.cluster = 512 << rapid.IntRange(0, 4).Draw(t, "cluster")
	m.extended = m.version == 3 && rapid.IntRange(0, 2).Draw(t, "extended") == 0
	if m.extended {
		m.cluster = 1 << minExtendedClusterBits << rapid.IntRange(0, 1).Draw(t, "extended cluster")
	}
	options := blockdev.Options{"cluster_size": fmt.Sprint(m.cluster), "compat": fmt.Sprintf("v%d", m.version)}
	if m.version == 3 {
		options["refcount_bits"] = fmt.Sprint(1 << rapid.IntRange(2, 6).Draw(t, "refcount order"))
		options["compression_type"] = rapid.SampledFrom(compressions).Draw(t, "compression")
		options["lazy_refcounts"] = rapid.SampledFrom([]string{"on", "off"}).Draw(t, "lazy")
	}
	if m.extended {
		options["extended_l2"] = "on"
	}
	if m.version == 3 && rapid.IntRange(0, 3).Draw(t, "external") == 0 {
		m.data = &blocktest.Memory{}
		options["data_file"] = "test.data"
	}
	format := rapid.SampledFrom([]string{"", "", "", "aes", "luks"}).Draw(t, "encryption")
	if format != "" {
		options["encrypt.format"], options["encrypt.key-secret"] = format, cryptSecret
		m.options = keyed
		if format == "luks" {
			options["encrypt.iter-time"] = "0"
		}
	}
	var ref blockdev.Reference
	size := rapid.IntRange(1, 300).Draw(t, "sectors") * sectorSize
	if rapid.Bool().Draw(t, "backing") {
		ref = blockdev.Reference{Name: "base.raw", Format: "raw"}
		m.backing = blocktest.NewMemory(pattern(99, rapid.IntRange(1, 300).Draw(t, "backing sectors")*sectorSize))
		m.model.backing = m.backing.Bytes()
	} else if m.data != nil && format == "" && rapid.Bool().Draw(t, "raw") {
		m.raw = true
		options["data_file_raw"] = "on"
	}
	if m.backing == nil || m.extended {
		options["preallocation"] = rapid.SampledFrom(preallocations).Draw(t, "preallocation")
	}
	v, err := createOptionTable.Parse(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(context.Background(), blockdev.CreateRequest{
		Filename: "test.qcow2", Size: int64(size), File: m.file, Options: v, Backing: ref, CreateFile: companion{m.data}.create,
	}); err != nil {
		t.Fatal(err)
	}
	m.model.data = make([]byte, size)
	copy(m.model.data, m.model.backing)
	m.drawLimits(t)
	m.open(t)
	return m
}

// drawLimits may have requests cut as blkdebug does it. It cuts no cluster, so that what is
// discarded stays the same.
func (m *machine) drawLimits(t *rapid.T) {
	m.align = 1
	if !rapid.Bool().Draw(t, "limits") {
		return
	}
	m.align = rapid.SampledFrom([]int{1, sectorSize}).Draw(t, "align")
	m.limits = blockdev.Options{
		"align":        fmt.Sprint(m.align),
		"max-transfer": fmt.Sprint(sectorSize * rapid.IntRange(0, 7).Draw(t, "max-transfer")),
	}
	for _, what := range []string{"write-zero", "discard"} {
		opt := m.cluster * rapid.IntRange(1, 4).Draw(t, "opt-"+what)
		m.limits["opt-"+what] = fmt.Sprint(opt)
		m.limits["max-"+what] = fmt.Sprint(opt * rapid.IntRange(0, 2).Draw(t, "max-"+what))
	}
}

func (m *machine) open(t *rapid.T) {
	var err error
	m.image, err = Open(context.Background(), blockdev.OpenRequest{
		Filename: "test.qcow2", File: m.file, Mode: writable, OpenReference: companion{m.data}.open, Options: m.options,
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.backing != nil {
		m.image.SetBacking(m.backing)
	}
	m.guest = m.image
	if m.limits == nil {
		return
	}
	var g blockdev.Graph
	below, err := g.Add(m.image, "image", writable)
	must(t, err)
	o := m.limits.Clone()
	o["driver"], o["image"] = "blkdebug", below.Name
	v, err := g.OpenDescription(context.Background(), o, blockdev.OpenOptions{Mode: writable})
	must(t, err)
	m.guest = v.Node
}

func (m *machine) drawRange(t *rapid.T) (off, n int) {
	off = rapid.IntRange(0, len(m.model.data)).Draw(t, "off")
	return off, rapid.IntRange(0, min(len(m.model.data)-off, 9*m.cluster)).Draw(t, "n")
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) Write(t *rapid.T) {
	off, n := m.drawRange(t)
	p := pattern(rapid.IntRange(0, 1<<20).Draw(t, "seed"), n)
	copy(m.model.data[off:], p)
	_, err := m.guest.WriteAt(p, int64(off))
	must(t, err)
}

// needsInternal passes over what images with an external data file cannot do.
func (m *machine) needsInternal(t *rapid.T) {
	if m.data != nil {
		t.Skip("external data file")
	}
}

// WriteCompressed writes one cluster, unless it has storage.
func (m *machine) WriteCompressed(t *rapid.T) {
	m.needsInternal(t)
	off := rapid.IntRange(0, (len(m.model.data)-1)/m.cluster).Draw(t, "cluster") * m.cluster
	m.image.mu.RLock()
	e, err := m.image.entryAt(int64(off))
	stored := e.compressed() || m.image.stored(e)
	m.image.mu.RUnlock()
	must(t, err)
	if stored {
		t.Skip("has storage")
	}
	p := compressible(rapid.IntRange(0, 1<<20).Draw(t, "seed"), min(m.cluster, len(m.model.data)-off))
	copy(m.model.data[off:], p)
	must(t, m.image.WriteCompressed(p, int64(off)))
}

func (m *machine) WriteZeroes(t *rapid.T) {
	off, n := m.drawRange(t)
	flags := blockdev.ZeroFlags(0)
	if rapid.Bool().Draw(t, "unmap") {
		flags = blockdev.ZeroMayUnmap
	}
	clear(m.model.data[off : off+n])
	must(t, blockdev.WriteZeroes(m.guest, int64(off), int64(n), flags))
}

// Discard: whole clusters read as zeroes afterwards, others are as they were.
func (m *machine) Discard(t *rapid.T) {
	off, n := m.drawRange(t)
	must(t, blockdev.Discard(m.guest, int64(off), int64(n)))
	if m.version == 2 && m.backing != nil {
		return
	}
	if m.raw {
		start, end := (off+m.align-1)/m.align*m.align, (off+n)/m.align*m.align
		clear(m.model.data[start:max(start, end)])
		return
	}
	start := (off + m.cluster - 1) / m.cluster * m.cluster
	end := (off + n) / m.cluster * m.cluster
	if off+n == len(m.model.data) {
		end = off + n
	}
	if start < end {
		clear(m.model.data[start:end])
	}
}

func (m *machine) Flush(t *rapid.T) { must(t, m.image.Flush()) }

func (m *machine) WriteVMState(t *rapid.T) {
	m.needsInternal(t)
	off := rapid.IntRange(0, 40*m.cluster).Draw(t, "off")
	p := pattern(rapid.IntRange(0, 1<<20).Draw(t, "seed"), rapid.IntRange(1, 3*m.cluster).Draw(t, "n"))
	if short := off + len(p) - len(m.model.vmState); short > 0 {
		m.model.vmState = append(m.model.vmState, make([]byte, short)...)
	}
	copy(m.model.vmState[off:], p)
	_, err := m.image.WriteVMState(p, int64(off))
	must(t, err)
}

func (m *machine) DiscardVMState(t *rapid.T) {
	m.needsInternal(t)
	m.model.vmState = nil
	must(t, m.image.DiscardVMState())
}

func (m *machine) Snapshot(t *rapid.T) {
	m.needsInternal(t)
	if len(m.snapshots) > 5 {
		t.Skip("enough snapshots")
	}
	s, err := m.image.CreateSnapshot(blockdev.Snapshot{
		Name: rapid.SampledFrom([]string{"a", "b", "snapshot with a long name"}).Draw(t, "name"),
		Date: time.Unix(1e9, 5), VMClock: 7 * time.Second, VMStateSize: int64(len(m.model.vmState)), ICount: blockdev.NoICount,
	})
	must(t, err)
	m.snapshots[s.ID] = m.model.clone()
	m.model.vmState = nil
}

func (m *machine) drawSnapshot(t *rapid.T) string {
	list, err := m.image.Snapshots()
	must(t, err)
	if len(list) == 0 {
		t.Skip("no snapshots")
	}
	return list[rapid.IntRange(0, len(list)-1).Draw(t, "snapshot")].ID
}

func (m *machine) Apply(t *rapid.T) {
	id := m.drawSnapshot(t)
	must(t, m.image.ApplySnapshot(id))
	m.model = m.snapshots[id].clone()
}

func (m *machine) Delete(t *rapid.T) {
	id := m.drawSnapshot(t)
	must(t, m.image.DeleteSnapshot(id))
	delete(m.snapshots, id)
}

func (m *machine) Resize(t *rapid.T) {
	size := rapid.IntRange(1, 400).Draw(t, "sectors") * sectorSize
	err := m.image.Resize(int64(size), blockdev.ResizeOptions{Shrink: true})
	if m.version == 2 && len(m.snapshots) > 0 {
		if err == nil {
			t.Fatal("a version 2 image with snapshots was resized")
		}
		return
	}
	must(t, err)
	if grow := size - len(m.model.data); grow > 0 {
		m.model.data = append(m.model.data, make([]byte, grow)...)
	}
	m.model.vmState = nil
	m.model.data = m.model.data[:size]
}

func (m *machine) Reopen(t *rapid.T) {
	must(t, m.image.Close())
	m.open(t)
}

// Abandon opens the file as it is after a flush, without closing it.
func (m *machine) Abandon(t *rapid.T) {
	must(t, m.image.Flush())
	m.open(t)
}

// Check compares everything with the model.
func (m *machine) Check(t *rapid.T) {
	compareDisk(t, "present", m.image, m.model)
	if m.guest != m.image {
		got := make([]byte, len(m.model.data))
		_, err := m.guest.ReadAt(got, 0)
		must(t, err)
		if !bytes.Equal(got, m.model.data) {
			t.Fatal("what is read through blkdebug differs")
		}
	}
	if m.raw && !bytes.Equal(m.data.Bytes(), m.model.data) {
		t.Fatal("the raw data file holds something else than the disk")
	}
	for id, model := range m.snapshots {
		n, err := m.image.OpenSnapshot(id)
		must(t, err)
		compareDisk(t, "snapshot "+id, n.(interface {
			blockdev.Node
			blockdev.VMStateStore
		}), model)
		must(t, n.Close())
	}
	res, err := m.image.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) { t.Error(f.Text) }})
	must(t, err)
	if res.Corruptions+res.Leaks+res.CheckErrors > 0 {
		t.Fatalf("check: %+v", res)
	}
}

func compareDisk(t *rapid.T, what string, n interface {
	blockdev.Node
	blockdev.VMStateStore
}, model disk) {
	if n.Size() != int64(len(model.data)) {
		t.Fatalf("%s: size %d, want %d", what, n.Size(), len(model.data))
	}
	got := make([]byte, len(model.data))
	_, err := n.ReadAt(got, 0)
	must(t, err)
	for i := range got {
		if got[i] != model.data[i] {
			t.Fatalf("%s: byte %#x is %#x, want %#x", what, i, got[i], model.data[i])
		}
	}
	if im, ok := n.(*Image); ok && im.external {
		return
	}
	state := make([]byte, len(model.vmState)+100)
	_, err = n.ReadVMState(state, 0)
	must(t, err)
	if !bytes.Equal(state, append(bytes.Clone(model.vmState), make([]byte, 100)...)) {
		t.Fatalf("%s: VM state differs", what)
	}
}

// actions are what rapid may do, and what it checks after each.
func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"write": m.Write, "compress": m.WriteCompressed, "zero": m.WriteZeroes, "discard": m.Discard, "flush": m.Flush,
		"vmstate": m.WriteVMState, "discard vmstate": m.DiscardVMState,
		"snapshot": m.Snapshot, "apply": m.Apply, "delete": m.Delete,
		"resize": m.Resize, "reopen": m.Reopen, "abandon": m.Abandon,
		"": m.Check,
	}
}

func TestImageBehavesAsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMachine(t)
		t.Repeat(m.actions())
		must(t, m.image.Close())
	})
}
