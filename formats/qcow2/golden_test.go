package qcow2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// golden are images that QEMU's tools made: testdata/qcow2/make.sh says how.
const golden = "../../testdata/qcow2"

func loadGolden(t testing.TB, name string) *blocktest.Memory {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(golden, name))
	if err != nil {
		t.Fatal(err)
	}
	return blocktest.NewMemory(b)
}

// openGolden opens a golden image, with its backing file.
func openGolden(t testing.TB, name string, mode blockdev.Mode) *Image {
	t.Helper()
	im := open(t, loadGolden(t, name), mode)
	if ref := im.BackingReference(); ref.Name != "" {
		im.SetBacking(loadGolden(t, ref.Name))
	}
	return im
}

func sum(t testing.TB, n blockdev.Node) string {
	t.Helper()
	b := make([]byte, n.Size())
	if _, err := n.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// eachGolden calls f with each line of contents.txt: checksum, image, and perhaps the ID
// and name of a snapshot.
func eachGolden(t *testing.T, f func(t *testing.T, sum, image string, snapshot []string)) {
	list, err := os.ReadFile(filepath.Join(golden, "contents.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		w := strings.Fields(line)
		t.Run(strings.Join(w[1:], " "), func(t *testing.T) { f(t, w[0], w[1], w[2:]) })
	}
}

func TestImagesMadeByQEMUReadTheSame(t *testing.T) {
	eachGolden(t, func(t *testing.T, want, image string, snapshot []string) {
		im := openGolden(t, image, blockdev.Mode{})
		var n blockdev.Node = im
		if len(snapshot) > 0 {
			var err error
			if n, err = im.OpenSnapshot(snapshot[0]); err != nil {
				t.Fatal(err)
			}
		}
		if got := sum(t, n); got != want {
			t.Errorf("checksum %s, want %s", got, want)
		}
		// The engine of the block layer reads through Map.
		b := make([]byte, n.Size())
		if _, err := blockdev.Read(n, b, 0); err != nil {
			t.Fatal(err)
		}
		if s := sha256.Sum256(b); hex.EncodeToString(s[:]) != want {
			t.Error("reading through Map gives other contents")
		}
	})
}

func TestImagesMadeByQEMUAreClean(t *testing.T) {
	eachGolden(t, func(t *testing.T, _, image string, _ []string) {
		if image == "dirty.qcow2" {
			t.Skip("not closed: its refcounts are not there yet")
		}
		checkClean(t, openGolden(t, image, blockdev.Mode{}))
	})
}

func TestADirtyImageIsRebuilt(t *testing.T) {
	m := loadGolden(t, "dirty.qcow2")
	im := open(t, m, blockdev.Mode{})
	info, err := im.Info()
	if err != nil || !info.DirtyFlag {
		t.Fatalf("dirty flag %v, %v", info.DirtyFlag, err)
	}
	want := sum(t, im)
	im = open(t, m, writable)
	checkClean(t, im)
	if sum(t, im) != want {
		t.Error("rebuilding changed the contents")
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	im = open(t, m, blockdev.Mode{})
	if info, err = im.Info(); err != nil || info.DirtyFlag {
		t.Errorf("after closing: dirty flag %v, %v", info.DirtyFlag, err)
	}
	checkClean(t, im)
}

func TestSnapshotsMadeByQEMUAreListed(t *testing.T) {
	im := openGolden(t, "v2-512-snapshots.qcow2", blockdev.Mode{})
	list, err := im.Snapshots()
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	s := list[1]
	if s.ID != "2" || s.Name != "second" || s.DiskSize != 200<<10 || s.VMStateSize != 0 || s.ICount != 0 {
		t.Errorf("%+v", s)
	}
	for _, s := range list {
		n, err := im.SnapshotExclusive(s.ID)
		if err != nil || n <= 0 || n > 50<<10 {
			t.Errorf("snapshot %s alone holds %d bytes, %v", s.ID, n, err)
		}
	}
}

func TestInfoHasQEMUsFields(t *testing.T) {
	for image, want := range map[string]string{
		"v3-default.qcow2":       "[{compat 1.1} {compression-type zlib} {lazy-refcounts false} {refcount-bits 16} {corrupt false} {extended-l2 false}]",
		"v3-64k-zstd.qcow2":      "[{compat 1.1} {compression-type zstd} {lazy-refcounts false} {refcount-bits 16} {corrupt false} {extended-l2 false}]",
		"v2-512-snapshots.qcow2": "[{compat 0.10} {compression-type zlib} {refcount-bits 16}]",
	} {
		info, err := openGolden(t, image, blockdev.Mode{}).Info()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(fmt.Sprint(info.Specific)); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func TestLeaksAreRepairedOnRequest(t *testing.T) {
	m := loadGolden(t, "v3-default.qcow2")
	im := open(t, m, writable)
	var run clusterRun
	err := im.exclusive(func() (err error) { run, err = im.allocate("", 3, true); return err })
	if err != nil {
		t.Fatal(err)
	}
	// Clusters count only if the file has them.
	if _, err := m.WriteAt([]byte{1}, run.end()<<im.clusterBits-1); err != nil {
		t.Fatal(err)
	}
	res, err := im.Check(context.Background(), blockdev.CheckOptions{})
	if err != nil || res.Leaks != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	res, err = im.Check(context.Background(), blockdev.CheckOptions{RepairLeaks: true})
	if err != nil || res.Leaks != 0 || res.LeaksFixed != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	checkClean(t, im)
}
