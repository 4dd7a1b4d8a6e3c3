package bochs

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/internal/peer"
)

const testdata = "../../testdata/bochs"

func TestImagesMadeByBximage(t *testing.T) { formattest.RunGolden(t, "bochs") }

func TestWithQEMU(t *testing.T) {
	for _, name := range []string{"empty.growing", "data.growing", "version1.growing"} {
		t.Run(name, func(t *testing.T) {
			formattest.RunReader(t, formattest.Reader{Driver: "bochs", Image: filepath.Join(testdata, name), OwnMap: true})
		})
	}
}

// TestBximageReadsTheSame converts back to a flat image.
func TestBximageReadsTheSame(t *testing.T) {
	peer.Need(t, "bximage")
	out := filepath.Join(t.TempDir(), "flat")
	peer.Run(t, "bximage", "-func=convert", "-imgmode=flat", "-q", filepath.Join(testdata, "data.growing"), out)
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	im := openImage(t, sample(t))
	got := make([]byte, im.Size())
	if _, err := im.ReadAt(got, 0); err != nil || string(got) != string(want) {
		t.Errorf("%d bytes, want %d, %v", len(got), len(want), err)
	}
}

// sample is an image of 640 extents of 32 sectors, with a catalog for 1024, of which 3 are in the file.
func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testdata, "data.growing"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openImage(t testing.TB, b []byte) *Image {
	t.Helper()
	return formattest.Open(t, Open, b)
}

func TestMapTellsWhichSectorsWereWritten(t *testing.T) {
	im := openImage(t, sample(t))
	for _, c := range []struct {
		off, n int64
		kind   blockdev.ExtentKind
		length int64
	}{
		{0, 10 << 20, blockdev.ExtentData, 512},
		{100, 10 << 20, blockdev.ExtentData, 412},
		{512, 10 << 20, blockdev.ExtentZero, 1024},
		{3 * 512, 700, blockdev.ExtentData, 700},
		{32 * 512, 10 << 20, blockdev.ExtentZero, 20 * 16384}, // whole extents that are not there
		{700 * 512, 10 << 20, blockdev.ExtentData, 4 * 512},   // up to the end of extent 21
	} {
		e, err := im.Map(c.off, min(c.n, im.Size()-c.off))
		if err != nil || e.Kind != c.kind || e.Len != c.length {
			t.Errorf("at %d: %+v, %v, want %d bytes %v", c.off, e, err, c.length, c.kind)
		}
	}
}

func set32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[off:], v) }
}

func set64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[off:], v) }
}

// The cases of QEMU's iotest 078 (CVE-2014-0142, 0143, 0147) are among these.
var damages = []formattest.Damage{
	{Name: "magic", Do: set32(0, 1), Kind: blockdev.ErrFormat, Text: "Image not in Bochs format"},
	{Name: "type", Do: set32(offType, 1), Kind: blockdev.ErrFormat, Text: "Image not in Bochs format"},
	{Name: "subtype", Do: func(b []byte) { copy(b[offSubtype:], "Undoable\x00") }, Kind: blockdev.ErrFormat, Text: "Image not in Bochs format"},
	{Name: "version", Do: set32(offVersion, 0x30000), Kind: blockdev.ErrFormat, Text: "Image not in Bochs format"},
	{Name: "catalog too small", Do: set32(offCatalog, 639), Kind: blockdev.ErrCorrupt, Text: "Catalog size is too small for this disk size"},
	{Name: "catalog too large", Do: set32(offCatalog, 1<<20+1), Kind: blockdev.ErrLimit, Text: "Catalog size is too large"},
	{Name: "catalog negative", Do: set32(offCatalog, 0xffffffff), Kind: blockdev.ErrLimit, Text: "Catalog size is too large"},
	{Name: "catalog not there", Do: set32(offHeaderSize, 0xfffffff0), Kind: blockdev.ErrCorrupt, Text: "the catalog, 1024 entries at 0xfffffff0, is not in the file", Ours: true},
	{Name: "extent size 0", Do: set32(offExtentSize, 0), Kind: blockdev.ErrCorrupt, Text: "Extent size must be at least 512"},
	{Name: "extent size 511", Do: set32(offExtentSize, 511), Kind: blockdev.ErrCorrupt, Text: "Extent size must be at least 512"},
	{Name: "extent size 16385", Do: set32(offExtentSize, 16385), Kind: blockdev.ErrCorrupt, Text: "Extent size 16385 is not a power of two"},
	{Name: "extent size 16 MiB", Do: set32(offExtentSize, 16<<20), Kind: blockdev.ErrLimit, Text: "Extent size 16777216 is too large"},
	{Name: "extent size 2 GiB", Do: set32(offExtentSize, 2<<30), Kind: blockdev.ErrLimit, Text: "Extent size 2147483648 is too large"},
	{Name: "disk too large", Do: set64(offDiskSize, 16<<20+512), Kind: blockdev.ErrCorrupt, Text: "Catalog size is too small for this disk size"},
	{Name: "disk negative", Do: set64(offDiskSize, 1<<63), Kind: blockdev.ErrCorrupt, Text: "Catalog size is too small for this disk size"},
	{Name: "bitmap 0", Do: set32(offBitmapSize, 0), Kind: blockdev.ErrCorrupt, Text: "Bitmap size 0 is too small for extents of 16384 bytes", Ours: true},
	{Name: "bitmap too small", Do: set32(offBitmapSize, 3), Kind: blockdev.ErrCorrupt, Text: "Bitmap size 3 is too small for extents of 16384 bytes", Ours: true},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "bochs", sample(t), damages)
}

func TestAnExtentOutsideTheFileIsCorrupt(t *testing.T) {
	for _, entry := range []uint32{100, 0x7fffffff, 0xfffffffe} {
		b := sample(t)
		set32(headerBytes, entry)(b)
		if _, err := openImage(t, b).ReadAt(make([]byte, 1), 0); !errors.Is(err, blockdev.ErrCorrupt) {
			t.Errorf("entry %#x: %v", entry, err)
		}
	}
}

func TestWritingIsRefused(t *testing.T) {
	r := blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(sample(t)), Mode: blockdev.Mode{Writable: true}}
	if _, err := Open(t.Context(), r); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Error(err)
	}
}

func FuzzImage(f *testing.F) {
	formattest.Fuzz(f, "bochs", damages, append([][]byte{sample(f)}, formattest.Goldens(f, "bochs")...)...)
}
