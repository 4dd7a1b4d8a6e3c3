package savevm_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/qmon/qmon/blockdev"
)

// memDisk is a disk in memory with snapshots. Every change asks fail first, so that tests
// can let any step go wrong.
type memDisk struct {
	name        string
	data, state []byte
	snapshots   []memSnapshot
	lastID      int
	fail        func(op string) error
}

type memSnapshot struct {
	blockdev.Snapshot
	data, state []byte
}

// plainDisk is a disk without snapshots, as raw is.
type plainDisk struct{ blockdev.Node }

var (
	_ blockdev.Snapshotter  = (*memDisk)(nil)
	_ blockdev.VMStateStore = (*memDisk)(nil)
)

func newDisk(name string) *memDisk {
	return &memDisk{name: name, data: make([]byte, 4096)}
}

// clone is what would be on the disk if the machine died now.
func (d *memDisk) clone(name string) *memDisk {
	c := *d
	c.name, c.fail = name, nil
	c.data, c.state = bytes.Clone(d.data), bytes.Clone(d.state)
	c.snapshots = slices.Clone(d.snapshots)
	return &c
}

func (d *memDisk) step(op string) error {
	if d.fail == nil {
		return nil
	}
	return d.fail(op + " " + d.name)
}

func readAt(src, p []byte, off int64) (int, error) {
	if off > int64(len(src)) {
		return 0, fmt.Errorf("read at %d of %d", off, len(src))
	}
	if n := copy(p, src[off:]); n < len(p) {
		return n, fmt.Errorf("read past the end")
	}
	return len(p), nil
}

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) { return readAt(d.data, p, off) }
func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	return copy(d.data[off:], p), nil
}
func (d *memDisk) Size() int64  { return int64(len(d.data)) }
func (d *memDisk) Flush() error { return d.step("flush") }
func (d *memDisk) Close() error { return nil }
func (d *memDisk) Map(off, n int64) (blockdev.Extent, error) {
	return blockdev.Extent{Kind: blockdev.ExtentData, Len: n, Node: d, Host: off}, nil
}

func (d *memDisk) ReadVMState(p []byte, off int64) (int, error) {
	return readAt(d.state, p, off)
}

func (d *memDisk) WriteVMState(p []byte, off int64) (int, error) {
	if err := d.step("write state"); err != nil {
		return 0, err
	}
	if end := int(off) + len(p); end > len(d.state) {
		d.state = append(d.state, make([]byte, end-len(d.state))...)
	}
	return copy(d.state[off:], p), nil
}

func (d *memDisk) DiscardVMState() error {
	d.state = nil
	return d.step("discard state")
}

func (d *memDisk) Snapshots() ([]blockdev.Snapshot, error) {
	var out []blockdev.Snapshot
	for _, s := range d.snapshots {
		out = append(out, s.Snapshot)
	}
	return out, nil
}

func (d *memDisk) CreateSnapshot(s blockdev.Snapshot) (blockdev.Snapshot, error) {
	if err := d.step("create"); err != nil {
		return s, err
	}
	d.lastID++
	s.ID, s.DiskSize = strconv.Itoa(d.lastID), d.Size()
	d.snapshots = append(d.snapshots, memSnapshot{s, bytes.Clone(d.data), d.state})
	d.state = nil
	return s, nil
}

func (d *memDisk) find(id string) int {
	return slices.IndexFunc(d.snapshots, func(s memSnapshot) bool { return s.ID == id })
}

func (d *memDisk) ApplySnapshot(id string) error {
	if err := d.step("apply"); err != nil {
		return err
	}
	s := d.snapshots[d.find(id)]
	d.data, d.state = bytes.Clone(s.data), bytes.Clone(s.state)
	return nil
}

func (d *memDisk) DeleteSnapshot(id string) error {
	if err := d.step("delete"); err != nil {
		return err
	}
	i := d.find(id)
	d.snapshots = slices.Delete(slices.Clone(d.snapshots), i, i+1)
	return nil
}

func (d *memDisk) OpenSnapshot(id string) (blockdev.Node, error) {
	s := d.snapshots[d.find(id)]
	return &memDisk{name: d.name + "@" + id, data: s.data, state: s.state}, nil
}

func (d *memDisk) SnapshotExclusive(id string) (int64, error) {
	s := d.snapshots[d.find(id)]
	return int64(len(s.data) + len(s.state)), nil
}
