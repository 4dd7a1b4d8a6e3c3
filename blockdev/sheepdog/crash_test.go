package sheepdog

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// crashDisk is what a workload was told is on the disk, and in a snapshot.
type crashDisk struct {
	now, snap []byte
	// open is the range of the write that was not answered for.
	openFrom, openTo int64
}

const crashSize = 3 * mib

// crashWork writes, takes a snapshot and writes on, until a request fails.
func crashWork(m *Image) (d crashDisk) {
	d.now = make([]byte, crashSize)
	write := func(fill byte, off, n int64) bool {
		b := filled(fill, int(n))
		if _, err := m.WriteAt(b, off); err != nil {
			d.openFrom, d.openTo = off, off+n
			return false
		}
		copy(d.now[off:], b)
		return true
	}
	if !write('a', 100, mib) || !write('b', mib/2, 512) || m.Flush() != nil {
		return d
	}
	if _, err := m.CreateSnapshot(blockdev.Snapshot{Name: "s"}); err != nil {
		return d
	}
	d.snap = bytes.Clone(d.now)
	if !write('c', mib-100, 200) || !write('d', 2*mib, 10) {
		return d
	}
	if m.WriteZeroes(0, mib, blockdev.ZeroMayUnmap) != nil {
		d.openTo = mib
		return d
	}
	clear(d.now[:mib])
	write('e', 50, 50)
	return d
}

// TestCrash lets the client's world end at each of its requests, carried out or not. What
// was answered for is there afterwards, for who breaks the lock.
func TestCrash(t *testing.T) {
	for _, last := range []sheeptest.Action{sheeptest.DropBefore, sheeptest.DropAfter} {
		for n := int64(1); ; n++ {
			if crashAt(t, n, last) {
				break
			}
		}
	}
}

// crashAt tells if the work ended before the nth request.
func crashAt(t *testing.T, n int64, last sheeptest.Action) bool {
	var seen atomic.Int64
	r := newRig(t)
	if err := r.create("d", crashSize, nil); err != nil {
		t.Fatal(err)
	}
	good := r.gateway
	r.gateway = r.listen(sheeptest.WithDisturb(func(p.Request) sheeptest.Action {
		switch k := seen.Add(1); {
		case k < n:
			return sheeptest.Serve
		case k == n:
			return last
		}
		return sheeptest.DropBefore
	}))
	m, err := r.tryOpen("d", blockdev.Mode{Writable: true, Unmap: true}, blockdev.Options{"reconnect-timeout": "0"})
	d := crashDisk{now: make([]byte, crashSize)}
	if err == nil {
		d = crashWork(m)
	}
	done := seen.Load() < n
	if m != nil {
		m.client.close() // no lock is given back
	}
	r.gateway.Kill()
	r.gateway = good
	m = must(r.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"break-lock": "on"}))(t)
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	got := make([]byte, crashSize)
	if _, err := m.ReadAt(got, 0); err != nil {
		t.Fatalf("crash at request %d: %v", n, err)
	}
	copy(got[d.openFrom:d.openTo], d.now[d.openFrom:d.openTo])
	if !bytes.Equal(got, d.now) {
		t.Fatalf("crash at request %d: an answered write is lost", n)
	}
	if d.snap != nil {
		s := must(m.OpenSnapshot("1"))(t)
		if _, err := s.ReadAt(got, 0); err != nil || !bytes.Equal(got, d.snap) {
			t.Fatalf("crash at request %d: the snapshot differs, %v", n, err)
		}
		_ = s.Close()
	}
	r.write(m, filled('z', 1000), mib-500)
	r.wants(m, 'z', mib-500, 1000)
	return done
}
