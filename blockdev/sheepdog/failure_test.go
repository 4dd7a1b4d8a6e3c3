package sheepdog

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// lose disturbs the nth request of an opcode.
func lose(t *testing.T, opcode string, nth int64, what sheeptest.Action) func(p.Request) sheeptest.Action {
	var seen atomic.Int64
	t.Cleanup(func() {
		if seen.Load() < nth {
			t.Errorf("only %d of %s", seen.Load(), opcode)
		}
	})
	return func(r p.Request) sheeptest.Action {
		if r.Opcode.String() == opcode && seen.Add(1) == nth {
			return what
		}
		return sheeptest.Serve
	}
}

// TestLostRequests breaks the connection at every kind of request: the work goes on.
func TestLostRequests(t *testing.T) {
	for _, what := range []sheeptest.Action{sheeptest.DropBefore, sheeptest.DropAfter} {
		for opcode, nth := range map[string]int64{
			"CREATE_AND_WRITE_OBJ": 2, "READ_OBJ": 5, "WRITE_OBJ": 2, "NEW_VDI": 1, "GET_VDI_INFO": 2,
			"DEL_VDI": 1, "RELEASE_VDI": 1, "READ_VDIS": 1, "REMOVE_OBJ": 1,
		} {
			t.Run(opcode, func(t *testing.T) {
				r := newRig(t, sheeptest.WithDisturb(lose(t, opcode, nth, what)))
				m := r.disk("d", 4*mib)
				r.write(m, filled('a', 4*mib), 0)
				s := r.snapshot(m, "s")
				r.write(m, filled('b', 100), mib)
				r.wants(m, 'a', 0, mib)
				r.wants(m, 'b', mib, 100)
				r.wantsSnapshot(m, s.ID, 'a', 0, 4*mib)
				_ = tags(t, m)
				if _, err := m.WriteVMState([]byte("x"), 0); err != nil {
					t.Fatal(err)
				}
				if err := m.DiscardVMState(); err != nil {
					t.Fatal(err)
				}
				if err := m.DeleteSnapshot(s.ID); err != nil {
					t.Fatal(err)
				}
				r.wants(m, 'a', 2*mib, 2*mib)
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
				if n := r.cluster.Locks(); n != 0 {
					t.Errorf("%d locks", n)
				}
			})
		}
	}
}

// TestLockLosesItsAnswer: it cannot be known whose lock it is, so it is not taken over.
func TestLockLosesItsAnswer(t *testing.T) {
	r := newRig(t, sheeptest.WithDisturb(lose(t, "LOCK_VDI", 1, sheeptest.DropAfter)))
	if err := r.create("d", mib, nil); err != nil {
		t.Fatal(err)
	}
	_, err := r.tryOpen("d", blockdev.Mode{Writable: true}, nil)
	if !errors.Is(err, blockdev.ErrInUse) || !strings.Contains(err.Error(), "before its connection broke") {
		t.Error(err)
	}
}

// TestGatewayDies kills the gateway under load; another takes over.
func TestGatewayDies(t *testing.T) {
	r := newRig(t)
	second := r.listen()
	if err := r.create("d", 8*mib, nil); err != nil {
		t.Fatal(err)
	}
	m := must(r.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"gateways": second.Addr()}))(t)
	errs := make(chan error, 32)
	for i := range 32 {
		go func() {
			_, err := m.WriteAt(filled(byte(i+1), mib/4), int64(i)*mib/4)
			errs <- err
		}()
		if i == 16 {
			go r.gateway.Kill()
		}
	}
	for range 32 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	r.gateway.Kill()
	r.cluster.NodeLost()
	for i := range 32 {
		r.wants(m, byte(i+1), int64(i)*mib/4, mib/4)
	}
	if err := m.Close(); err != nil || r.cluster.Locks() != 0 {
		t.Errorf("%v, %d locks", err, r.cluster.Locks())
	}
}

// TestAllGatewaysDie ends with an error past the deadline.
func TestAllGatewaysDie(t *testing.T) {
	r := newRig(t)
	if err := r.create("d", mib, nil); err != nil {
		t.Fatal(err)
	}
	m := must(r.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"reconnect-timeout": "1"}))(t)
	r.gateway.Kill()
	if _, err := m.WriteAt([]byte("x"), 0); err == nil || !strings.Contains(err.Error(), "could be reached again within 1s") {
		t.Error(err)
	}
	if err := m.Close(); err == nil || !strings.Contains(err.Error(), "break-lock") {
		t.Errorf("the lock was given back to nobody: %v", err)
	}
	if _, err := r.tryOpen("d", blockdev.Mode{}, nil); !strings.Contains(blockdev.Message(err), "Failed to connect to '"+r.gateway.Addr()+"'") {
		t.Error(err)
	}
}

