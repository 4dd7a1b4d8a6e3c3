package parallels

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
)

// newImage is an image of four clusters of 64 KiB: 1, 3 and 2 are in it, in this order.
func newImage(t testing.TB) []byte {
	t.Helper()
	file := &blocktest.Memory{}
	err := Create(context.Background(), blockdev.CreateRequest{Filename: "test", Size: 256 << 10, File: file,
		Options: blockdev.Values{"cluster_size": int64(64 << 10)}})
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range []int64{1, 3, 2} {
		if _, err := im.WriteAt([]byte{byte(cluster)}, cluster<<16); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func set32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[off:], v) }
}

func set64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[off:], v) }
}

// The cases of QEMU's iotest 076 (CVE-2014-0142, 0143) are among these.
var damages = []formattest.Damage{
	{Name: "magic", Do: set32(0, 0), Kind: blockdev.ErrFormat, Text: "Image not in Parallels format"},
	{Name: "version", Do: set32(offVersion, 3), Kind: blockdev.ErrFormat, Text: "Image not in Parallels format"},
	{Name: "cluster size 0", Do: set32(offTracks, 0), Kind: blockdev.ErrCorrupt, Text: "Invalid image: Zero sectors per track"},
	{Name: "cluster size", Do: set32(offTracks, maxTracks+1), Kind: blockdev.ErrLimit, Text: "Invalid image: Too big cluster"},
	{Name: "cluster size huge", Do: set32(offTracks, 0xffffffff), Kind: blockdev.ErrLimit, Text: "Invalid image: Too big cluster"},
	{Name: "entries", Do: set32(offEntries, maxEntries+1), Kind: blockdev.ErrLimit, Text: "Catalog too large"},
	{Name: "entries huge", Do: set32(offEntries, 0xffffffff), Kind: blockdev.ErrLimit, Text: "Catalog too large"},
	{Name: "entries not in the file", Do: set32(offEntries, maxEntries), Kind: blockdev.ErrCorrupt, Text: "the table of 536870911 entries is not in the file", Ours: true},
	{Name: "few entries", Do: set32(offEntries, 3), Kind: blockdev.ErrCorrupt, Text: "the disk of 512 sectors is larger than its table of 3 entries", Ours: true},
	{Name: "size", Do: set64(offSectors, 513), Kind: blockdev.ErrCorrupt, Text: "the disk of 513 sectors is larger than its table of 4 entries", Ours: true},
	{Name: "size huge", Do: set64(offSectors, 1<<62), Kind: blockdev.ErrLimit, Text: "File too large", Ours: true},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "parallels", newImage(t), damages)
}

// TestCheckFinds has the findings that QEMU has, in its words.
func TestCheckFinds(t *testing.T) {
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		want   []string
	}{
		"sound":   {func(b []byte) []byte { return b }, nil},
		"in use":  {func(b []byte) []byte { set32(offInUse, inUse)(b); return b }, []string{"ERROR image was not closed correctly"}},
		"outside": {func(b []byte) []byte { set32(headerBytes, 9)(b); return b }, []string{"ERROR cluster 0 is outside image"}},
		"far outside": {func(b []byte) []byte { set32(headerBytes, 0xffffffff)(b); return b },
			[]string{"ERROR cluster 0 is outside image"}},
		"leak": {func(b []byte) []byte { return append(b, make([]byte, 100000)...) },
			[]string{"ERROR space leaked at the end of the image 100352"}},
	} {
		t.Run(name, func(t *testing.T) { formattest.CheckLike(t, "parallels", c.damage(newImage(t)), c.want) })
	}
}

