package sheepdog

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

func (r *rig) snapshot(m *Image, tag string) blockdev.Snapshot {
	r.Helper()
	return must(m.CreateSnapshot(blockdev.Snapshot{Name: tag}))(r)
}

// wantsSnapshot reads a snapshot.
func (r *rig) wantsSnapshot(m *Image, id string, fill byte, off, length int64) {
	r.Helper()
	n := must(m.OpenSnapshot(id))(r)
	r.wants(n, fill, off, length)
	if err := n.Close(); err != nil {
		r.Fatal(err)
	}
}

func tags(t *testing.T, m *Image) (out []string) {
	t.Helper()
	for _, s := range must(m.Snapshots())(t) {
		out = append(out, s.ID+" "+s.Name)
	}
	return out
}

// TestSnapshotsKeepTheirData overwrites, discards and deletes all around snapshots.
func TestSnapshotsKeepTheirData(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 4*mib)
	r.write(m, filled('a', 4*mib), 0)
	one := r.snapshot(m, "one")
	r.write(m, filled('b', 512), 100) // copies an object
	two := r.snapshot(m, "two")
	r.write(m, filled('c', mib), 2*mib)
	if err := m.Discard(3*mib, mib); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1 one", "2 two"}, tags(t, m)); diff != "" {
		t.Error(diff)
	}
	check := func(m *Image) {
		t.Helper()
		r.wants(m, 'a', 0, 100)
		r.wants(m, 'b', 100, 512)
		r.wants(m, 'a', 612, 2*mib-612)
		r.wants(m, 'c', 2*mib, mib)
		r.wants(m, 0, 3*mib, mib)
	}
	check(m)
	r.wantsSnapshot(m, one.ID, 'a', 0, 4*mib)
	r.wantsSnapshot(m, two.ID, 'b', 100, 512)
	r.wantsSnapshot(m, two.ID, 'a', 2*mib, 2*mib)
	if err := m.DeleteSnapshot(one.ID); err != nil {
		t.Fatal(err)
	}
	check(m)
	r.wantsSnapshot(m, two.ID, 'a', 612, 4*mib-612)
	if err := m.DeleteSnapshot(two.ID); err != nil {
		t.Fatal(err)
	}
	check(m)
	if got := tags(t, m); got != nil {
		t.Errorf("left: %q", got)
	}
	if data, _ := r.cluster.Objects(); data != 3 {
		t.Errorf("%d objects, the disk has 3", data)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	check(r.open("d", true))
}

func TestApplySnapshot(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 2*mib)
	r.write(m, filled('a', 2*mib), 0)
	s := r.snapshot(m, "s")
	r.write(m, filled('b', mib), 0)
	if err := m.Resize(3*mib, blockdev.ResizeOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := m.ApplySnapshot(s.ID); err != nil {
		t.Fatal(err)
	}
	if m.Size() != 2*mib || !r.cluster.Locked(m.index.vid()) || r.cluster.Locks() != 1 {
		t.Errorf("%d bytes, %d locks", m.Size(), r.cluster.Locks())
	}
	r.wants(m, 'a', 0, 2*mib)
	r.write(m, filled('c', 10), 5)
	r.wantsSnapshot(m, s.ID, 'a', 0, 2*mib)
	if diff := cmp.Diff([]string{"1 s"}, tags(t, m)); diff != "" {
		t.Error(diff)
	}
	if data, _ := r.cluster.Objects(); data != 3 {
		t.Errorf("%d objects", data)
	}
}

func TestSnapshotErrors(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", mib)
	s := r.snapshot(m, "s")
	n := must(m.OpenSnapshot(s.ID))(t)
	if err := m.DeleteSnapshot(s.ID); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("delete an open one: %v", err)
	}
	if _, err := n.WriteAt([]byte("x"), 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("write to one: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"0", "2", "9", "s", ""} { // 2 is the working VDI
		if err := m.DeleteSnapshot(id); !errors.Is(err, blockdev.ErrNotFound) {
			t.Errorf("delete %q: %v", id, err)
		}
		if err := m.ApplySnapshot(id); !errors.Is(err, blockdev.ErrNotFound) {
			t.Errorf("apply %q: %v", id, err)
		}
	}
	for name, kind := range map[string]error{"": blockdev.ErrInvalid, strings.Repeat("t", 256): blockdev.ErrLimit} {
		if _, err := m.CreateSnapshot(blockdev.Snapshot{Name: name}); !errors.Is(err, kind) {
			t.Errorf("tag %q: %v", name, err)
		}
	}
}

