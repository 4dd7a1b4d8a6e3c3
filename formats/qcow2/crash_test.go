package qcow2

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// recorder is a file in memory that keeps a log of its writes and flushes.
type recorder struct {
	memory
	log []logEntry
}

type logEntry struct {
	flush bool
	off   int64
	data  []byte
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.log = append(r.log, logEntry{off: off, data: bytes.Clone(p)})
	return r.memory.WriteAt(p, off)
}

// Discard punches a hole: what was there is lost at once, or later.
func (r *recorder) Discard(off, n int64) error {
	if n = min(n, r.Size()-off); n <= 0 {
		return nil
	}
	_, err := r.WriteAt(make([]byte, n), off)
	return err
}

func (r *recorder) Flush() error {
	r.log = append(r.log, logEntry{flush: true})
	return nil
}

// crashState is what the file may hold after a crash: all that was flushed, and of what
// followed any sectors in any order.
func crashState(flushed []byte, after []logEntry, r *rand.Rand) *memory {
	m := &memory{data: bytes.Clone(flushed)}
	keep := r.Float64()
	for _, i := range r.Perm(len(after)) {
		e := after[i]
		for off := int64(0); off < int64(len(e.data)); {
			n := min(sectorSize-(e.off+off)%sectorSize, int64(len(e.data))-off)
			if r.Float64() < keep {
				_, _ = m.WriteAt(e.data[off:off+n], e.off+off)
			}
			off += n
		}
	}
	return m
}

// moment is the model after an operation, and how long the log was then.
type moment struct {
	log       int
	data      []byte
	snapshots map[string][]byte
	flushed   bool // the operation made everything durable
}

// crashMode is a kind of image to crash.
type crashMode struct {
	version int
	lazy    string
	// large images with wide refcounts outgrow their refcount blocks and refcount table.
	large bool
}

// history runs random operations on an image and notes every moment.
func history(t *testing.T, r *rand.Rand, mode crashMode) (*recorder, []moment) {
	cluster := 512 << r.Intn(3)
	size := (20 + r.Intn(60)) * sectorSize
	steps := 30
	options := blockdev.Options{"compat": fmt.Sprintf("v%d", mode.version), "lazy_refcounts": mode.lazy}
	reach := 6 * cluster
	if mode.large {
		cluster, size, steps, reach = 512, 2<<20, 8, 1<<20
		options["refcount_bits"] = "64"
	}
	options["cluster_size"] = fmt.Sprint(cluster)
	rec := &recorder{}
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
		m := moment{len(rec.log), bytes.Clone(now.data), map[string][]byte{}, now.flushed}
		for k, v := range now.snapshots {
			m.snapshots[k] = v
		}
		list = append(list, m)
		now.flushed = false
	}
	note(nil)
	for range steps {
		note(crashStep(r, im, &now, cluster, reach, mode.version))
	}
	return rec, list
}

// crashStep does a random operation to the image and its model.
func crashStep(r *rand.Rand, im *Image, now *moment, cluster, reach, version int) error {
	size := len(now.data)
	off := r.Intn(size)
	n := r.Intn(min(size-off, reach)) + 1
	var ids []string
	for id := range now.snapshots {
		ids = append(ids, id)
	}
	switch k := r.Intn(20); {
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

func TestACrashLeaksAtWorst(t *testing.T) {
	for _, mode := range []crashMode{{version: 2, lazy: "off"}, {version: 3, lazy: "off"}, {version: 3, lazy: "on"}, {3, "off", true}, {3, "on", true}} {
		seeds, crashes := 20, 3
		if mode.large {
			seeds, crashes = 2, 3
		}
		for seed := range seeds {
			t.Run(fmt.Sprintf("v%d lazy %s large %v seed %d", mode.version, mode.lazy, mode.large, seed), func(t *testing.T) {
				r := rand.New(rand.NewSource(int64(seed)))
				rec, list := history(t, r, mode)
				flushed := &memory{}
				for start := 0; start < len(rec.log); {
					next := start
					for next < len(rec.log) && !rec.log[next].flush {
						next++
					}
					for range crashes {
						if start >= list[0].log {
							m := crashState(flushed.data, rec.log[start:next], r)
							verifyCrash(t, m, list, start, next, mode.version)
						}
						if t.Failed() {
							t.Fatalf("crash between %d and %d of %d", start, next, len(rec.log))
						}
					}
					for _, e := range rec.log[start:next] {
						_, _ = flushed.WriteAt(e.data, e.off)
					}
					start = next + 1
				}
			})
		}
	}
}

// verifyCrash opens what a crash left between two places in the log.
func verifyCrash(t *testing.T, m *memory, list []moment, from, to, version int) {
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
	// Moments from the last one that was durable to the one in progress.
	first, last := 0, len(list)-1
	for i, mo := range list {
		if mo.flushed && mo.log <= from {
			first = i
		}
		if mo.log >= to && i < last {
			last = i
		}
	}
	verifyContents(t, im, list[first:last+1])
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
