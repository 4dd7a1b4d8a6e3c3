package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// flushes is a recorder that knows where in its log the last flush is.
type flushes struct {
	*blocktest.Recorder
	last int
}

func (f *flushes) Flush() error {
	err := f.Recorder.Flush()
	f.last = f.Position()
	return err
}

// moment is the model after an operation, and where the last flush was then.
type moment struct {
	log       int
	data      []byte
	snapshots map[string][]byte
	flushed   bool // the operation made everything durable
}

// crashMode is a kind of image to crash.
type crashMode struct {
	version  int
	lazy     string
	extended bool
}

// history runs random operations on an image and notes every moment.
func history(t *testing.T, r *rand.Rand, mode crashMode) (*flushes, []moment) {
	cluster := 512 << r.Intn(3)
	size := (20 + r.Intn(60)) * sectorSize
	options := blockdev.Options{"compat": fmt.Sprintf("v%d", mode.version), "lazy_refcounts": mode.lazy}
	if mode.extended {
		cluster = 1 << minExtendedClusterBits
		size += 8 * cluster
		options["extended_l2"] = "on"
	}
	options["cluster_size"] = fmt.Sprint(cluster)
	rec := &flushes{Recorder: blocktest.NewRecorder(nil)}
	createIn(t, rec, int64(size), options, blockdev.Reference{})
	im := open(t, rec, writable)
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	now := moment{data: make([]byte, size), snapshots: map[string][]byte{}, flushed: true}
	list := []moment{}
	note := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
		m := moment{rec.last, bytes.Clone(now.data), map[string][]byte{}, now.flushed}
		for k, v := range now.snapshots {
			m.snapshots[k] = v
		}
		list = append(list, m)
		now.flushed = false
	}
	note(nil)
	for range 30 {
		note(crashStep(r, im, &now, cluster, mode.version))
	}
	return rec, list
}

// crashStep does a random operation to the image and its model.
func crashStep(r *rand.Rand, im *Image, now *moment, cluster, version int) error {
	size := len(now.data)
	off := r.Intn(size)
	n := r.Intn(min(size-off, 6*cluster)) + 1
	var ids []string
	for id := range now.snapshots {
		ids = append(ids, id)
	}
	switch k := r.Intn(20); {
	case k < 2:
		at := int64(off / cluster * cluster)
		if e, err := im.entryAt(at); err != nil || e.compressed() || im.stored(e) {
			return err
		}
		p := compressible(r.Int(), min(cluster, size-int(at)))
		copy(now.data[at:], p)
		return im.WriteCompressed(p, at)
	case k < 8:
		p := pattern(r.Int(), n)
		copy(now.data[off:], p)
		_, err := im.WriteAt(p, int64(off))
		return err
	case k < 10:
		clear(now.data[off : off+n])
		return im.WriteZeroes(int64(off), int64(n), blockdev.ZeroFlags(r.Intn(2)))
	case k < 12:
		start := (off + cluster - 1) / cluster * cluster
		end := (off + n) / cluster * cluster
		if start >= end {
			return nil
		}
		clear(now.data[start:end])
		return im.Discard(int64(start), int64(end-start))
	case k < 14 || len(ids) == 0 && k > 15:
		now.flushed = true
		return im.Flush()
	case k < 16:
		now.flushed = true
		s, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"})
		now.snapshots[s.ID] = bytes.Clone(now.data)
		return err
	case k < 17:
		now.flushed = true
		id := ids[r.Intn(len(ids))]
		now.data = bytes.Clone(now.snapshots[id])
		return im.ApplySnapshot(id)
	case k < 18:
		now.flushed = true
		id := ids[r.Intn(len(ids))]
		delete(now.snapshots, id)
		return im.DeleteSnapshot(id)
	case version == 2 && len(ids) > 0:
		return nil
	}
	now.flushed = true
	size += r.Intn(40) * sectorSize
	now.data = append(now.data, make([]byte, size-len(now.data))...)
	return im.Resize(int64(size), blockdev.ResizeOptions{})
}

// seeds is how many random histories are tried: few with -short, as the race detector is
// used, for which one is as good as another.
func seeds(n int) int {
	if testing.Short() {
		return 1
	}
	return n
}