// TestUselessGateway: a daemon that hangs, or was taken out of its cluster, still takes
// connections. The other does the work.
func TestUselessGateway(t *testing.T) {
	for name, what := range map[string]sheeptest.Action{"hangs": sheeptest.Swallow, "taken out": sheeptest.Refuse} {
		t.Run(name, func(t *testing.T) {
			var useless atomic.Bool
			r := newRig(t, sheeptest.WithDisturb(func(p.Request) sheeptest.Action {
				if useless.Load() {
					return what
				}
				return sheeptest.Serve
			}))
			more := blockdev.Options{"gateways": r.listen().Addr(), "request-timeout": "1"}
			if err := r.create("d", 4*mib, nil); err != nil {
				t.Fatal(err)
			}
			m := must(r.tryOpen("d", blockdev.Mode{Writable: true}, more))(t)
			useless.Store(true)
			r.write(m, filled('a', 4*mib), 0)
			r.snapshot(m, "s")
			r.wants(m, 'a', 0, 4*mib)
			if err := m.Close(); err != nil || r.cluster.Locks() != 0 {
				t.Errorf("%v, %d locks", err, r.cluster.Locks())
			}
			again := must(r.tryOpen("d", blockdev.Mode{}, more))(t)
			t.Cleanup(func() { _ = again.Close() })
			r.wants(again, 'a', 0, 4*mib)
		})
	}
}

// TestClusterIsDown: who opens a disk there hears of it at once.
func TestClusterIsDown(t *testing.T) {
	r := newRig(t, sheeptest.WithDisturb(func(p.Request) sheeptest.Action { return sheeptest.Refuse }))
	_, err := r.tryOpen("d", blockdev.Mode{}, blockdev.Options{"reconnect-timeout": "3600"})
	if !errors.Is(err, p.Killed) {
		t.Error(err)
	}
}

// TestClusterRestarts: its locks are gone, and taken again by who has the disk open, unless
// somebody else was quicker.
func TestClusterRestarts(t *testing.T) {
	for name, quicker := range map[string]bool{"alone": false, "another was quicker": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			second := r.listen()
			if err := r.create("d", mib, nil); err != nil {
				t.Fatal(err)
			}
			m := must(r.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"gateways": second.Addr()}))(t)
			r.write(m, filled('a', 512), 0)
			v := m.index.vid()
			r.gateway.Kill()
			r.cluster.Restart()
			r.gateway = second
			if quicker {
				other := r.open("d", true)
				r.snapshot(other, "s")
				if err := other.Close(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := m.WriteAt(filled('b', 512), 0)
			if quicker != errors.Is(err, blockdev.ErrReadOnly) || !quicker && err != nil {
				t.Error(err)
			}
			if r.cluster.Locked(v) == quicker || quicker && r.cluster.Locks() != 0 {
				t.Errorf("%d locks, of this one %t", r.cluster.Locks(), r.cluster.Locked(v))
			}
			if err := m.Close(); err != nil || r.cluster.Locks() != 0 {
				t.Errorf("%v, %d locks", err, r.cluster.Locks())
			}
		})
	}
}

// TestSilence: a server that takes a request and never answers.
func TestSilence(t *testing.T) {
	r := newRig(t, sheeptest.WithDisturb(lose(t, "CREATE_AND_WRITE_OBJ", 1, sheeptest.Swallow)))
	if err := r.create("d", mib, nil); err != nil {
		t.Fatal(err)
	}
	m := must(r.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"request-timeout": "1"}))(t)
	r.write(m, []byte("x"), 0)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestUnformatted(t *testing.T) {
	r := &rig{T: t, cluster: sheeptest.New(sheeptest.Config{Unformatted: true})}
	r.gateway = r.listen()
	if err := r.create("d", mib, nil); !errors.Is(err, p.WaitForFormat) {
		t.Error(err)
	}
	if _, err := r.tryOpen("d", blockdev.Mode{}, nil); !errors.Is(err, p.WaitForFormat) {
		t.Error(err)
	}
}

