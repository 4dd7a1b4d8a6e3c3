package vvfat_test

import (
	"bytes"
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/file"
	_ "github.com/qmon/qmon/blockdev/vvfat"
	"github.com/qmon/qmon/internal/peer"
)

const sectorSize = 512

// partition is where a hard disk's volume begins, in bytes.
const partition = 63 * sectorSize

// contents is a directory: what files hold, by their names with slashes. A directory's
// name ends in one.
type contents map[string]string

// make makes it below a new folder.
func (c contents) make(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range c {
		full := filepath.Join(dir, filepath.FromSlash(name))
		folder := filepath.Dir(full)
		if name[len(name)-1] == '/' {
			folder = full
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if folder == full {
			continue
		}
		if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readDir reads what is below dir.
func readDir(t testing.TB, dir string) contents {
	t.Helper()
	c := contents{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			c[filepath.ToSlash(rel)+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(path)
		c[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// openDisk opens a directory by a file name.
func openDisk(t testing.TB, name string, writable bool) *blockdev.Vertex {
	t.Helper()
	v, err := tryOpen(name, writable)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func tryOpen(name string, writable bool) (*blockdev.Vertex, error) {
	g := &blockdev.Graph{}
	return g.Open(context.Background(), name, blockdev.OpenOptions{Driver: "vvfat", Mode: blockdev.Mode{Writable: writable}})
}

func closeDisk(t testing.TB, v *blockdev.Vertex) {
	t.Helper()
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

// export writes the disk to a sparse file, going by its map.
func export(t testing.TB, n blockdev.Node) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(n.Size()); err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < n.Size(); {
		e, err := n.Map(off, min(n.Size()-off, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == blockdev.ExtentData {
			p := make([]byte, e.Len)
			if _, err := n.ReadAt(p, off); err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
		}
		off += e.Len
	}
	return f.Name()
}

// change is a sector that is to be written.
type change struct {
	off  int64
	data []byte
}

// changes are the sectors of the file that differ from the disk's.
func changes(t testing.TB, n blockdev.Node, file string) []change {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const piece = 1 << 20
	was, is := make([]byte, piece), make([]byte, piece)
	var out []change
	for off := int64(0); off < n.Size(); off += piece {
		k := min(piece, n.Size()-off)
		if _, err := n.ReadAt(was[:k], off); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(is[:k], off); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(was[:k], is[:k]) {
			continue
		}
		for s := int64(0); s < k; s += sectorSize {
			if a := is[s : s+sectorSize]; !bytes.Equal(a, was[s:s+sectorSize]) {
				out = append(out, change{off + s, bytes.Clone(a)})
			}
		}
	}
	return out
}

// importAll writes what is different in the file to the disk, in any order, and flushes.
func importAll(t testing.TB, n blockdev.Node, file string) {
	t.Helper()
	list := changes(t, n, file)
	rand.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
	for _, c := range list {
		if _, err := n.WriteAt(c.data, c.off); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
}

// mtools runs one of the mtools on the volume that begins at offset of the file.
func mtools(t testing.TB, file string, offset int64, args ...string) string {
	t.Helper()
	peer.Need(t, args[0])
	image := file + "@@" + strconv.FormatInt(offset, 10)
	cmd := exec.Command(args[0], append([]string{"-i", image}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

// copyOut copies everything out of the volume with mcopy.
func copyOut(t testing.TB, file string, offset int64) contents {
	t.Helper()
	dir := t.TempDir()
	mtools(t, file, offset, "mcopy", "-n", "-s", "::", dir)
	return readDir(t, dir)
}

// fsck checks the volume with fsck.fat, which must find nothing.
func fsck(t testing.TB, file string, offset int64) {
	t.Helper()
	peer.Need(t, "fsck.fat")
	if offset > 0 {
		volume := filepath.Join(t.TempDir(), "volume.raw")
		peer.Run(t, "dd", "if="+file, "of="+volume, "bs="+strconv.Itoa(partition), "skip=1", "conv=sparse", "status=none")
		file = volume
	}
	if out, err := exec.Command("fsck.fat", "-n", file).CombinedOutput(); err != nil {
		t.Errorf("fsck.fat: %v\n%s", err, out)
	}
}
