package sheepdog

import (
	"bytes"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
)

// model is what a disk and its snapshots hold.
type model struct {
	r         *rig
	vdi       string
	image     *Image
	disk      []byte
	snapshots map[string][]byte
}

// TestModel compares a disk with bytes in memory through random histories.
func TestModel(t *testing.T) {
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		r := newRig(t)
		defer r.gateway.Kill()
		size := rapid.Int64Range(1, 3*mib+100).Draw(rt, "size")
		redundancy := rapid.SampledFrom([]string{"1", "2:1"}).Draw(rt, "redundancy")
		if err := r.create("d", size, blockdev.Options{"redundancy": redundancy}); err != nil {
			rt.Fatal(err)
		}
		m := &model{r: r, vdi: "d", image: r.open("d", true), disk: make([]byte, size), snapshots: map[string][]byte{}}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			m.step(rt)
		}
		m.check(rt)
		for id := range m.snapshots {
			m.try(rt, m.image.DeleteSnapshot(id))
		}
		m.snapshots = nil
		m.check(rt)
		m.try(rt, m.image.Close())
		if n := r.cluster.Locks(); n != 0 {
			rt.Fatalf("%d locks", n)
		}
	})
	if runs == 0 {
		t.Error("nothing ran")
	}
}

func (m *model) try(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// somewhere draws a range that is often whole objects.
func (m *model) somewhere(t *rapid.T) (off, n int64) {
	size := int64(len(m.disk))
	off = rapid.Int64Range(0, size-1).Draw(t, "off")
	n = rapid.Int64Range(1, size-off).Draw(t, "n")
	if rapid.Bool().Draw(t, "aligned") {
		off = off / mib * mib
		n = min((n+mib-1)/mib*mib, size-off)
	}
	return off, n
}

func (m *model) step(t *rapid.T) {
	switch rapid.SampledFrom([]string{"write", "write", "write", "zero", "discard", "snapshot", "apply", "delete", "grow", "reopen", "check"}).Draw(t, "step") {
	case "write":
		off, n := m.somewhere(t)
		b := filled(rapid.Byte().Draw(t, "fill"), int(n))
		_, err := m.image.WriteAt(b, off)
		m.try(t, err)
		copy(m.disk[off:], b)
	case "zero":
		off, n := m.somewhere(t)
		flags := blockdev.ZeroFlags(rapid.IntRange(0, 1).Draw(t, "unmap"))
		m.try(t, m.image.WriteZeroes(off, n, flags))
		clear(m.disk[off : off+n])
	case "discard":
		off, n := m.somewhere(t)
		m.try(t, m.image.Discard(off, n))
		_, err := m.image.ReadAt(m.disk[off:off+n], off) // undefined, but it stays what it is
		m.try(t, err)
	case "grow":
		size := int64(len(m.disk)) + rapid.Int64Range(0, mib).Draw(t, "more")
		m.try(t, m.image.Resize(size, blockdev.ResizeOptions{}))
		m.disk = append(m.disk, make([]byte, size-int64(len(m.disk)))...)
	case "reopen":
		m.try(t, m.image.Close())
		m.image = m.r.open(m.vdi, true)
	case "check":
		m.check(t)
	default:
		m.snapshotStep(t)
	}
}

func (m *model) snapshotStep(t *rapid.T) {
	if len(m.snapshots) == 0 || len(m.snapshots) < 4 && rapid.Bool().Draw(t, "new") {
		s, err := m.image.CreateSnapshot(blockdev.Snapshot{Name: "s" + strconv.Itoa(len(m.snapshots))})
		m.try(t, err)
		m.snapshots[s.ID] = bytes.Clone(m.disk)
		return
	}
	var ids []string
	for id := range m.snapshots {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(ids).Draw(t, "id")
	if rapid.Bool().Draw(t, "apply") {
		m.try(t, m.image.ApplySnapshot(id))
		m.disk = bytes.Clone(m.snapshots[id])
		return
	}
	m.try(t, m.image.DeleteSnapshot(id))
	delete(m.snapshots, id)
}

// check reads everything.
func (m *model) check(t *rapid.T) {
	t.Helper()
	same := func(what string, n blockdev.Node, want []byte) {
		got := make([]byte, len(want))
		if n.Size() != int64(len(want)) {
			t.Fatalf("%s has %d bytes, not %d", what, n.Size(), len(want))
		}
		if _, err := n.ReadAt(got, 0); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s differs", what)
		}
	}
	same("the disk", m.image, m.disk)
	list, err := m.image.Snapshots()
	m.try(t, err)
	if len(list) != len(m.snapshots) {
		t.Fatalf("%d snapshots, not %d", len(list), len(m.snapshots))
	}
	for id, want := range m.snapshots {
		n, err := m.image.OpenSnapshot(id)
		m.try(t, err)
		same("snapshot "+id, n, want)
		m.try(t, n.Close())
	}
}
