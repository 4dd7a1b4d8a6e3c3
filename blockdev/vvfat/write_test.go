package vvfat_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
)

// guest edits a disk with mtools: on a copy, from which what changed is then written to
// the disk.
type guest struct {
	t      *testing.T
	disk   *blockdev.Vertex
	dir    string
	file   string // the copy
	offset int64
}

func newGuest(t *testing.T, prefix string, offset int64, c contents) *guest {
	t.Helper()
	return newGuestOf(t, prefix, offset, c, func(t testing.TB, name string) *blockdev.Vertex { return openDisk(t, name, true) })
}

// newGuestOf has the disk that open makes of the file name.
func newGuestOf(t *testing.T, prefix string, offset int64, c contents, open func(t testing.TB, name string) *blockdev.Vertex) *guest {
	t.Helper()
	peer.Need(t, "mcopy", "mren", "mdel", "mmd", "fsck.fat")
	g := &guest{t: t, dir: c.make(t), offset: offset}
	g.disk = open(t, "fat:rw:"+prefix+g.dir)
	g.file = export(t, g.disk.Node)
	return g
}

func (g *guest) run(args ...string) { g.t.Helper(); mtools(g.t, g.file, g.offset, args...) }

// put writes a file in the guest.
func (g *guest) put(name, data string) {
	g.t.Helper()
	src := filepath.Join(g.t.TempDir(), "src")
	if err := os.WriteFile(src, []byte(data), 0o644); err != nil {
		g.t.Fatal(err)
	}
	g.run("mcopy", "-o", src, "::"+name)
}

// settle brings the directory up to date and compares it with what it must hold.
func (g *guest) settle(want contents) {
	g.t.Helper()
	importAll(g.t, g.disk.Node, g.file)
	if d := cmp.Diff(want, readDir(g.t, g.dir)); d != "" {
		g.t.Fatal(d)
	}
}

