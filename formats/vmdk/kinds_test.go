package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/qmon/qmon/blockdev/file"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// pattern is data that does not compress.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(int64(seed))).Read(b)
	return b
}

// cowdImage is an ESX sparse extent with two grains: the third and the first, in this order.
func cowdImage() []byte {
	const grain, tables = 4096, 8192
	b := make([]byte, tables+cowdGTEs*4+2*grain)
	copy(b, cowdMagic)
	le := binary.LittleEndian
	le.PutUint32(b[offVersion:], 1)
	le.PutUint32(b[offFlags:], 3)
	le.PutUint32(b[offCowdCapacity:], 100)
	le.PutUint32(b[offCowdGrain:], grain/sectorSize)
	le.PutUint32(b[offCowdGD:], 4)
	le.PutUint32(b[offCowdGDCount:], 1)
	le.PutUint32(b[4*sectorSize:], tables/sectorSize)
	first := (tables + cowdGTEs*4) / sectorSize
	le.PutUint32(b[tables+2*4:], uint32(first))
	le.PutUint32(b[tables:], uint32(first+grain/sectorSize))
	copy(b[first*sectorSize:], pattern(1, 2*grain))
	return b
}

// seImage is a space-efficient extent: its first grain is stored, the second zero, the
// third unmapped, and the last stored far away.
func seImage() []byte {
	const (
		dir, tables, grains = 4, 8, 8 + 2*seTableSectors
		capacity            = 5000 * seGrainSectors
	)
	b := make([]byte, (grains+2*seGrainSectors)*sectorSize)
	le := binary.LittleEndian
	for off, v := range map[int]uint64{
		0: seMagic, offSeVersion: seVersion, offSeCapacity: capacity, offSeGrain: seGrainSectors, offSeTable: seTableSectors,
		offSeVolatile: 1, 88: 1, 96: 2, 104: 1, 112: 3, 120: 1, offSeGD: dir, offSeGDSize: 1,
		offSeTables: tables, 152: 2 * seTableSectors, 160: grains, 168: 0, 176: grains, 184: 0, offSeGrains: grains, 200: 2 * seGrainSectors,
	} {
		le.PutUint64(b[off:], v)
	}
	le.PutUint64(b[sectorSize:], seVolatile)
	le.PutUint64(b[dir*sectorSize:], 0x1000000000000000)
	le.PutUint64(b[dir*sectorSize+8:], 0x1000000000000001)
	table := b[tables*sectorSize:]
	le.PutUint64(table, 3<<60)
	le.PutUint64(table[8:], 2<<60)
	le.PutUint64(table[16:], 1<<60)
	le.PutUint64(table[4999*8:], 3<<60|1<<48)
	copy(b[grains*sectorSize:], pattern(2, 2*seGrainSectors*sectorSize))
	return b
}