// TestSnapshotByName opens a snapshot as a disk of its own: to be read alone.
func TestSnapshotByName(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", mib)
	r.write(m, filled('a', mib), 0)
	r.snapshot(m, "s")
	r.write(m, filled('b', mib), 0)
	for _, name := range []string{"d:s", "d:1"} {
		r.wants(r.open(name, false), 'a', 0, mib)
		if _, err := r.tryOpen(name, blockdev.Mode{Writable: true}, nil); !errors.Is(err, blockdev.ErrReadOnly) {
			t.Errorf("%s for writing: %v", name, err)
		}
		m := must(r.tryOpen(name, blockdev.Mode{Writable: true, AutoReadOnly: true}, nil))(t)
		if m.Writable() {
			t.Errorf("%s is writable", name)
		}
		_ = m.Close()
	}
	for _, name := range []string{"d:2", "d:nosuch", "nosuch", "nosuch:s"} {
		if _, err := r.tryOpen(name, blockdev.Mode{}, nil); !errors.Is(err, blockdev.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClones(t *testing.T) {
	r := newRig(t)
	base := r.disk("base", 2*mib)
	r.write(base, filled('a', 2*mib), 0)
	r.snapshot(base, "s")
	r.write(base, filled('b', mib), 0)
	for _, c := range []struct {
		name, of string
		size     int64
		kind     error
	}{
		{"same", "base:s", 0, nil},
		{"larger", "base:1", 3 * mib, nil},
		{"smaller", "base:s", mib, blockdev.ErrInvalid},
		{"working", "base", 0, blockdev.ErrInvalid},
		{"missing", "base:nosuch", 0, blockdev.ErrNotFound},
		{"nothing", "nosuch:s", 0, blockdev.ErrNotFound},
	} {
		err := r.create(c.name, c.size, blockdev.Options{"backing_file": r.name(c.of)})
		if !errors.Is(err, c.kind) || (err == nil) != (c.kind == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := r.create("file", mib, blockdev.Options{"backing_file": "base.raw"}); !errors.Is(err, blockdev.ErrInvalid) {
		t.Errorf("over a file: %v", err)
	}
	m := r.open("larger", true)
	r.wants(m, 'a', 0, 2*mib)
	r.wants(m, 0, 2*mib, mib)
	r.write(m, filled('c', 100), 50)
	r.wants(m, 'a', 0, 50)
	r.wants(r.open("same", false), 'a', 0, 2*mib)
	r.wants(base, 'b', 0, mib)
	if n := must(m.AllocatedSize())(t); n != mib {
		t.Errorf("%d bytes", n)
	}
	if err := r.create("full", 0, blockdev.Options{"backing_file": r.name("base:s"), "preallocation": "full"}); err != nil {
		t.Fatal(err)
	}
	full := r.open("full", false)
	r.wants(full, 'a', 0, 2*mib)
	if n := must(full.AllocatedSize())(t); n != 2*mib {
		t.Errorf("%d bytes", n)
	}
}

// TestCloneOfAnotherCluster: a VDI of the same name there is another one.
func TestCloneOfAnotherCluster(t *testing.T) {
	r, other := newRig(t), newRig(t)
	for _, c := range []*rig{r, other} {
		m := c.disk("base", mib)
		c.snapshot(m, "s")
	}
	same := &rig{T: t, cluster: r.cluster, gateway: r.listen()}
	if err := r.create("clone", 0, blockdev.Options{"backing_file": same.name("base:s")}); err != nil {
		t.Error(err)
	}
	m := other.disk("alone", mib)
	other.snapshot(m, "s")
	for _, base := range []string{"base:s", "alone:s"} {
		err := r.create("bad", 0, blockdev.Options{"backing_file": other.name(base)})
		if !errors.Is(err, blockdev.ErrInvalid) || !strings.Contains(err.Error(), "another Sheepdog cluster") {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestVMState(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 2*mib)
	state := filled('v', 2*mib+100)
	for off := 0; off < len(state); off += 300_000 {
		part := state[off:min(off+300_000, len(state))]
		if _, err := m.WriteVMState(part, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	s := must(m.CreateSnapshot(blockdev.Snapshot{Name: "s", VMStateSize: int64(len(state)), VMClock: time.Minute}))(t)
	if s.VMStateSize != int64(len(state)) || s.VMClock != time.Minute || s.Date.IsZero() || s.ICount != blockdev.NoICount {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff([]blockdev.Snapshot{s}, must(m.Snapshots())(t)); diff != "" {
		t.Error(diff)
	}
	got := make([]byte, len(state)+10)
	if _, err := m.ReadVMState(got, 0); err != nil || got[0] != 0 {
		t.Errorf("the area is not empty: %v", err)
	}
	n := must(m.OpenSnapshot(s.ID))(t)
	if _, err := n.(blockdev.VMStateStore).ReadVMState(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(state, make([]byte, 10)...), got) {
		t.Error("the state differs")
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.WriteVMState(filled('w', 100), 3*mib); err != nil {
		t.Fatal(err)
	}
	if err := m.DiscardVMState(); err != nil {
		t.Fatal(err)
	}
	if _, state := r.cluster.Objects(); state != 3 {
		t.Errorf("%d objects, the snapshot has 3", state)
	}
	if err := m.DeleteSnapshot(s.ID); err != nil {
		t.Fatal(err)
	}
	if _, state := r.cluster.Objects(); state != 0 {
		t.Errorf("%d objects of VM state are left", state)
	}
}

// TestSnapshotLosesItsAnswer: the server made it, the client did not hear of it.
func TestSnapshotLosesItsAnswer(t *testing.T) {
	lost := lose(t, "NEW_VDI", 2, sheeptest.DropAfter)
	r := newRig(t, sheeptest.WithDisturb(lost))
	m := r.disk("d", mib)
	r.write(m, filled('a', mib), 0)
	r.snapshot(m, "s")
	r.write(m, filled('b', mib), 0)
	if diff := cmp.Diff([]string{"1 s"}, tags(t, m)); diff != "" {
		t.Error(diff)
	}
	r.wantsSnapshot(m, "1", 'a', 0, mib)
}