func TestGuestChangesReachTheDirectory(t *testing.T) {
	start := contents{"A.TXT": "aaa", "b.txt": strings.Repeat("b", 5000), "DIR/": "", "DIR/c.txt": "ccc", "DIR/sub/": "", "DIR/sub/d": "d"}
	for _, k := range kinds {
		if k.prefix == "" || k.prefix == "16:" || testing.Short() && k.offset > 0 {
			continue // large, and nothing that the others have not
		}
		t.Run(k.prefix, func(t *testing.T) {
			g := newGuest(t, k.prefix, k.offset, start)
			want := contents{"A.TXT": "aaa", "DIR/": "", "DIR/sub/": "", "DIR/sub/d": "d"}
			g.put("Neuer Name.text", "new")
			want["Neuer Name.text"] = "new"
			g.put("DIR/c.txt", strings.Repeat("longer ", 3000))
			want["DIR/c.txt"] = strings.Repeat("longer ", 3000)
			g.run("mdel", "::b.txt")
			g.run("mmd", "::made")
			g.put("made/日本", "inside")
			want["made/"], want["made/日本"] = "", "inside"
			g.settle(want)

			g.run("mren", "::DIR/sub", "::DIR/Renamed Folder")
			delete(want, "DIR/sub/")
			delete(want, "DIR/sub/d")
			want["DIR/Renamed Folder/"], want["DIR/Renamed Folder/d"] = "", "d"
			g.run("mmove", "::A.TXT", "::made")
			delete(want, "A.TXT")
			want["made/A.TXT"] = "aaa"
			g.put("DIR/c.txt", "short")
			want["DIR/c.txt"] = "short"
			g.settle(want)

			g.run("mmove", "::DIR", "::made")
			for _, name := range []string{"DIR/", "DIR/c.txt", "DIR/Renamed Folder/", "DIR/Renamed Folder/d"} {
				want["made/"+name] = want[name]
				delete(want, name)
			}
			g.settle(want)
			fsck(t, export(t, g.disk.Node), k.offset)
			closeDisk(t, g.disk)
			if d := cmp.Diff(want, readDir(t, g.dir)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNamesAreSwapped(t *testing.T) {
	g := newGuest(t, "floppy:", 0, contents{"A": "first", "B": "second", "X/": "", "X/1": "1", "Y/": "", "Y/2": "2"})
	for _, pair := range [][2]string{{"A", "B"}, {"X", "Y"}} {
		g.run("mren", "::"+pair[0], "::TMP")
		g.run("mren", "::"+pair[1], "::"+pair[0])
		g.run("mren", "::TMP", "::"+pair[1])
	}
	g.settle(contents{"A": "second", "B": "first", "X/": "", "X/2": "2", "Y/": "", "Y/1": "1"})
	closeDisk(t, g.disk)
}

func TestRenamedFileKeepsItsIdentity(t *testing.T) {
	g := newGuest(t, "floppy:", 0, contents{"SCRIPT": "#!/bin/sh\n", "sub/": ""})
	if err := os.Chmod(filepath.Join(g.dir, "SCRIPT"), 0o755); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(g.dir, "SCRIPT"))
	if err != nil {
		t.Fatal(err)
	}
	g.run("mmove", "::SCRIPT", "::sub")
	g.settle(contents{"sub/": "", "sub/SCRIPT": "#!/bin/sh\n"})
	after, err := os.Stat(filepath.Join(g.dir, "sub", "SCRIPT"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the moved file is another one: %v", err)
	}
	g.put("sub/SCRIPT", "#!/bin/bash\n")
	g.settle(contents{"sub/": "", "sub/SCRIPT": "#!/bin/bash\n"})
	if after, err = os.Stat(filepath.Join(g.dir, "sub", "SCRIPT")); err != nil || after.Mode() != before.Mode() {
		t.Errorf("mode %v, %v", after.Mode(), err)
	}
	closeDisk(t, g.disk)
}

// TestHalfWrittenChangesNothing writes all but one of the sectors of a change.
func TestHalfWrittenChangesNothing(t *testing.T) {
	start := contents{"keep": strings.Repeat("k", 3000), "old": strings.Repeat("o", 3000), "dir/": "", "dir/in": "in"}
	g := newGuest(t, "floppy:", 0, start)
	g.run("mdel", "::old")
	g.put("new", strings.Repeat("n", 4000))
	g.run("mmove", "::keep", "::dir")
	list := changes(t, g.disk.Node, g.file)
	data := func(c change) bool { return bytes.HasPrefix(c.data, []byte("nnnn")) }
	for i := range list {
		if data(list[i]) {
			continue // contents alone do not make a file system inconsistent
		}
		dir := start.make(t)
		v := openDisk(t, "fat:rw:floppy:"+dir, true)
		for k, c := range list {
			if k == i {
				continue
			}
			if _, err := v.Node.WriteAt(c.data, c.off); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Node.Flush(); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(start, readDir(t, dir)); d != "" {
			t.Errorf("without sector %#x: %s", list[i].off, d)
		}
		if err := v.Unref(); !errors.Is(err, blockdev.ErrCorrupt) || !strings.Contains(err.Error(), dir) {
			t.Errorf("close: %v", err)
		}
	}
	closeDisk(t, g.disk)
}

func TestFilesChangedOnTheHostAreNotOverwritten(t *testing.T) {
	start := contents{"target": "was", "other": "other"}
	ours := []byte("changed by a person")
	for name, edit := range map[string]func(g *guest){
		"write":  func(g *guest) { g.put("target", "by the guest") },
		"delete": func(g *guest) { g.run("mdel", "::target") },
		"rename": func(g *guest) { g.run("mren", "::target", "::renamed") },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, "floppy:", 0, start)
			edit(g)
			list := changes(t, g.disk.Node, g.file)
			if err := os.WriteFile(filepath.Join(g.dir, "target"), ours, 0o644); err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				if _, err := g.disk.Node.WriteAt(c.data, c.off); err != nil {
					t.Fatal(err)
				}
			}
			if err := g.disk.Node.Flush(); err == nil || !strings.Contains(err.Error(), "target") {
				t.Errorf("flush: %v", err)
			}
			want := contents{"target": string(ours), "other": "other"}
			if d := cmp.Diff(want, readDir(t, g.dir)); d != "" {
				t.Error(d)
			}
			if err := g.disk.Unref(); err == nil {
				t.Error("close says nothing")
			}
		})
	}
}

func TestNewFileOnTheHostIsNotOverwritten(t *testing.T) {
	g := newGuest(t, "floppy:", 0, contents{"a": "a"})
	g.put("new", "the guest's")
	if err := os.WriteFile(filepath.Join(g.dir, "new"), []byte("a person's"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes(t, g.disk.Node, g.file) {
		if _, err := g.disk.Node.WriteAt(c.data, c.off); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.disk.Node.Flush(); err == nil || !strings.Contains(err.Error(), "new") {
		t.Errorf("flush: %v", err)
	}
	if d := cmp.Diff(contents{"a": "a", "new": "a person's"}, readDir(t, g.dir)); d != "" {
		t.Error(d)
	}
	if err := g.disk.Unref(); err == nil {
		t.Error("close says nothing")
	}
}

// TestFolderWithUnknownFilesIsNotRemoved: the guest cannot mean what it has never seen.
func TestFolderWithUnknownFilesIsNotRemoved(t *testing.T) {
	g := newGuest(t, "floppy:", 0, contents{"dir/": "", "dir/a": "a"})
	g.run("mdeltree", "::dir")
	list := changes(t, g.disk.Node, g.file)
	if err := os.WriteFile(filepath.Join(g.dir, "dir", "new"), []byte("a person's"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if _, err := g.disk.Node.WriteAt(c.data, c.off); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.disk.Node.Flush(); err == nil || !strings.Contains(err.Error(), filepath.Join("dir", "new")) {
		t.Errorf("flush: %v", err)
	}
	if d := cmp.Diff(contents{"dir/": "", "dir/a": "a", "dir/new": "a person's"}, readDir(t, g.dir)); d != "" {
		t.Error(d)
	}
	if err := os.Remove(filepath.Join(g.dir, "dir", "new")); err != nil {
		t.Fatal(err)
	}
	closeDisk(t, g.disk)
	if d := cmp.Diff(contents{}, readDir(t, g.dir)); d != "" {
		t.Error(d)
	}
}

// overlaidGuest is a guest with -snapshot.
func overlaidGuest(t *testing.T, start contents) (g *guest, over *blockdev.Vertex) {
	t.Helper()
	g = newGuest(t, "floppy:", 0, start)
	closeDisk(t, g.disk)
	graph := &blockdev.Graph{}
	base, err := graph.Open(t.Context(), "fat:rw:floppy:"+g.dir, blockdev.OpenOptions{Driver: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	over, err = graph.OpenOverlay(t.Context(), base, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g.disk = over
	return g, over
}

// TestCommitCarriesAnOverlay is -snapshot: writes go to a qcow2 over the directory.
func TestCommitCarriesAnOverlay(t *testing.T) {
	ctx := context.Background()
	start := contents{"a": "a", "b": "b"}
	g, over := overlaidGuest(t, start)
	g.put("new", "new")
	g.run("mdel", "::a")
	g.settle(start)
	if err := over.Commit(ctx, blockdev.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	want := contents{"b": "b", "new": "new"}
	if d := cmp.Diff(want, readDir(t, g.dir)); d != "" {
		t.Error(d)
	}
	g.run("mren", "::b", "::C")
	g.settle(want)
	if err := over.Commit(ctx, blockdev.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	closeDisk(t, over)
	if d := cmp.Diff(contents{"C": "b", "new": "new"}, readDir(t, g.dir)); d != "" {
		t.Error(d)
	}
}

// TestCommitOfAHalfDoneChangeIsAnError: the guest goes on, and the next commit succeeds.
func TestCommitOfAHalfDoneChangeIsAnError(t *testing.T) {
	ctx := context.Background()
	start := contents{"a": "a"}
	g, over := overlaidGuest(t, start)
	g.put("new", "new")
	list := changes(t, over.Node, g.file)
	write := func(c change) {
		if _, err := over.Node.WriteAt(c.data, c.off); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range list[1:] { // the first sector is of the first table
		write(c)
	}
	for range 2 {
		if err := over.Commit(ctx, blockdev.CommitOptions{}); !errors.Is(err, blockdev.ErrCorrupt) || !strings.Contains(err.Error(), g.dir) {
			t.Errorf("commit: %v", err)
		}
		if d := cmp.Diff(start, readDir(t, g.dir)); d != "" {
			t.Error(d)
		}
	}
	write(list[0])
	if err := over.Commit(ctx, blockdev.CommitOptions{}); err != nil {
		t.Error(err)
	}
	closeDisk(t, over)
	if d := cmp.Diff(contents{"a": "a", "new": "new"}, readDir(t, g.dir)); d != "" {
		t.Error(d)
	}
}

// TestGuestThatNeverFlushes has its changes in the directory once it is quiet.
func TestGuestThatNeverFlushes(t *testing.T) {
	g := newGuest(t, "floppy:", 0, contents{"a": "a"})
	g.put("new", "new")
	for _, c := range changes(t, g.disk.Node, g.file) {
		if _, err := g.disk.Node.WriteAt(c.data, c.off); err != nil {
			t.Fatal(err)
		}
	}
	for patience := time.Now().Add(time.Minute); time.Now().Before(patience); time.Sleep(50 * time.Millisecond) {
		if data, err := os.ReadFile(filepath.Join(g.dir, "new")); err == nil && string(data) == "new" {
			closeDisk(t, g.disk)
			return
		}
	}
	t.Error("the file does not come")
}

// TestHostileWrites writes rubbish everywhere: no panic, and nothing outside changes.
func TestHostileWrites(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		parent := contents{"outside": "outside", "disk/a": strings.Repeat("a", 3000), "disk/sub/": "", "disk/sub/b": "b"}.make(t)
		v := openDisk(t, "fat:rw:floppy:12:"+filepath.Join(parent, "disk"), true)
		for range 40 {
			p := make([]byte, 1+rng.IntN(1500))
			for k := range p {
				p[k] = byte(rng.Uint32())
			}
			off := rng.Int64N(50 << 9) // the boot sector, the tables, directories
			if rng.IntN(4) == 0 {      // plausible bytes go further
				copy(p, "..      DIR\x10")
			}
			if i%2 == 0 {
				p, off = p[:1], 512+rng.Int64N(50<<9)
			}
			if _, err := v.Node.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
			_ = v.Node.Flush() // may fail, must not panic
		}
		_ = v.Unref()
		got := readDir(t, parent)
		if got["outside"] != "outside" {
			t.Error("a file outside was changed")
		}
		for name := range got {
			if name != "outside" && !strings.HasPrefix(name, "disk/") {
				t.Errorf("%s was made outside", name)
			}
		}
	}
}

// FuzzWrites has the guest write anything in the volume's first sectors.
func FuzzWrites(f *testing.F) {
	f.Add([]byte{0x20, 0x00, 0xE5, 0x20, 0x01, 'Z'})
	f.Add([]byte{0x02, 0x03, 0x03, 0x02, 0x04, 0x00, 0x26, 0x1A, 0x02})
	f.Fuzz(func(t *testing.T, script []byte) {
		parent := contents{"outside": "outside", "disk/a": strings.Repeat("a", 3000), "disk/sub/": "", "disk/sub/b": "b"}.make(t)
		v := openDisk(t, "fat:rw:floppy:12:"+filepath.Join(parent, "disk"), true)
		for ; len(script) >= 3; script = script[3:] { // a sector's half KiB, where in it, what
			off := int64(script[0])<<8 | int64(script[1])
			for _, o := range []int64{512 + off, 512 + 9*512 + off} { // both copies of the table
				if _, err := v.Node.WriteAt(script[2:3], o); err != nil {
					t.Fatal(err)
				}
			}
			_ = v.Node.Flush() // may fail
		}
		_ = v.Unref() // may fail
		for name, data := range readDir(t, parent) {
			if name == "outside" && data != "outside" || name != "outside" && !strings.HasPrefix(name, "disk/") {
				t.Errorf("%s was changed or made", name)
			}
		}
	})
}
