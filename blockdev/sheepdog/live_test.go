package sheepdog

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// live is a rig whose cluster is one of real daemons.
type live struct {
	rig
	daemons *sheeptest.Daemons
}

// startLive starts daemons, where there are any.
func startLive(t *testing.T, n int) *live {
	t.Helper()
	if !sheeptest.HaveDaemons() {
		t.Skip("SHEEP_BIN names no daemon")
	}
	dir := must(os.MkdirTemp("", "sheep"))(t) // short, for the names of sockets
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := must(sheeptest.StartDaemons(context.Background(), dir, n))(t)
	t.Cleanup(d.Stop)
	return &live{rig: rig{T: t, addr: d.Addr(0)}, daemons: d}
}

// dog asks the cluster's own tool.
func (l *live) dog(command, subcommand string, args ...string) string {
	l.Helper()
	return must(l.daemons.Dog(l.Context(), command, subcommand, args...))(l)
}

// TestLive runs the life of a disk against a real daemon; the cluster's own tool reads the
// same and finds nothing to repair.
func TestLive(t *testing.T) {
	l := startLive(t, 1)
	m := l.disk("d", 16*mib)
	l.write(m, filled('a', 10*mib), 100)
	s := l.snapshot(m, "s")
	l.write(m, filled('b', 512), 4*mib)
	if err := m.Discard(8*mib, 4*mib); err != nil {
		t.Fatal(err)
	}
	l.wants(m, 'b', 4*mib, 512)
	l.wants(m, 0, 8*mib, 4*mib)
	l.wantsSnapshot(m, s.ID, 'a', 100, 10*mib)
	if diff := cmp.Diff([]string{"1 s"}, tags(t, m)); diff != "" {
		t.Error(diff)
	}
	l.sameToDog(m, "d")
	if got := l.dog("vdi", "read", "d", "-s", "s", "100", strconv.Itoa(10*mib)); got != string(filled('a', 10*mib)) {
		t.Error("dog reads another snapshot")
	}
	if err := m.ApplySnapshot(s.ID); err != nil {
		t.Fatal(err)
	}
	l.wants(m, 'a', 100, 10*mib)
	if err := m.DeleteSnapshot(s.ID); err != nil {
		t.Fatal(err)
	}
	l.wants(m, 'a', 100, 10*mib)
	if err := m.Resize(32*mib, blockdev.ResizeOptions{}); err != nil {
		t.Fatal(err)
	}
	l.wants(m, 0, 16*mib, 16*mib)
	l.sameToDog(m, "d")
}

// sameToDog compares what we and the cluster's own tool read.
func (l *live) sameToDog(m *Image, vdi string) {
	l.Helper()
	ours := make([]byte, m.Size())
	if _, err := m.ReadAt(ours, 0); err != nil {
		l.Fatal(err)
	}
	if l.dog("vdi", "read", vdi) != string(ours) {
		l.Error("dog reads another disk")
	}
	l.dog("vdi", "check", vdi)
}

// TestLiveModel runs the random histories of TestModel against real daemons.
func TestLiveModel(t *testing.T) {
	for name, c := range map[string]struct {
		nodes      int
		redundancy string
	}{"a copy": {1, "1"}, "erasure code": {3, "2:1"}} {
		t.Run(name, func(t *testing.T) {
			l := startLive(t, c.nodes)
			runs := 0
			rapid.Check(t, func(rt *rapid.T) {
				runs++
				size := rapid.Int64Range(1, 3*mib+100).Draw(rt, "size")
				vdi := "d" + strconv.Itoa(runs)
				if err := l.create(vdi, size, blockdev.Options{"redundancy": c.redundancy}); err != nil {
					rt.Fatal(err)
				}
				m := &model{r: &l.rig, vdi: vdi, image: l.open(vdi, true), disk: make([]byte, size), snapshots: map[string][]byte{}}
				for range rapid.IntRange(1, 25).Draw(rt, "steps") {
					m.step(rt)
				}
				m.check(rt)
				m.try(rt, m.image.Close())
				if got := l.dog("vdi", "read", vdi); got != string(m.disk) {
					rt.Fatal("dog reads another disk")
				}
			})
		})
	}
}

// TestLiveLock: a real daemon's lock stays when its owner crashes, until it is broken.
func TestLiveLock(t *testing.T) {
	l := startLive(t, 1)
	m := l.disk("d", mib)
	if _, err := l.tryOpen("d", blockdev.Mode{Writable: true}, nil); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("a second writer: %v", err)
	}
	l.write(m, filled('a', 512), 0)
	m.client.close() // as a crash does
	if _, err := l.tryOpen("d", blockdev.Mode{Writable: true}, nil); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("after a crash: %v", err)
	}
	again := must(l.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"break-lock": "on"}))(t)
	l.wants(again, 'a', 0, 512)
	l.snapshot(again, "s") // the lock goes along
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.open("d", true).Close(); err != nil {
		t.Error(err)
	}
}

// TestLiveNodeDies kills a daemon of three under load: the one that is asked, whose place
// another takes, and one that is not.
func TestLiveNodeDies(t *testing.T) {
	for name, victim := range map[string]int{"gateway": 0, "other": 2} {
		t.Run(name, func(t *testing.T) {
			l := startLive(t, 3)
			if err := l.create("d", 64*mib, nil); err != nil {
				t.Fatal(err)
			}
			more := blockdev.Options{"gateways": l.daemons.Addr(1), "reconnect-timeout": "60"}
			m := must(l.tryOpen("d", blockdev.Mode{Writable: true}, more))(t)
			t.Cleanup(func() { _ = m.Close() })
			want := l.writeWhile(m, func() { l.daemons.Kill(victim) })
			got := make([]byte, len(want))
			if _, err := m.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, got) {
				t.Error("an answered write is lost")
			}
			if l.dog("vdi", "read", "d") != string(want) {
				t.Error("dog reads another disk")
			}
		})
	}
}

// writeWhile writes the whole disk from many goroutines, while something happens, and
// returns what is on it then.
func (l *live) writeWhile(m *Image, something func()) []byte {
	const part = mib / 4
	b := make([]byte, m.Size())
	rand.NewChaCha8([32]byte{1}).Read(b)
	parts := len(b) / part
	errs := make(chan error, parts)
	for i := range parts {
		go func() {
			_, err := m.WriteAt(b[i*part:(i+1)*part], int64(i*part))
			errs <- err
		}()
		if i == parts/2 {
			something()
		}
	}
	for range parts {
		if err := <-errs; err != nil {
			l.Error(err)
		}
	}
	return b
}
