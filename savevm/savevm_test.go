package savevm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm"
	"github.com/qmon/qmon/vm"
)

var background = context.Background()

func (m *toy) save(tag string) {
	m.t.Helper()
	if err := savevm.SaveTag(background, m.Machine, tag); err != nil {
		m.t.Fatalf("savevm %s: %v", tag, err)
	}
}

func (m *toy) load(tag string) {
	m.t.Helper()
	if err := savevm.Load(background, m.Machine, tag); err != nil {
		m.t.Fatalf("loadvm %s: %v", tag, err)
	}
}

// wantError compares the words that the console prints.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || blockdev.Message(err) != want {
		t.Errorf("got  %v\nwant %s", blockdev.Message(err), want)
	}
}

// tags lists a machine's snapshots: "a b | d1:c" are complete ones and a partial one.
func (m *toy) tags() string {
	m.t.Helper()
	l, err := savevm.List(m.Machine)
	if err != nil {
		m.t.Fatal(err)
	}
	var out []string
	for _, e := range l.Complete {
		out = append(out, e.Name)
	}
	for i, e := range l.Partial {
		if i == 0 {
			out = append(out, "|")
		}
		out = append(out, e.Drive+":"+e.Name)
	}
	return strings.Join(out, " ")
}

func TestSaveAndLoad(t *testing.T) {
	m := newToy(t, toyConfig{})
	a, b := newDisk(t.Name()+"a"), newDisk(t.Name()+"b")
	m.disk("d0", a)
	m.disk("d1", b)
	m.set(1)
	a.data[7], b.data[7] = 1, 1
	m.save("one")
	m.set(2)
	a.data[7], b.data[7] = 2, 2
	m.save("two")
	m.set(3)
	for tag, v := range map[string]byte{"one": 1, "two": 2} {
		m.load(tag)
		m.expect(v)
		if a.data[7] != v || b.data[7] != v || a.state != nil {
			t.Errorf("%s: disks have %d, %d and a state of %d bytes", tag, a.data[7], b.data[7], len(a.state))
		}
	}
	l, err := savevm.List(m.Machine)
	if err != nil || len(l.Complete) != 2 || len(l.Partial) != 0 {
		t.Fatalf("%+v, %v", l, err)
	}
	for i, e := range l.Complete {
		if e.Drive != "d0" || e.VMStateSize != int64(len(a.snapshots[i].state)) || e.ICount != blockdev.NoICount {
			t.Errorf("entry %+v", e)
		}
	}
	if s := b.snapshots[0]; s.VMStateSize != 0 || !s.Date.Equal(a.snapshots[0].Date) {
		t.Errorf("second disk has %+v", s.Snapshot)
	}
	if a.state != nil {
		t.Error("a state is left beside the snapshots")
	}
}

// Clock and run state: the clock goes back, a machine that ran runs on, another stays as
// it is, whatever it was when it was saved.
func TestClockAndRunState(t *testing.T) {
	m := newToy(t, toyConfig{clock: vm.NewInstructionClock(3)})
	m.disk("d0", newDisk(t.Name()))
	var saved time.Duration
	m.do(func() {
		m.Clock().Set(time.Hour)
		saved = m.Clock().Now()
	})
	m.save("prelaunch")
	var events []string
	m.Subscribe(func(e vm.Event) { events = append(events, fmt.Sprint(e.Kind, " ", e.State)) })
	m.do(func() { _ = m.Start() })
	m.save("running")
	if !m.Running() {
		t.Errorf("state %s after savevm", m.State())
	}
	m.load("prelaunch")
	m.do(func() {
		if now := m.Clock().Now(); now < saved || now > saved+time.Minute {
			t.Errorf("clock is %v", now)
		}
		m.Stop(vm.StatePaused)
	})
	m.load("running")
	if m.State() != vm.StatePaused {
		t.Errorf("state %s after loadvm of a paused machine", m.State())
	}
	want := []string{"RESUME running", "STOP save-vm", "RESUME running", "STOP restore-vm", "RESUME running", "STOP paused"}
	if !slices.Equal(events, want) {
		t.Errorf("events %q", events)
	}
	l, err := savevm.List(m.Machine)
	if err != nil || l.Complete[0].VMClock != saved || l.Complete[0].ICount != 0 || l.Complete[1].ICount == blockdev.NoICount {
		t.Errorf("%+v, %v", l, err)
	}
}

