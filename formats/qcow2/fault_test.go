package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// faultyOps fail; that a discard, a hint, fails nobody notices.
const faultyOps = blocktest.OpAny &^ blocktest.OpDiscard

// faultMode is a kind of image, and of fault: a single one, or one after the other until
// the operation has failed.
type faultMode struct {
	version int
	outage  bool
}

// TestAFaultLeavesAUsableImage lets each request to the file fail in turn, during the same
// sequence of operations.
func TestAFaultLeavesAUsableImage(t *testing.T) {
	for _, mode := range []faultMode{{2, false}, {3, false}, {2, true}, {3, true}} {
		for seed := range seeds(2) {
			t.Run(fmt.Sprintf("%+v %d", mode, seed), func(t *testing.T) {
				for fail, again := 1, true; again; fail++ {
					again = runWithFault(t, mode, int64(seed), fail)
					if t.Failed() {
						t.Fatalf("request %d failed", fail)
					}
				}
			})
		}
	}
}

// runWithFault tells if the fault happened.
func runWithFault(t *testing.T, mode faultMode, seed int64, fail int) bool {
	version := mode.version
	r := rand.New(rand.NewSource(seed))
	file := &blocktest.Memory{}
	f := blocktest.NewFaulty(file)
	const size, cluster = 40 * sectorSize, 1024
	createIn(t, f, size, blockdev.Options{"compat": fmt.Sprintf("v%d", version), "cluster_size": fmt.Sprint(cluster)}, blockdev.Reference{})
	// A tiny cache, so that tables are read again.
	im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: f, Mode: writable,
		Options: blockdev.Values{"l2-cache-size": int64(0), "refcount-cache-size": int64(0)}})
	if err != nil {
		t.Fatal(err)
	}
	now := moment{data: make([]byte, size), snapshots: map[string][]byte{}}
	f.Inject(blocktest.Fault{Op: faultyOps, Nth: fail, Forever: mode.outage})
	start := f.Count(faultyOps)
	happened := false
	for range 25 {
		before := moment{data: bytes.Clone(now.data), snapshots: map[string][]byte{}}
		for k, v := range now.snapshots {
			before.snapshots[k] = v
		}
		err := crashStep(r, im, &now, cluster, version)
		if err == nil {
			continue
		}
		if happened || !errors.Is(err, syscall.EIO) {
			t.Error(err)
			return true
		}
		happened = true
		f.Clear()
		delete(now.snapshots, "")
		verifyContents(t, im, []moment{before, now})
		// Go on from what is there.
		now.data = make([]byte, im.Size())
		if _, err := im.ReadAt(now.data, 0); err != nil {
			t.Error(err)
		}
		settleSnapshots(t, im, &now, before)
	}
	if err := im.Close(); err != nil && !errors.Is(err, syscall.EIO) {
		t.Error(err)
	} else if err != nil {
		f.Clear()
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	}
	im = open(t, file, blockdev.Mode{})
	verifyContents(t, im, []moment{now})
	_, err = im.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) {
		if f.Kind != blockdev.FindingLeak {
			t.Error(f.Text)
		}
	}})
	if err != nil {
		t.Error(err)
	}
	return f.Count(faultyOps)-start >= fail
}

// settleSnapshots makes the model's snapshots those that the image has after a failure.
func settleSnapshots(t *testing.T, im *Image, now *moment, before moment) {
	snaps, err := im.Snapshots()
	if err != nil {
		t.Error(err)
		return
	}
	all := now.snapshots
	now.snapshots = map[string][]byte{}
	for _, s := range snaps {
		if now.snapshots[s.ID] = before.snapshots[s.ID]; now.snapshots[s.ID] == nil {
			now.snapshots[s.ID] = all[s.ID]
		}
	}
}

// TestRefcountTableGrowsDuringACommit: the place that a commit is writing the table to is freed
// once, when the table has moved on, and be it that the commit fails.
func TestRefcountTableGrowsDuringACommit(t *testing.T) {
	for _, failure := range []error{nil, syscall.EIO} {
		m := create(t, 1<<20, blockdev.Options{"cluster_size": "512", "refcount_bits": "64"})
		im := open(t, m, writable)
		grow := func() {
			t.Helper()
			per := im.clusterSize / 8 << im.refBlockBits // clusters that a cluster of the table covers
			run := clusterRun{int64(len(im.refs.entries))*8/im.clusterSize*per + 1, 1}
			if err := im.takeClusters(run); err != nil {
				t.Fatal(err)
			}
			im.giveBack(run)
		}
		grow()
		w := im.collect()
		grow()
		err := failure
		if err == nil {
			err = im.run(w)
		}
		if err := im.finish(w, err); !errors.Is(err, failure) {
			t.Fatal(err)
		}
		if err := im.commitAll(); err != nil {
			t.Error(err)
		}
		im.freeHint = 0
		if _, err := im.WriteAt(pattern(1, 1<<20), 0); err != nil {
			t.Fatal(err)
		}
		if err := im.Flush(); err != nil {
			t.Error(err)
		}
		checkClean(t, im)
	}
}
