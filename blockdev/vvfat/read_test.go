package vvfat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/formats/all"
	"github.com/qmon/qmon/internal/peer"
)

// mixed has names and sizes of all kinds that mtools can bring back.
var mixed = contents{
	"hello.txt": "hello\n", "README": "read me", "empty": "",
	"Long File Name.text":   "long",
	"sub/":                  "",
	"sub/A.TXT":             "a",
	"sub/deep/":             "",
	"sub/deep/big.bin":      strings.Repeat("0123456789abcdef", 40000),
	"sub/deep/cluster.bin":  strings.Repeat("x", 8192),
	"Ünï ≠ dir/":            "",
	"Ünï ≠ dir/日本語.txt":     "nihongo",
	"nothing in it/":        "",
	"many dots.in.its.name": "dots",
}

// kinds are the ways to open a directory, and where the volume begins.
var kinds = []struct {
	prefix string
	offset int64
}{{"", partition}, {"12:", partition}, {"16:", partition}, {"32:", partition},
	{"floppy:", 0}, {"floppy:12:", 0}, {"floppy:16:", 0}}

func TestMtoolsAndFsckAgree(t *testing.T) {
	peer.Need(t, "mcopy", "fsck.fat")
	dir := mixed.make(t)
	for _, k := range kinds {
		t.Run(k.prefix, func(t *testing.T) {
			v := openDisk(t, "fat:"+k.prefix+dir, false)
			defer closeDisk(t, v)
			file := export(t, v.Node)
			fsck(t, file, k.offset)
			if d := cmp.Diff(mixed, copyOut(t, file, k.offset)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSameDiskAsQEMU(t *testing.T) {
	peer.Need(t, "qemu-img", "mcopy")
	dir := mixed.make(t)
	for _, k := range kinds[:3] {
		t.Run(k.prefix, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "qemu.raw")
			peer.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", "fat:"+k.prefix+dir, file)
			theirs, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			v := openDisk(t, "fat:"+k.prefix+dir, false)
			defer closeDisk(t, v)
			if v.Node.Size() != int64(len(theirs)) {
				t.Fatalf("%d bytes, QEMU's has %d", v.Node.Size(), len(theirs))
			}
			ours := make([]byte, partition+62)
			if _, err := v.Node.ReadAt(ours, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ours[:partition], theirs[:partition]) {
				t.Error("the first track differs")
			}
			if got, want := ours[partition+11:], theirs[partition+11:partition+62]; !bytes.Equal(got, want) && k.prefix != "12:" {
				t.Errorf("parameter block and label\n% x\nQEMU's\n% x", got, want)
			}
			long := copyOut(t, file, partition)
			for name, data := range mixed {
				if got, ok := long[name]; ok && got != data {
					t.Errorf("%s differs", name)
				}
			}
		})
	}
}

func TestForbiddenNamesAreReported(t *testing.T) {
	dir := contents{"a:b": "1", "dot.": "2", "same": "3", "SAME": "4", "fine": "5"}.make(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Skip(err)
	}
	v := openDisk(t, "fat:"+dir, false)
	defer closeDisk(t, v)
	info, err := v.Node.(blockdev.Informer).Info()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(info.Specific)
	for _, want := range []string{`a:b is called "a\uf03ab"`, `dot. is called "dot\uf02e"`, `same is called "same\uf100"`, "out left out"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "fine") {
		t.Errorf("an ordinary name in %s", text)
	}
}

func TestHostChangeIsAnErrorThatNamesTheFile(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"longer": func(file string) error { return os.WriteFile(file, []byte("longer than it was"), 0o644) },
		"touched": func(file string) error {
			return os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour))
		},
		"gone": os.Remove,
		"link": func(file string) error { return errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := contents{"a.txt": "was", "b.txt": "other"}.make(t)
			v := openDisk(t, "fat:floppy:"+dir, false)
			defer closeDisk(t, v)
			if err := v.Verify(); err != nil {
				t.Error(err)
			}
			if err := change(filepath.Join(dir, "a.txt")); err != nil {
				t.Fatal(err)
			}
			all := make([]byte, v.Node.Size())
			_, err := v.Node.ReadAt(all, 0)
			if err == nil || !strings.Contains(err.Error(), "a.txt") {
				t.Errorf("reading everything: %v", err)
			}
			if err := v.Verify(); err == nil || !strings.Contains(err.Error(), "a.txt") {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir := contents{"big": ""}.make(t)
	if err := os.Truncate(filepath.Join(dir, "big"), 600<<20); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	for name, want := range map[string]string{
		"fat:" + none:             "Could not read directory " + none + ": No such file or directory",
		"fat:floppy:" + dir:       "Directory does not fit in FAT12 (capacity 2.88 MB)",
		"fat:floppy:32:" + dir:    "A floppy is too small to be FAT32",
		"fat:12:" + dir:           "Directory does not fit in FAT12 (capacity 128.99 MB)",
		`json:{"driver":"vvfat"}`: "vvfat block driver requires a 'dir' option",
		`json:{"driver":"vvfat","dir":"/","fat-type":17}`:          "Valid FAT types are only 12, 16 and 32",
		`json:{"driver":"vvfat","dir":"/","label":"abcdefghijkl"}`: "vvfat label cannot be longer than 11 bytes",
	} {
		g := &blockdev.Graph{}
		v, err := g.Open(context.Background(), name, blockdev.OpenOptions{Driver: driverOf(name)})
		if err == nil {
			closeDisk(t, v)
		}
		if got := blockdev.Message(err); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func driverOf(name string) string {
	if strings.HasPrefix(name, "json:") {
		return ""
	}
	return "vvfat"
}

func TestReadOnlyUnlessAskedFor(t *testing.T) {
	dir := contents{"a": "a"}.make(t)
	if _, err := tryOpen("fat:"+dir, true); !errors.Is(err, blockdev.ErrReadOnly) || blockdev.Message(err) != "Image is read-only" {
		t.Errorf("writing without rw: %v", err)
	}
	v := openDisk(t, "fat:rw:"+dir, false)
	defer closeDisk(t, v)
	if _, err := v.Node.WriteAt(make([]byte, 512), 0); blockdev.Message(err) != "Block node is read-only" {
		t.Errorf("write: %v", err)
	}
}

func TestNameShownAsQEMUDoes(t *testing.T) {
	dir := contents{"a": "a"}.make(t)
	g := &blockdev.Graph{}
	v, err := g.Open(context.Background(), "fat:"+dir, blockdev.OpenOptions{Driver: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDisk(t, v)
	want := `json:{"driver": "raw", "file": {"fat-type": 0, "dir": "` + dir + `", "driver": "vvfat", "floppy": false, "rw": false}}`
	if v.Filename != want {
		t.Errorf("%s\nwant %s", v.Filename, want)
	}
}

func TestAnyRangeReadsTheSame(t *testing.T) {
	dir := mixed.make(t)
	v := openDisk(t, "fat:floppy:"+dir, false)
	defer closeDisk(t, v)
	all := make([]byte, v.Node.Size())
	if _, err := v.Node.ReadAt(all, 0); err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < 300000; off += 7919 {
		for _, k := range []int64{1, 511, 512, 513, 40000} {
			p := make([]byte, k)
			if _, err := v.Node.ReadAt(p, off); err != nil || !bytes.Equal(p, all[off:off+k]) {
				t.Fatalf("%d bytes at %d: %v", k, off, err)
			}
		}
	}
}

// TestManyFiles opens 50 GiB in 20,000 files, which is a FAT32 disk and little memory.
func TestManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 20,000 files")
	}
	dir := t.TempDir()
	const folders, files, size = 20, 1000, 2560 << 10
	for i := range folders {
		sub := filepath.Join(dir, fmt.Sprintf("folder %02d", i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for k := range files {
			f, err := os.Create(filepath.Join(sub, fmt.Sprintf("file number %d.data", k)))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := heap()
	start := time.Now()
	v := openDisk(t, "fat:"+dir, false)
	defer closeDisk(t, v)
	t.Logf("open takes %v; the disk has %d MiB", time.Since(start), v.Node.Size()>>20)
	if v.Node.Size() < folders*files*size {
		t.Errorf("the disk has %d bytes", v.Node.Size())
	}
	const perFile = 100 // bytes: a node, its name, and what growing slices leave unused
	if after := heap(); after > before+folders*files*perFile {
		t.Errorf("the tree takes %d bytes", after-before)
	}
	last := make([]byte, 1<<20)
	if _, err := v.Node.ReadAt(last, v.Node.Size()-1<<20); err != nil {
		t.Error(err)
	}
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