// What QEMU says when the drives do not allow snapshots, in savevm, loadvm, delvm and
// info snapshots.
func TestDrivesWithoutSnapshots(t *testing.T) {
	const (
		none     = "no block device can store vmstate for snapshot"
		raw      = "Device 'd0' is writable but does not support snapshots"
		unlisted = ""
	)
	plain := func(name string) blockdev.Node { return &plainDisk{newDisk(name)} }
	tests := []struct {
		name                    string
		drives                  func(m *toy)
		save, load, delete, lst string
	}{
		{"no drive", func(m *toy) {}, none, none, "", none},
		{"empty drive", func(m *toy) { m.drive(blockdev.DriveConfig{Name: "cd0", Removable: true}, "", blockdev.OpenOptions{}) },
			none, none, "", none},
		{"read-only", func(m *toy) {
			m.drive(blockdev.DriveConfig{Name: "d0", ReadOnly: true}, putDisk(newDisk("ro")), blockdev.OpenOptions{Driver: "memdisk"})
		}, none, none, "", none},
		{"raw only", func(m *toy) { m.disk("d0", plain("raw1")) }, raw, raw, raw, none},
		{"raw and another", func(m *toy) {
			m.disk("d0", plain("raw2"))
			m.disk("d1", newDisk("other"))
		}, raw, raw, raw, unlisted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newToy(t, toyConfig{})
			tt.drives(m)
			_, err := savevm.Save(background, m.Machine, "x")
			wantError(t, err, tt.save)
			wantError(t, savevm.Load(background, m.Machine, "x"), tt.load)
			if err := savevm.Delete(background, m.Machine, "x"); blockdev.Message(err) != tt.delete {
				t.Errorf("delvm: %v", err)
			}
			if _, err := savevm.List(m.Machine); blockdev.Message(err) != tt.lst {
				t.Errorf("info snapshots: %v", err)
			}
		})
	}
}

func TestReadOnlyAndEmptyDrivesTakeNoPart(t *testing.T) {
	m := newToy(t, toyConfig{})
	ro := newDisk(t.Name() + "ro")
	m.drive(blockdev.DriveConfig{Name: "ro0", ReadOnly: true}, putDisk(ro), blockdev.OpenOptions{Driver: "memdisk"})
	m.drive(blockdev.DriveConfig{Name: "cd0", Removable: true}, "", blockdev.OpenOptions{})
	m.disk("d0", newDisk(t.Name()))
	m.set(1)
	m.save("x")
	m.set(2)
	m.load("x")
	m.expect(1)
	if len(ro.snapshots) != 0 {
		t.Error("the read-only disk has a snapshot")
	}
}

// Names are tags, never IDs, also where they are numbers.
func TestTags(t *testing.T) {
	m := newToy(t, toyConfig{})
	m.disk("d0", newDisk(t.Name()))
	for _, tag := range []string{"5", "1", "2", ""} {
		m.save(tag)
	}
	wantError(t, savevm.Load(background, m.Machine, "3"), "Snapshot '3' does not exist in one or more devices")
	for _, tag := range []string{"1", "3"} {
		if err := savevm.Delete(background, m.Machine, tag); err != nil {
			t.Errorf("delvm %s: %v", tag, err)
		}
	}
	if got := m.tags(); got != "5 2 " {
		t.Errorf("left: %q", got)
	}
	made, err := savevm.Save(background, m.Machine, "")
	if err != nil || !regexp.MustCompile(`^vm-\d{14}$`).MatchString(made) {
		t.Errorf("made-up tag %q, %v", made, err)
	}
	m.save("5")
	if got := m.tags(); got != "2  "+made+" 5" {
		t.Errorf("after replacing: %q", got)
	}
}

