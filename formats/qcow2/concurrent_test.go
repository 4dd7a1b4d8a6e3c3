package qcow2

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// TestConcurrentRequests lets writers, each with bytes of its own in clusters that all
// share, run beside snapshots, flushes, checks and the VM state; what a writer wrote it
// reads back, and a snapshot holds for each writer what it had written before or after.
func TestConcurrentRequests(t *testing.T) {
	const writers, piece, pieces = 6, 300, 100
	for _, o := range []blockdev.Options{{"cluster_size": "4096"}, {"cluster_size": "512", "lazy_refcounts": "on"}, {"cluster_size": "65536", "compat": "v2"}} {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			t.Parallel()
			const size = (writers*piece*pieces + 511) &^ 511
			m := create(t, size, o)
			im := open(t, m, writable)
			model := make([]byte, size)
			var wg sync.WaitGroup
			var stop atomic.Bool
			for w := range writers {
				wg.Go(func() {
					r := rand.New(rand.NewSource(int64(w)))
					for range 150 {
						off := (r.Intn(pieces)*writers + w) * piece
						p := model[off : off+piece]
						if r.Intn(5) == 0 {
							clear(p)
							must2(t, im.WriteZeroes(int64(off), piece, blockdev.ZeroMayUnmap))
						} else {
							r.Read(p)
							_, err := im.WriteAt(p, int64(off))
							must2(t, err)
						}
						got := make([]byte, piece)
						_, err := im.ReadAt(got, int64(off))
						must2(t, err)
						if !bytes.Equal(got, p) {
							t.Errorf("writer %d does not read back what it wrote at %#x", w, off)
							return
						}
					}
				})
			}
			var helpers sync.WaitGroup
			helpers.Go(func() { snapshotsMeanwhile(t, im, &stop) })
			helpers.Go(func() {
				for !stop.Load() {
					must2(t, im.Flush())
					_, err := im.Map(0, size)
					must2(t, err)
					_, err = im.Info()
					must2(t, err)
				}
			})
			wg.Wait()
			stop.Store(true)
			helpers.Wait()
			compareWith(t, im, model)
			checkClean(t, im)
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			agreeWithQEMU(t, save(t, m), model)
		})
	}
}

func must2(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// snapshotsMeanwhile saves, reads, checks and deletes snapshots while others write.
func snapshotsMeanwhile(t *testing.T, im *Image, stop *atomic.Bool) {
	for i := 0; !stop.Load(); i++ {
		state := pattern(i, 5000)
		_, err := im.WriteVMState(state, 100)
		must2(t, err)
		s, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s", VMStateSize: 5100})
		must2(t, err)
		n, err := im.OpenSnapshot(s.ID)
		if err != nil {
			t.Error(err)
			return
		}
		first, second := make([]byte, n.Size()), make([]byte, n.Size())
		_, err = n.ReadAt(first, 0)
		must2(t, err)
		got := make([]byte, 5000)
		_, err = n.(blockdev.VMStateStore).ReadVMState(got, 100)
		must2(t, err)
		if !bytes.Equal(got, state) {
			t.Error("the snapshot's VM state differs")
		}
		_, err = im.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) { t.Error(f.Text) }})
		must2(t, err)
		_, err = n.ReadAt(second, 0)
		must2(t, err)
		if !bytes.Equal(first, second) {
			t.Error("a snapshot changed")
		}
		must2(t, n.Close())
		must2(t, im.DeleteSnapshot(s.ID))
	}
}