func TestACrashLeaksAtWorst(t *testing.T) {
	for _, mode := range []crashMode{{2, "off", false}, {3, "off", false}, {3, "on", false}, {3, "off", true}, {3, "on", true}} {
		for seed := range seeds(10) {
			t.Run(fmt.Sprintf("%+v %d", mode, seed), func(t *testing.T) {
				r := rand.New(rand.NewSource(int64(seed)))
				rec, list := history(t, r, mode)
				err := rec.Replay(blocktest.ReplayOptions{Seed: uint64(seed)}, func(file *blocktest.Memory, durable int) error {
					if durable >= list[0].log {
						verifyCrash(t, file, list, durable, mode.version)
					}
					if t.Failed() {
						return errors.New("not what it should be")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestACrashWhileTheBackingFileChanges leaves the old name or the new one.
func TestACrashWhileTheBackingFileChanges(t *testing.T) {
	rec := &flushes{Recorder: blocktest.NewRecorder(nil)}
	createIn(t, rec, 1<<20, nil, blockdev.Reference{Name: "first name", Format: "raw"})
	im := open(t, rec, writable)
	type step struct {
		durable int
		ref     string
	}
	steps := []step{{rec.Position(), "first name raw"}}
	for _, ref := range []blockdev.Reference{{Name: "second"}, {Name: strings.Repeat("third", 150), Format: "qcow2"}, {}, {Name: "4", Format: "raw"}} {
		if err := im.ChangeBackingReference(ref.Name, ref.Format); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step{rec.last, ref.Name + " " + ref.Format})
	}
	err := rec.Replay(blocktest.ReplayOptions{Subsets: 30}, func(file *blocktest.Memory, durable int) error {
		i := len(steps) - 1
		for i > 0 && steps[i].durable > durable {
			i--
		}
		if durable < steps[0].durable {
			return nil
		}
		im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: file})
		if err != nil {
			return err
		}
		got := im.hdr.backingName + " " + im.hdr.backingFormat()
		if got != steps[i].ref && (i+1 == len(steps) || got != steps[i+1].ref) {
			return fmt.Errorf("backing file %q after %q", got, steps[i].ref)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestACrashWhileRefcountsGrow is about images that outgrow their refcount blocks and,
// twice, their refcount table.
func TestACrashWhileRefcountsGrow(t *testing.T) {
	for _, lazy := range []string{"off", "on"} {
		const size = 5 << 20
		rec := blocktest.NewRecorder(nil)
		createIn(t, rec, size, blockdev.Options{"cluster_size": "512", "refcount_bits": "64", "lazy_refcounts": lazy}, blockdev.Reference{})
		im := open(t, rec, writable)
		for off := int64(0); off < size; off += 1 << 20 {
			if err := im.WriteZeroes(off, 1<<20, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := im.WriteAt(pattern(1, 400<<10), off); err != nil {
				t.Fatal(err)
			}
			if err := im.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if im.hdr.refTableClusters < 2 {
			t.Fatalf("the refcount table has %d clusters", im.hdr.refTableClusters)
		}
		created := false
		err := rec.Replay(blocktest.ReplayOptions{Subsets: 20}, func(file *blocktest.Memory, durable int) error {
			created = created || durable > 0 && file.Size() > 64<<10
			if !created {
				return nil
			}
			im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: file})
			if err == nil && im.hdr.incompatible&incompatDirty != 0 {
				return nil // the other test rebuilds such images
			}
			if err != nil {
				return err
			}
			var found error
			_, err = im.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) {
				if f.Kind != blockdev.FindingLeak {
					found = errors.New(f.Text)
				}
			}})
			return errors.Join(err, found)
		})
		if err != nil {
			t.Errorf("lazy refcounts %s: %v", lazy, err)
		}
	}
}

// verifyCrash opens what a crash left, of which the first durable operations are certain.
func verifyCrash(t *testing.T, m *blocktest.Memory, list []moment, durable, version int) {
	t.Helper()
	im := open(t, m, blockdev.Mode{})
	if im.hdr.incompatible&incompatDirty != 0 {
		im = open(t, m, writable)
	}
	_, err := im.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) {
		// Version 2 has no dirty bit: a snapshot operation that is cut off leaves copied
		// flags that cost a needless copy, or, set on a leaked cluster, nothing.
		if f.Kind != blockdev.FindingLeak && (version == 3 || !strings.Contains(f.Text, "OFLAG_COPIED")) {
			t.Error(f.Text)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	// From the last moment that is certain to the next one that flushed: the crash was
	// before its end.
	first, last := 0, len(list)-1
	for i, mo := range list {
		if mo.flushed && mo.log <= durable {
			first = i
		}
		if mo.flushed && mo.log > durable && i < last {
			last = i
		}
	}
	verifyContents(t, im, list[first:last+1])
	if version == 2 {
		verifyFlagsDoNoHarm(t, m)
	}
}

// verifyFlagsDoNoHarm: no copied flag lets a write reach what a snapshot refers to.
func verifyFlagsDoNoHarm(t *testing.T, m *blocktest.Memory) {
	t.Helper()
	im := open(t, m.Clone(), writable)
	snaps, err := im.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	contents := func() [][]byte {
		var out [][]byte
		for _, s := range snaps {
			n, err := im.OpenSnapshot(s.ID)
			if err != nil {
				t.Fatal(err)
			}
			p := make([]byte, n.Size())
			if _, err := n.ReadAt(p, 0); err != nil {
				t.Fatal(err)
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			out = append(out, p)
		}
		return out
	}
	before := contents()
	if _, err := im.WriteAt(bytes.Repeat([]byte{0xa5}, int(im.Size())), 0); err != nil {
		t.Fatal(err)
	}
	for i, p := range contents() {
		if !bytes.Equal(p, before[i]) {
			t.Errorf("a write changed snapshot %s", snaps[i].ID)
		}
	}
}

// verifyContents: every byte has a value that it had in one of the moments, and the
// snapshots are those of one of them.
func verifyContents(t *testing.T, im *Image, possible []moment) {
	t.Helper()
	got := make([]byte, im.Size())
	if _, err := im.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		ok := i >= len(possible[0].data) && b == 0
		for _, m := range possible {
			ok = ok || i < len(m.data) && m.data[i] == b
		}
		if !ok {
			t.Fatalf("byte %#x is %#x, which it never was since the last flush", i, b)
		}
	}
	snaps, err := im.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range possible {
		if len(m.snapshots) != len(snaps) {
			continue
		}
		ok := true
		for _, s := range snaps {
			want, known := m.snapshots[s.ID]
			if ok = known; !ok {
				break
			}
			n, err := im.OpenSnapshot(s.ID)
			if err != nil {
				t.Fatal(err)
			}
			compareWith(t, n, want)
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if ok {
			return
		}
	}
	t.Fatalf("snapshots %v are not those of any moment since the last flush", snaps)
}