func TestPartialSnapshots(t *testing.T) {
	m := newToy(t, toyConfig{})
	a, b := newDisk(t.Name()+"a"), newDisk(t.Name()+"b")
	m.disk("d0", a)
	m.disk("d1", b)
	for i, s := range []struct {
		d   *memDisk
		tag string
	}{{a, "onlya"}, {a, "both"}, {b, "both"}, {b, "onlyb"}} {
		if _, err := s.d.CreateSnapshot(blockdev.Snapshot{Name: s.tag, Date: time.Unix(int64(i), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.tags(); got != "both | d0:onlya d1:onlyb" {
		t.Errorf("listed: %q", got)
	}
	for _, tag := range []string{"onlya", "onlyb"} {
		wantError(t, savevm.Load(background, m.Machine, tag), "Snapshot '"+tag+"' does not exist in one or more devices")
	}
	wantError(t, savevm.Load(background, m.Machine, "both"), "This is a disk-only snapshot. Revert to it  offline using qemu-img")
	for _, tag := range []string{"onlya", "onlyb", "both"} {
		if err := savevm.Delete(background, m.Machine, tag); err != nil {
			t.Error(err)
		}
	}
	if len(a.snapshots)+len(b.snapshots) != 0 {
		t.Error("snapshots are left")
	}
}

// A writable disk that cannot keep snapshots makes those of the others partial.
func TestPartialBesideRaw(t *testing.T) {
	m := newToy(t, toyConfig{})
	d := newDisk(t.Name())
	m.disk("d0", &plainDisk{newDisk(t.Name() + "raw")})
	m.disk("d1", d)
	if _, err := d.CreateSnapshot(blockdev.Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if got := m.tags(); got != "| d1:s" {
		t.Errorf("listed: %q", got)
	}
}

func TestUsages(t *testing.T) {
	m := newToy(t, toyConfig{})
	m.disk("d0", newDisk(t.Name()+"a"))
	m.disk("d1", newDisk(t.Name()+"b"))
	m.save("x")
	u, err := savevm.Usages(m.Machine)
	if err != nil || len(u) != 2 {
		t.Fatalf("%+v, %v", u, err)
	}
	if u[0].Exclusive != 4096+u[0].Snapshot.VMStateSize || u[1].Drive != "d1" || u[1].Exclusive != 4096 {
		t.Errorf("%+v", u)
	}
}

// steps lets the operation number n on any of the disks fail and counts them.
type steps struct {
	n, failAt int
	ops       []string
}

var errFault = errors.New("injected fault")

func (s *steps) fail(op string) error {
	s.ops = append(s.ops, op)
	s.n++
	if s.n == s.failAt {
		return errFault
	}
	return nil
}

// prepared is a machine with two disks, snapshot "old" and "s" with value 1, and value 2
// in memory and on the disks.
func prepared(t *testing.T, name string) (*toy, *memDisk, *memDisk) {
	m := newToy(t, toyConfig{})
	a, b := newDisk(name+"a"), newDisk(name+"b")
	m.disk("d0", a)
	m.disk("d1", b)
	m.set(1)
	a.data[0], b.data[0] = 1, 1
	m.save("old")
	m.save("s")
	m.set(2)
	a.data[0], b.data[0] = 2, 2
	return m, a, b
}

// Whatever step of replacing a snapshot fails, the machine goes on, older snapshots can be
// loaded, and the tag means the old snapshot or, once that is complete, the new one.
func TestSaveThatFailsAtAnyStep(t *testing.T) {
	for failAt := 1; ; failAt++ {
		name := fmt.Sprintf("%s%d", t.Name(), failAt)
		m, a, b := prepared(t, name)
		s := &steps{failAt: failAt}
		a.fail, b.fail = s.fail, s.fail
		err := savevm.SaveTag(background, m.Machine, "s")
		a.fail, b.fail = nil, nil
		if s.n < failAt {
			if err != nil || failAt < 8 {
				t.Fatalf("no fault in %q, but %v", s.ops, err)
			}
			return
		}
		step := s.ops[failAt-1]
		if !errors.Is(err, errFault) {
			t.Errorf("%s failed, savevm says %v", step, err)
		}
		m.expect(2)
		want, tags := byte(1), "old s"
		if strings.HasPrefix(step, "delete") {
			want = 2
		} else if got := m.tags(); got != tags {
			t.Errorf("%s failed, left: %s", step, got)
		}
		if a.state != nil || b.state != nil {
			t.Errorf("%s failed, and left a state", step)
		}
		m.load("s")
		m.expect(want)
		if a.data[0] != want || b.data[0] != want {
			t.Errorf("%s failed, loadvm s gives disks %d and %d", step, a.data[0], b.data[0])
		}
		m.load("old")
		m.expect(1)
	}
}

// Whenever the host dies while a snapshot is being replaced, the disks that are left hold
// the old one or the new one, on both.
func TestHostDiesWhileSaving(t *testing.T) {
	m, a, b := prepared(t, t.Name())
	type left struct {
		step string
		a, b *memDisk
	}
	var crashes []left
	record := func(op string) error {
		n := fmt.Sprintf("%s-%d", t.Name(), len(crashes))
		crashes = append(crashes, left{op, a.clone(n + "a"), b.clone(n + "b")})
		return nil
	}
	a.fail, b.fail = record, record
	m.save("s")
	if len(crashes) < 8 {
		t.Fatalf("only %d steps", len(crashes))
	}
	for _, c := range crashes {
		again := newToy(t, toyConfig{})
		again.disk("d0", c.a)
		again.disk("d1", c.b)
		again.load("s")
		v := c.a.data[0]
		if v != 1 && v != 2 || c.b.data[0] != v {
			t.Errorf("dead before %s: disks have %d and %d", c.step, v, c.b.data[0])
		}
		again.expect(v)
		again.load("old")
		again.expect(1)
		again.save("s")
		if got := again.tags(); got != "old s" {
			t.Errorf("dead before %s, saved again: %s", c.step, got)
		}
	}
}

func TestCancelledSave(t *testing.T) {
	m, a, _ := prepared(t, t.Name())
	m.do(func() { _ = m.Start() })
	ctx, cancel := context.WithCancel(background)
	ctx = savevm.WithProgress(ctx, func(done, total int64) {
		if done <= 0 || done > total {
			t.Errorf("progress %d of %d", done, total)
		}
		cancel()
	})
	if err := savevm.SaveTag(ctx, m.Machine, "s"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !m.Running() || m.tags() != "old s" || a.state != nil {
		t.Errorf("state %s, snapshots %s", m.State(), m.tags())
	}
}

// A snapshot that does not fit is refused before anything has changed, and a machine that
// runs does not even stop.
func TestLoadRefuses(t *testing.T) {
	saved := newToy(t, toyConfig{})
	disk := newDisk(t.Name())
	saved.disk("d0", disk)
	saved.set(1)
	saved.save("s")
	saved.do(func() { saved.timer.compare = 5000 })
	saved.save("bad")
	const prefix = "Error -22 while loading VM state: "
	tests := []struct {
		name   string
		tag    string
		config toyConfig
		damage func(d *memDisk)
		want   string
	}{
		{"no such", "t", toyConfig{}, nil, "Snapshot 't' does not exist in one or more devices"},
		{"other machine", "s", toyConfig{kind: "troy"}, nil, prefix + "Machine type received is 'toy' and local is 'troy'"},
		{"more RAM", "s", toyConfig{ramSize: 512 << 10}, nil,
			prefix + "Size mismatch: toy.ram: 0x40000 != 0x80000: Invalid argument"},
		{"refused by a device", "bad", toyConfig{}, nil,
			prefix + "error while loading state for instance 0x0 of device 'bus@0/toytimer': compare value out of range"},
		{"cut off", "s", toyConfig{}, func(d *memDisk) { d.snapshots[0].VMStateSize = 5000 },
			prefix + "unexpected EOF"},
		{"unknown run state", "s", toyConfig{}, func(d *memDisk) {
			d.snapshots[0].state = bytes.Replace(d.snapshots[0].state, []byte("prelaunch"), []byte("postlunch"), 1)
		}, prefix + "error while loading state for instance 0x0 of device 'globalstate': invalid parameter value: postlunch"},
		{"state cannot be read", "s", toyConfig{}, func(d *memDisk) { d.snapshots[0].state = d.snapshots[0].state[:100] },
			"Error -5 while loading VM state: read past the end"},
		{"disk only", "s", toyConfig{}, func(d *memDisk) { d.snapshots[0].VMStateSize = 0 },
			"This is a disk-only snapshot. Revert to it  offline using qemu-img"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newToy(t, tt.config)
			d := disk.clone(t.Name())
			d.data[0] = 9
			if tt.damage != nil {
				tt.damage(d)
			}
			m.disk("d0", d)
			m.set(9)
			m.do(func() { _ = m.Start() })
			var events []vm.Event
			m.Subscribe(func(e vm.Event) { events = append(events, e) })
			wantError(t, savevm.Load(background, m.Machine, tt.tag), tt.want)
			if len(events) > 0 || !m.Running() || d.data[0] != 9 || m.ram.Data[0] != 9 || m.timer.compare != 9 {
				t.Error("something changed")
			}
		})
	}
}

// The state is found also where the drives are in another order than they were.
func TestDrivesInAnotherOrder(t *testing.T) {
	_, a, b := prepared(t, t.Name())
	m := newToy(t, toyConfig{})
	m.disk("d1", b.clone(t.Name()+"b2"))
	m.disk("d0", a.clone(t.Name()+"a2"))
	m.load("s")
	m.expect(1)
	if l, err := savevm.List(m.Machine); err != nil || l.Complete[0].Drive != "d0" || l.Complete[0].VMStateSize == 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

// A disk that cannot go back: if it is the first, nothing has changed; if it is a later
// one, the machine stays stopped.
func TestApplyFails(t *testing.T) {
	for i, want := range []struct {
		err   string
		state vm.RunState
	}{
		{"Could not load snapshot 's' on 'd0': injected fault", vm.StateRunning},
		{"Could not load snapshot 's' on 'd1' (drives before it have gone back already): injected fault", vm.StateRestoreVM},
	} {
		m, a, b := prepared(t, fmt.Sprintf("%s%d", t.Name(), i))
		m.do(func() { _ = m.Start() })
		s := &steps{failAt: i + 1}
		a.fail, b.fail = s.fail, s.fail
		wantError(t, savevm.Load(background, m.Machine, "s"), want.err)
		if m.State() != want.state {
			t.Errorf("state %s", m.State())
		}
	}
}
