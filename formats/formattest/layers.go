package formattest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

func testSnapshots(t *testing.T, f Format) {
	m := f.fresh(t)
	defer m.close()
	if _, ok := m.node().(blockdev.Snapshotter); !ok {
		t.Skip("no internal snapshots")
	}
	m.write()
	saved := slices.Clone(m.model)
	date := time.Unix(1700000000, 123456789)
	s, err := m.snapshots().CreateSnapshot(blockdev.Snapshot{Name: "one", Date: date, VMClock: time.Hour})
	if unsupported(err) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.write()
	m.verify()
	m.reopen()
	found, err := blockdev.FindSnapshot(m.snapshots(), "one")
	if err != nil || found.ID != s.ID || !found.Date.Equal(date) || found.VMClock != time.Hour || found.DiskSize != f.Size {
		t.Errorf("%+v, %v", found, err)
	}
	m.checkSnapshot(s.ID, saved)
	m.write()
	if err := m.snapshots().ApplySnapshot(s.ID); err != nil {
		t.Fatal(err)
	}
	m.model = slices.Clone(saved)
	m.verify()
	m.write()
	m.verify()
	m.checkSnapshot(s.ID, saved)
	if err := m.snapshots().DeleteSnapshot(s.ID); err != nil {
		t.Fatal(err)
	}
	m.verify()
	if list, err := m.snapshots().Snapshots(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func (m *image) snapshots() blockdev.Snapshotter { return m.node().(blockdev.Snapshotter) }

// checkSnapshot compares a snapshot, opened beside the image, with what was saved.
func (m *image) checkSnapshot(id string, saved []byte) {
	m.t.Helper()
	n, err := m.snapshots().OpenSnapshot(id)
	if err != nil {
		m.t.Fatal(err)
	}
	got := make([]byte, n.Size())
	if _, err := n.ReadAt(got, 0); err != nil || !bytes.Equal(got, saved) {
		m.t.Errorf("the snapshot does not hold what was saved: %v", err)
	}
	if err := n.Close(); err != nil {
		m.t.Error(err)
	}
}

// attach puts a backing node with random contents, shorter than the image, below it.
func (m *image) attach() (backing []byte) {
	m.t.Helper()
	b, ok := m.node().(blockdev.Backed)
	if !ok {
		m.t.Skip("no backing files")
	}
	backing = make([]byte, len(m.model)/3*2)
	fill(backing, m.rng)
	b.SetBacking(blocktest.NewMemory(backing))
	copy(m.model, backing)
	return backing
}

func testBacking(t *testing.T, f Format) {
	m := f.fresh(t)
	defer m.close()
	backing := m.attach()
	m.verify()
	for i := range 40 {
		m.write()
		off, n := m.somewhere()
		if err := blockdev.WriteZeroes(m.node(), off, n, blockdev.ZeroFlags(i%2)); err != nil {
			t.Fatal(err)
		}
		clear(m.model[off : off+n])
	}
	m.verify()
	below := m.node().(blockdev.Backed).Backing()
	got := make([]byte, below.Size())
	if _, err := below.ReadAt(got, 0); err != nil || !bytes.Equal(got, backing) {
		t.Errorf("the backing node changed: %v", err)
	}
}

func testEmpty(t *testing.T, f Format) {
	m := f.fresh(t)
	defer m.close()
	e, ok := m.node().(blockdev.Emptier)
	if !ok {
		t.Skip("cannot be emptied")
	}
	backing := m.attach()
	for range 20 {
		m.write()
	}
	if err := e.MakeEmpty(); err != nil {
		t.Fatal(err)
	}
	clear(m.model)
	copy(m.model, backing)
	m.verify()
	m.write()
	m.verify()
}