func TestRepair(t *testing.T) {
	b := append(newImage(t), make([]byte, 100000)...)
	sound := len(b) - 100000
	set32(offInUse, inUse)(b)
	set32(headerBytes, 9)(b)
	file := blocktest.NewMemory(b)
	_, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if !errors.Is(err, blockdev.ErrCorrupt) || blockdev.Message(err) != "parallels: Image was not closed correctly; cannot be opened read/write" {
		t.Errorf("opening what was not closed: %v", err)
	}
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true, Check: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt([]byte{1}, 0); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("writing before it is repaired: %v", err)
	}
	var texts []string
	got, err := im.Check(context.Background(), blockdev.CheckOptions{RepairErrors: true, RepairLeaks: true,
		Report: func(f blockdev.Finding) { texts = append(texts, f.Text) }})
	want := blockdev.CheckResult{CorruptionsFixed: 2, LeaksFixed: 2, ImageEndOffset: int64(sound),
		TotalClusters: 4, AllocatedClusters: 3, FragmentedClusters: 2}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, %q\n%s", err, texts, diff)
	}
	if _, err := im.WriteAt([]byte{7}, 0); err != nil {
		t.Errorf("writing after the repair: %v", err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	formattest.CheckLike(t, "parallels", file.Bytes(), nil)
}

// TestClustersOutsideTheFile: a cluster that is not in the file keeps its place, and what does
// not fit behind it is refused.
func TestClustersOutsideTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		damage []func([]byte)
		want   error
	}{
		"near":                   {[]func([]byte){set32(headerBytes, 3)}, nil},
		"the last that there is": {[]func([]byte){func(b []byte) { copy(b, magicSectors) }, set32(headerBytes, 0xffffffff)}, blockdev.ErrNoSpace},
	} {
		b := newImage(t)
		set64(headerBytes+8, 0)(b) // clusters 2 and 3, the last in the file
		b = b[:len(b)-128<<10]
		for _, do := range c.damage {
			do(b)
		}
		file := blocktest.NewMemory(b)
		im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
		if err != nil {
			t.Fatal(err)
		}
		size := file.Size()
		for cluster := range int64(2) {
			if _, err := im.WriteAt([]byte("new"), (2+cluster)*64<<10); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if c.want != nil && file.Size() != size {
			t.Errorf("%s: the file has %d bytes, and had %d", name, file.Size(), size)
		}
		got := make([]byte, 3)
		if _, err := im.ReadAt(got, 0); err != nil || !blockdev.IsZero(got) {
			t.Errorf("%s: cluster 0 has %q, %v", name, got, err)
		}
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestImagesWithExtensionsAreOnlyRead(t *testing.T) {
	b := newImage(t)
	set64(offExtension, 128)(b)
	if _, err := Open(context.Background(), blockdev.OpenRequest{File: blocktest.NewMemory(b)}); err != nil {
		t.Error(err)
	}
	_, err := Open(context.Background(), blockdev.OpenRequest{File: blocktest.NewMemory(b), Mode: blockdev.Mode{Writable: true}})
	if !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("opens for writing: %v", err)
	}
}

// TestOlderImagesCountInSectors reads and goes on with an image of the older magic number,
// whose clusters of 63 sectors begin behind the table.
func TestOlderImagesCountInSectors(t *testing.T) {
	const cluster = 63 * sectorSize
	b := make([]byte, 2*sectorSize+cluster)
	h := &header{clusterSize: cluster, size: 4 * cluster, entries: 4}
	copy(b, h.encode())
	copy(b, magicSectors)
	set32(headerBytes+4, 1)(b)
	b[sectorSize] = 'o'
	file := blocktest.NewMemory(b[:sectorSize+cluster])
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt([]byte{'n'}, 3*cluster); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4*cluster)
	if _, err := im.ReadAt(got, 0); err != nil || got[cluster] != 'o' || got[3*cluster] != 'n' {
		t.Errorf("%v, %c, %c", err, got[cluster], got[3*cluster])
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if e := binary.LittleEndian.Uint32(file.Bytes()[headerBytes+12:]); e != 1+63 {
		t.Errorf("the new cluster is at sector %d", e)
	}
	formattest.CheckLike(t, "parallels", file.Bytes(), nil)
}

func FuzzImage(f *testing.F) {
	b := newImage(f)
	older := append([]byte(nil), b...)
	copy(older, magicSectors)
	open := append([]byte(nil), b...)
	set32(offInUse, inUse)(open)
	twice := append(append([]byte(nil), b...), make([]byte, 1<<16)...) // and a leak
	set32(headerBytes, binary.LittleEndian.Uint32(twice[headerBytes+4:]))(twice)
	formattest.Fuzz(f, "parallels", damages, append([][]byte{b, older, open, twice, bitmapImage(f)}, formattest.Goldens(f, "parallels")...)...)
}
