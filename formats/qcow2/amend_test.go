package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// amend changes an image in options' words.
func amend(t testing.TB, im *Image, options blockdev.Options) error {
	t.Helper()
	v, err := amendOptionTable.Parse(options)
	if err != nil {
		t.Fatal(err)
	}
	return im.Amend(context.Background(), blockdev.AmendOptions{Values: v})
}

// amendments follow one another on one image.
var amendments = []blockdev.Options{
	{"refcount_bits": "64"}, {"refcount_bits": "8", "lazy_refcounts": "on"}, {"refcount_bits": "16", "compat": "v2", "lazy_refcounts": "off"},
	{"compat": "v3", "refcount_bits": "32"}, {"refcount_bits": "4"}, {"compat": "0.10", "refcount_bits": "16"}, {"compat": "1.1"},
}

// amendable is an image with data, zeroes of both kinds, and two snapshots that share them.
func amendable(t *testing.T, file blockdev.Node, backing *blocktest.Memory) *Image {
	t.Helper()
	ref := blockdev.Reference{}
	if backing != nil {
		ref = blockdev.Reference{Name: "base.raw", Format: "raw"}
	}
	createIn(t, file, 200<<10, blockdev.Options{"cluster_size": "1k"}, ref)
	im := openOver(t, file, backing)
	r := rand.New(rand.NewSource(3))
	for i := range 40 {
		off, n := int64(r.Intn(190))<<10, int64(r.Intn(8)+1)<<10
		var err error
		if i%3 == 0 {
			err = im.WriteZeroes(off, n, blockdev.ZeroFlags(i&1))
		} else {
			_, err = im.WriteAt(pattern(i, int(n)), off)
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 20 || i == 30 {
			if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	return im
}

// openOver opens an image for writing, over a backing file if there is one.
func openOver(t testing.TB, file blockdev.Node, backing *blocktest.Memory) *Image {
	t.Helper()
	im := open(t, file, writable)
	if backing != nil {
		im.SetBacking(backing)
	}
	return im
}

// contentsOf reads the disk and its snapshots.
func contentsOf(t testing.TB, im *Image) map[string][]byte {
	t.Helper()
	nodes := map[string]blockdev.Node{"": im}
	list, err := im.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if nodes[s.ID], err = im.OpenSnapshot(s.ID); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string][]byte{}
	for id, n := range nodes {
		b := make([]byte, n.Size())
		if _, err := n.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		out[id] = b
	}
	return out
}

func sameContents(t testing.TB, im *Image, want map[string][]byte) {
	t.Helper()
	for id, b := range contentsOf(t, im) {
		if string(b) != string(want[id]) {
			t.Fatalf("the contents of %q have changed", id)
		}
	}
}

func TestAmendKeepsContents(t *testing.T) {
	for _, backing := range []*blocktest.Memory{nil, blocktest.NewMemory(pattern(9, 150<<10))} {
		m := &blocktest.Memory{}
		im := amendable(t, m, backing)
		want := contentsOf(t, im)
		for _, o := range amendments {
			if err := amend(t, im, o); err != nil {
				t.Fatalf("%v: %v", o, err)
			}
			sameContents(t, im, want)
			checkClean(t, im)
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			im = openOver(t, m, backing)
			sameContents(t, im, want)
			if bits, ok := o["refcount_bits"]; ok && fmt.Sprint(1<<im.refWidth) != bits {
				t.Errorf("%v: refcounts of %d bits", o, 1<<im.refWidth)
			}
			if compat, ok := o["compat"]; ok && im.hdr.version != compatVersion(compat) {
				t.Errorf("%v: version %d", o, im.hdr.version)
			}
			t.Run(fmt.Sprint(o), func(t *testing.T) {
				peer.Need(t, "qemu-img")
				image := save(t, m)
				if backing != nil {
					if err := os.WriteFile(filepath.Join(filepath.Dir(image), "base.raw"), backing.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				peer.Run(t, "qemu-img", "check", image)
			})
		}
	}
}

func TestACrashWhileAmendingLeaksAtWorst(t *testing.T) {
	for i, backing := range []*blocktest.Memory{nil, blocktest.NewMemory(pattern(9, 150<<10))} {
		rec := blocktest.NewRecorder(nil)
		im := amendable(t, rec, backing)
		ready := rec.Position()
		want := contentsOf(t, im)
		for _, o := range amendments {
			if err := amend(t, im, o); err != nil {
				t.Fatalf("%v: %v", o, err)
			}
		}
		err := rec.Replay(blocktest.ReplayOptions{Seed: uint64(i), Subsets: 3}, func(file *blocktest.Memory, durable int) error {
			if durable < ready {
				return nil
			}
			im := openOver(t, file, backing)
			sameContents(t, im, want)
			res, err := im.Check(context.Background(), blockdev.CheckOptions{})
			if err == nil && res.Corruptions+res.CheckErrors > 0 {
				err = fmt.Errorf("check: %+v", res)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestAmendOfUncountedImage: new refcounts are not written where an image whose refcounts are
// all lost has its tables.
func TestAmendOfUncountedImage(t *testing.T) {
	p := patched{create(t, 1<<20, nil).Bytes()}
	block := p.data[p.refBlock():]
	clear(block[:min(len(block), 1<<defaultClusterBits)])
	m := p.file()
	if err := amend(t, open(t, m, writable), blockdev.Options{"refcount_bits": "8"}); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if n := len(p.data); !bytes.Equal(m.Bytes()[sectorSize:n], p.data[sectorSize:]) {
		t.Error("tables were overwritten")
	}
}