// TestSomebodyElsesSnapshot: another client froze the disk, and writing fails for good.
func TestSomebodyElsesSnapshot(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", mib)
	r.write(m, filled('a', 512), 0)
	other := must(r.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"break-lock": "on"}))(t)
	r.snapshot(other, "s")
	if _, err := m.WriteAt([]byte("x"), 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Error(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLyingInode opens disks whose inodes are garbage in one way each.
func TestLyingInode(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		off  int
		b    []byte
		kind error
	}{
		"shift":       {p.OffsetShift, []byte{63}, blockdev.ErrCorrupt},
		"size":        {p.OffsetSize, le.AppendUint64(nil, 1<<62), blockdev.ErrCorrupt},
		"hypervolume": {p.OffsetStorePolicy, []byte{1}, blockdev.ErrNotSupported},
		"id":          {p.OffsetVID, []byte{0xff, 0xff, 0xff, 0xff}, blockdev.ErrCorrupt},
		"wild entry":  {p.OffsetTable, []byte{1, 2, 3, 4}, blockdev.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if err := r.create("d", mib, nil); err != nil {
				t.Fatal(err)
			}
			v := r.cluster.Working("d")
			// The cluster itself goes by the id in the inode, so that stays for the lookup.
			if name == "id" {
				r.gateway.Kill()
				r.gateway = r.listen(sheeptest.WithForgery(func(q p.Request, resp *p.Response, out []byte) []byte {
					if q.OID.IsInode() && len(out) >= p.InodeHeaderSize {
						copy(out[c.off:], c.b)
					}
					return nil
				}))
			} else {
				r.cluster.Patch(v, c.off, c.b)
			}
			if _, err := r.tryOpen("d", blockdev.Mode{Writable: true}, nil); !errors.Is(err, c.kind) {
				t.Error(err)
			}
			if r.cluster.Locks() != 0 {
				t.Error("the lock is left")
			}
		})
	}
}

// TestMissingObject: an entry that names an object that is not there is lost data, not
// zeroes.
func TestMissingObject(t *testing.T) {
	r := newRig(t)
	if err := r.create("d", mib, nil); err != nil {
		t.Fatal(err)
	}
	r.cluster.Patch(r.cluster.Working("d"), p.OffsetTable, []byte{1, 0, 0, 0})
	m := r.open("d", false)
	if _, err := m.ReadAt(make([]byte, 10), 0); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Error(err)
	}
}

// TestHostileAnswers forges the answer to the first read of an inode.
func TestHostileAnswers(t *testing.T) {
	answer := func(change func(*p.Response), tail int) func(*p.Response, []byte) []byte {
		return func(r *p.Response, out []byte) []byte {
			r.DataLength = uint32(len(out))
			change(r)
			b := make([]byte, p.HeaderSize)
			r.Encode(b)
			return append(b, out[:max(0, len(out)+tail)]...)
		}
	}
	for name, forge := range map[string]func(*p.Response, []byte) []byte{
		"wild id":         answer(func(r *p.Response) { r.ID += 1000 }, 0),
		"another opcode":  answer(func(r *p.Response) { r.Opcode = p.OpWrite }, 0),
		"too long":        answer(func(r *p.Response) { r.DataLength = 1<<32 - 1 }, 0),
		"too short":       answer(func(r *p.Response) { r.DataLength = 4 }, -1<<20),
		"error with data": answer(func(r *p.Response) { r.Result, r.DataLength = p.IOError, 1<<20 }, 0),
		"twice": func(r *p.Response, out []byte) []byte {
			b := answer(func(*p.Response) {}, 0)(r, out)
			return append(b, b...)
		},
		"zeroes":  func(*p.Response, []byte) []byte { return make([]byte, 1000) },
		"garbage": func(*p.Response, []byte) []byte { return filled(0xff, 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if err := r.create("d", mib, nil); err != nil {
				t.Fatal(err)
			}
			r.gateway.Kill()
			r.gateway = r.listen(sheeptest.WithForgery(func(q p.Request, resp *p.Response, out []byte) []byte {
				if q.OID.IsInode() && q.Opcode == p.OpRead {
					return forge(resp, out)
				}
				return nil
			}))
			m, err := r.tryOpen("d", blockdev.Mode{}, nil)
			if err == nil { // a doubled answer shows with the next request
				_, err = m.Snapshots()
				_ = m.Close()
			}
			if !errors.Is(err, blockdev.ErrCorrupt) {
				t.Error(err)
			}
		})
	}
}

// TestTruncatedAnswers: a server that closes in the middle of each answer is given up.
func TestTruncatedAnswers(t *testing.T) {
	r := newRig(t)
	if err := r.create("d", mib, nil); err != nil {
		t.Fatal(err)
	}
	r.gateway.Kill()
	r.gateway = r.listen(sheeptest.WithDisturb(func(q p.Request) sheeptest.Action {
		if q.Opcode == p.OpRead {
			return sheeptest.DropAfter
		}
		return sheeptest.Serve
	}))
	start := time.Now()
	_, err := r.tryOpen("d", blockdev.Mode{}, blockdev.Options{"reconnect-timeout": "1"})
	if err == nil || !errors.Is(err, errLost) {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}