func streamImage(t testing.TB) []byte {
	m := &blocktest.Memory{}
	v, err := createOptionTable.Parse(blockdev.Options{"subformat": streamOptimized})
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(context.Background(), blockdev.CreateRequest{Filename: "a.vmdk", Size: 300 << 10, File: m, Options: v}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "a.vmdk", File: m, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, grain := range []int64{0, 3, 4} {
		if err := im.WriteCompressed(pattern(int(grain), int(min(createGrain, im.Size()-grain*createGrain))), grain*createGrain); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

// files makes a folder of files.
func files(t *testing.T, list map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range list {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openFile opens an image and all that it refers to.
func openFile(t *testing.T, name string, writable bool) *blockdev.Vertex {
	t.Helper()
	var g blockdev.Graph
	v, err := g.Open(t.Context(), name, blockdev.OpenOptions{Driver: "vmdk", Gate: blockdev.FollowGate{}, Mode: blockdev.Mode{Writable: writable}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func contents(t *testing.T, n blockdev.Node) []byte {
	t.Helper()
	b := make([]byte, n.Size())
	if _, err := n.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func unref(t *testing.T, v *blockdev.Vertex) {
	t.Helper()
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

// TestKindsOfExtents reads extents that qemu-img does not make, and compares with what it
// reads in them.
func TestKindsOfExtents(t *testing.T) {
	head := func(kind string) string {
		return fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"%s\"\n", kind)
	}
	flat := pattern(3, 8*sectorSize)
	cowd, se := cowdImage(), seImage()
	for name, c := range map[string]struct {
		text string
		at   int64 // some place, and what must be there
		want []byte
	}{
		"vmfs":       {head("vmfs") + "RW 6 VMFS \"x.flat\"\n", 512, flat[512:1024]},
		"vmfsSparse": {head("vmfsSparse") + "RW 100 VMFSSPARSE \"x.cowd\"\n", 8192, cowd[len(cowd)-8192:][:4096]},
		"seSparse":   {head("seSparse") + "RW 40000 SESPARSE \"x.se\"\n", 4999 * 4096, nil},
		"with an offset": {head("monolithicFlat") + "RW 3 FLAT \"x.flat\" 2\nRW 2 FLAT \"x.flat\" 0\n",
			0, flat[2*sectorSize : 4*sectorSize]},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files(t, map[string][]byte{"x.vmdk": []byte(c.text), "x.flat": flat, "x.cowd": cowd, "x.se": se})
			v := openFile(t, filepath.Join(dir, "x.vmdk"), false)
			got := contents(t, v.Node)
			unref(t, v)
			if !bytes.Equal(got[c.at:][:len(c.want)], c.want) {
				t.Error("not what is in the extent")
			}
			peer.Need(t, "qemu-img")
			raw := filepath.Join(dir, "x.raw")
			peer.Run(t, "qemu-img", "convert", "-f", "vmdk", "-O", "raw", filepath.Join(dir, "x.vmdk"), raw)
			if want, err := os.ReadFile(raw); err != nil || !bytes.Equal(got, want) {
				t.Errorf("qemu-img reads something else: %v", err)
			}
		})
	}
}

// TestCowdIsWritten: an ESX sparse disk is written in place and grows.
func TestCowdIsWritten(t *testing.T) {
	file := blocktest.NewMemory(cowdImage())
	im, err := Open(t.Context(), blockdev.OpenRequest{Filename: "x", File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	want := contents(t, im)
	copy(want[3000:], pattern(9, 30000))
	if _, err := im.WriteAt(want[3000:33000], 3000); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	im, err = Open(t.Context(), blockdev.OpenRequest{Filename: "x", File: file})
	if err != nil || !bytes.Equal(contents(t, im), want) {
		t.Errorf("not what was written: %v", err)
	}
}

// TestALongCIDLineIsReplacedWhole writes to a disk whose descriptor says its CID in more
// characters than we do.
func TestALongCIDLineIsReplacedWhole(t *testing.T) {
	text := "# Disk DescriptorFile\nversion=1\nCID=   12345678\r\nparentCID=ffffffff\n" +
		"createType=\"monolithicFlat\"\nRW 8 FLAT \"flat\" 0\nddb.adapterType = \"ide\"\n"
	dir := files(t, map[string][]byte{"disk": []byte(text), "flat": make([]byte, 8*512)})
	name := filepath.Join(dir, "disk")
	v := openFile(t, name, true)
	if _, err := v.Node.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	unref(t, v)
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(text, "CID=   12345678")
	if !strings.HasPrefix(string(got), head+"CID=") || !strings.HasSuffix(string(got), rest) || len(got) != len(text) {
		t.Errorf("the descriptor is now\n%q, was\n%q", got, text)
	}
	unref(t, openFile(t, name, false))
}

func TestSeSparseIsReadOnly(t *testing.T) {
	text := "# Disk DescriptorFile\nversion=1\nCID=1\ncreateType=\"seSparse\"\nRW 40000 SESPARSE \"x.se\"\n"
	dir := files(t, map[string][]byte{"x.vmdk": []byte(text), "x.se": seImage()})
	o := blockdev.OpenOptions{Gate: blockdev.FollowGate{}, Mode: blockdev.Mode{Writable: true}}
	var g blockdev.Graph
	if _, err := g.Open(t.Context(), filepath.Join(dir, "x.vmdk"), o); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Error(err)
	}
	o.Mode.AutoReadOnly = true
	v, err := g.Open(t.Context(), filepath.Join(dir, "x.vmdk"), o)
	if err != nil || v.Mode().Writable {
		t.Fatal(err)
	}
	unref(t, v)
}

// withFooter is a stream whose header says that the directory is known at its end.
func withFooter(stream []byte) []byte {
	const typeFooter = 3
	b := append(bytes.Clone(stream), make([]byte, 3*sectorSize)...)
	marker := b[len(stream):]
	binary.LittleEndian.PutUint64(marker, 1)
	binary.LittleEndian.PutUint32(marker[12:], typeFooter)
	copy(marker[sectorSize:], stream[:sectorSize])
	put64(offGD, gdAtEnd)(b)
	return b
}

// TestStreamsWithAFooter are read, and never written: the footer must stay at the end.
func TestStreamsWithAFooter(t *testing.T) {
	plain := streamImage(t)
	im, err := Open(t.Context(), blockdev.OpenRequest{Filename: "x", File: blocktest.NewMemory(plain)})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(files(t, map[string][]byte{"x.vmdk": withFooter(plain)}), "x.vmdk")
	v := openFile(t, name, false)
	want := contents(t, im)
	if !bytes.Equal(contents(t, v.Node), want) {
		t.Error("not what is in the stream")
	}
	unref(t, v)
	sameAsQEMU(t, name, want)
	_, err = Open(t.Context(), blockdev.OpenRequest{Filename: "x", File: blocktest.NewMemory(withFooter(plain)), Mode: blockdev.Mode{Writable: true}})
	if !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("opened to be written: %v", err)
	}
}

func TestStreamsAreWrittenOnce(t *testing.T) {
	file := blocktest.NewMemory(streamImage(t))
	im, err := Open(t.Context(), blockdev.OpenRequest{Filename: "x", File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteCompressed(make([]byte, createGrain), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("a grain was written twice: %v", err)
	}
	if _, err := im.WriteAt(pattern(8, 100), 2*createGrain-50); err != nil {
		t.Fatal(err)
	}
	got := contents(t, im)
	if !bytes.Equal(got[:createGrain], pattern(0, createGrain)) || !bytes.Equal(got[2*createGrain-50:][:100], pattern(8, 100)) {
		t.Error("not what was written")
	}
	e := im.extents[0]
	_, host, err := e.lookup(0)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"no zlib": {1, 2, 3}, "length": {}} {
		at := host + markerSize
		if name == "length" {
			at, b = host+offLength, []byte{0xff, 0xff, 0xff, 0x7f}
		}
		if _, err := file.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
		if _, err := im.ReadAt(make([]byte, 512), 0); !errors.Is(err, blockdev.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sameAsQEMU compares with what qemu-img reads, if it is installed.
func sameAsQEMU(t *testing.T, image string, want []byte) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		return
	}
	raw := image + ".raw"
	peer.Run(t, "qemu-img", "convert", "-f", "vmdk", "-O", "raw", image, raw)
	if got, err := os.ReadFile(raw); err != nil || !bytes.Equal(got, want) {
		t.Errorf("qemu-img reads something else: %v", err)
	}
}

// TestALargeDisk: what is large and empty takes little, and its end is reached.
func TestALargeDisk(t *testing.T) {
	const size = 16 << 40
	file := &blocktest.Memory{}
	v, err := createOptionTable.Parse(blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(t.Context(), blockdev.CreateRequest{Filename: "a.vmdk", Size: size, File: file, Options: v}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(t.Context(), blockdev.OpenRequest{Filename: "a.vmdk", File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	p := []byte("the end")
	if _, err := im.WriteAt(p, size-int64(len(p))); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(p))
	if _, err := im.ReadAt(got, size-int64(len(p))); err != nil || !bytes.Equal(got, p) {
		t.Errorf("%q, %v", got, err)
	}
	if n, err := file.AllocatedSize(); err != nil || n > 8<<20 {
		t.Errorf("%d bytes taken, %v", n, err)
	}
}

// TestParents: an overlay knows its parent by name and CID, and notices when it changed.
func TestParents(t *testing.T) {
	dir := t.TempDir()
	base, over := filepath.Join(dir, "base.vmdk"), filepath.Join(dir, "over.vmdk")
	var g blockdev.Graph
	create := func(name string, backing blockdev.Reference) {
		t.Helper()
		if err := g.Create(t.Context(), "vmdk", name, 1<<20, blockdev.Options{"zeroed_grain": "on"}, backing); err != nil {
			t.Fatal(err)
		}
	}
	create(base, blockdev.Reference{})
	v := openFile(t, base, true)
	want := pattern(4, 1<<20)
	if _, err := v.Node.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	unref(t, v)
	create(over, blockdev.Reference{Name: "base.vmdk", Format: "vmdk"})
	v = openFile(t, over, true)
	copy(want[70000:], pattern(5, 1000))
	clear(want[2*createGrain : 4*createGrain])
	if _, err := v.Node.WriteAt(want[70000:71000], 70000); err != nil {
		t.Fatal(err)
	}
	if err := blockdev.WriteZeroes(v.Node, 2*createGrain, 2*createGrain, 0); err != nil {
		t.Fatal(err)
	}
	if x, err := v.Node.Map(2*createGrain, createGrain); err != nil || x.Kind != blockdev.ExtentZero {
		t.Errorf("zeroes are %+v, %v", x, err)
	}
	unref(t, v)
	v = openFile(t, over, false)
	if !bytes.Equal(contents(t, v.Node), want) {
		t.Error("the overlay reads something else")
	}
	unref(t, v)
	sameAsQEMU(t, over, want)

	v = openFile(t, over, true)
	if err := v.Commit(t.Context(), blockdev.CommitOptions{}); err != nil {
		t.Errorf("commit: %v", err)
	}
	unref(t, v)
	v = openFile(t, base, false)
	if !bytes.Equal(contents(t, v.Node), want) {
		t.Error("the commit lost something")
	}
	unref(t, v)

	v = openFile(t, base, true)
	if _, err := v.Node.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	unref(t, v)
	v = openFile(t, over, false)
	defer unref(t, v)
	if _, err := v.Node.ReadAt(make([]byte, 512), 0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a parent that changed: %v", err)
	}
	if _, err := v.Node.ReadAt(make([]byte, 512), 70144); err != nil {
		t.Errorf("what is in the overlay: %v", err)
	}
	im := v.Node.(*Image)
	right := im.Backing()
	defer im.SetBacking(right)
	im.SetBacking(blocktest.NewMemory(want))
	if _, err := im.ReadAt(make([]byte, 512), 0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a parent that is no VMDK: %v", err)
	}
}

// TestZeroGrainsOfAHugeDisk: tables that wait to be written are written when they are many.
func TestZeroGrainsOfAHugeDisk(t *testing.T) {
	file := &blocktest.Memory{}
	err := Create(t.Context(), blockdev.CreateRequest{Filename: "big.vmdk", Size: 48 << 30, File: file, Options: blockdev.Values{"zeroed_grain": true}})
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(t.Context(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	im.SetBacking(blocktest.NewMemory(nil))
	if err := im.WriteZeroes(0, im.Size(), 0); err != nil {
		t.Fatal(err)
	}
	if n := im.extents[0].dirty; n > maxDirtyTables {
		t.Errorf("%d tables wait, more than %d", n, maxDirtyTables)
	}
}

// TestZeroesBesideAWrite: a grain that somebody stores while zeroes are on their way to a part
// of it gets them.
func TestZeroesBesideAWrite(t *testing.T) {
	file := &blocktest.Memory{}
	if err := Create(t.Context(), blockdev.CreateRequest{Filename: "a.vmdk", Size: createGrain, File: file}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(t.Context(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	im.SetBacking(blocktest.NewMemory(bytes.Repeat([]byte{'p'}, createGrain)))
	im.allocMu.Lock()
	done := make(chan error)
	go func() { done <- im.WriteZeroes(4096, 4096, 0) }()
	time.Sleep(50 * time.Millisecond) // it has seen that there is no grain, and waits
	e := im.extents[0]
	if _, err := e.file.WriteAt(bytes.Repeat([]byte{'p'}, createGrain), e.end); err != nil {
		t.Fatal(err)
	}
	im.mu.Lock()
	err = e.set(0, uint32(e.end/sectorSize))
	im.mu.Unlock()
	e.end += createGrain
	im.allocMu.Unlock()
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, createGrain)
	if _, err := im.ReadAt(got, 0); err != nil || got[0] != 'p' || !blockdev.IsZero(got[4096:8192]) {
		t.Errorf("%q, %q, %v", got[0], got[4096], err)
	}
}

// TestCreateWithAPrefix makes images whose names begin with "file:", of several files and over
// a parent.
func TestCreateWithAPrefix(t *testing.T) {
	dir := t.TempDir()
	var g blockdev.Graph
	for _, c := range []struct {
		name    string
		options blockdev.Options
		backing blockdev.Reference
	}{
		{"base.vmdk", blockdev.Options{"subformat": "monolithicFlat"}, blockdev.Reference{}},
		{"split.vmdk", blockdev.Options{"subformat": "twoGbMaxExtentSparse"}, blockdev.Reference{}},
		{"top.vmdk", nil, blockdev.Reference{Name: "base.vmdk"}},
	} {
		name := "file:" + filepath.Join(dir, c.name)
		if err := g.Create(t.Context(), "vmdk", name, 1<<20, c.options, c.backing); err != nil {
			t.Error(err)
			continue
		}
		v, err := g.Open(t.Context(), name, blockdev.OpenOptions{Driver: "vmdk", Gate: blockdev.FollowGate{}})
		if err != nil {
			t.Error(err)
			continue
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}
