package cloop

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

func TestImagesMadeByCreateCompressedFS(t *testing.T) { formattest.RunGolden(t, "cloop") }

func TestWithQEMU(t *testing.T) {
	for _, name := range []string{"4k.cloop", "64k.cloop", "7zip-128k.cloop"} {
		t.Run(name, func(t *testing.T) {
			formattest.RunReader(t, formattest.Reader{Driver: "cloop", Image: filepath.Join("../../testdata/cloop", name)})
		})
	}
}

// TestExtractCompressedFSReadsTheSame asks the tool that belongs to the format.
func TestExtractCompressedFSReadsTheSame(t *testing.T) {
	peer.Need(t, "extract_compressed_fs")
	out := filepath.Join(t.TempDir(), "disk")
	const image = "../../testdata/cloop/4k.cloop"
	peer.Run(t, "extract_compressed_fs", image, out)
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	im := openSample(t, b)
	got := make([]byte, im.Size())
	if _, err := im.ReadAt(got, 0); err != nil || string(got) != string(want) {
		t.Errorf("%d bytes, want %d, %v", len(got), len(want), err)
	}
}

// sample is an image of 8 blocks of 64 KiB.
func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../testdata/cloop/64k.cloop")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openSample(t testing.TB, b []byte) *Image {
	t.Helper()
	return formattest.Open(t, Open, b)
}

func set32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
}

func setOffset(i int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[offTable+8*i:], v) }
}

// The cases of QEMU's iotest 075 (CVE-2014-0143, 0144) are among these.
var damages = []formattest.Damage{
	{Name: "block size 0", Do: set32(offBlockSize, 0), Kind: blockdev.ErrCorrupt, Text: "block_size cannot be zero"},
	{Name: "block size odd", Do: set32(offBlockSize, 513), Kind: blockdev.ErrCorrupt, Text: "block_size 513 must be a multiple of 512"},
	{Name: "block size over the limit", Do: set32(offBlockSize, 64<<20+512), Kind: blockdev.ErrLimit, Text: "block_size 67109376 must be 64 MB or less"},
	{Name: "block size largest", Do: set32(offBlockSize, 0xfffffe00), Kind: blockdev.ErrLimit, Text: "block_size 4294966784 must be 64 MB or less"},
	{Name: "blocks overflow", Do: set32(offBlocks, 0xffffffff), Kind: blockdev.ErrLimit, Text: "n_blocks 4294967295 must be 536870911 or less"},
	{Name: "blocks over the limit", Do: set32(offBlocks, 0x20000000), Kind: blockdev.ErrLimit, Text: "n_blocks 536870912 must be 536870911 or less"},
	{Name: "table over the limit", Do: set32(offBlocks, 0x4000000), Kind: blockdev.ErrLimit, Text: "image requires too many offsets, try increasing block size"},
	{Name: "table of 32 bits", Do: set32(offBlocks, 0x1fffffff), Kind: blockdev.ErrLimit, Text: "image requires too many offsets, try increasing block size", Ours: true},
	{Name: "table into the data", Do: set32(offBlocks, 0x3ffffff), Kind: blockdev.ErrCorrupt, Text: "invalid compressed block size at index 9, image file is corrupt"},
	{Name: "offsets go back", Do: setOffset(2, 0), Kind: blockdev.ErrCorrupt, Text: "offsets not monotonically increasing at index 2, image file is corrupt"},
	{Name: "block too large", Do: setOffset(8, 1<<40), Kind: blockdev.ErrCorrupt, Text: "invalid compressed block size at index 8, image file is corrupt"},
	{Name: "offset negative", Do: setOffset(8, 1<<63), Kind: blockdev.ErrCorrupt, Text: "invalid compressed block size at index 8, image file is corrupt"},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "cloop", sample(t), damages)
}

// TestDamagedBlocksAreNotRead leaves the other blocks alone.
func TestDamagedBlocksAreNotRead(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no zlib":      func(b []byte) []byte { b[binary.BigEndian.Uint64(b[offTable:])] = 0; return b },
		"checksum":     func(b []byte) []byte { b[binary.BigEndian.Uint64(b[offTable+8:])-1] ^= 1; return b },
		"empty":        func(b []byte) []byte { setOffset(0, binary.BigEndian.Uint64(b[offTable+8:]))(b); return b },
		"past the end": func(b []byte) []byte { setOffset(0, 5)(b); return b },
	} {
		t.Run(name, func(t *testing.T) {
			im := openSample(t, damage(sample(t)))
			p := make([]byte, 100)
			if _, err := im.ReadAt(p, 10); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("damaged block: %v", err)
			}
			if _, err := im.ReadAt(p, 2*im.blockSize+10); err != nil {
				t.Errorf("sound block: %v", err)
			}
		})
	}
}

func TestATruncatedImageReadsWhatIsThere(t *testing.T) {
	b := sample(t)
	im := openSample(t, b[:binary.BigEndian.Uint64(b[offTable+8*3:])])
	p := make([]byte, 3*im.blockSize)
	if _, err := im.ReadAt(p, 0); err != nil {
		t.Errorf("blocks that are there: %v", err)
	}
	if _, err := im.ReadAt(p[:1], 3*im.blockSize); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("block that is not: %v", err)
	}
}

func TestWritingIsRefused(t *testing.T) {
	r := blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(sample(t)), Mode: blockdev.Mode{Writable: true}}
	if _, err := Open(t.Context(), r); !errors.Is(err, blockdev.ErrReadOnly) || blockdev.Message(err) != "Image is read-only" {
		t.Errorf("open for writing: %v", err)
	}
	r.Mode.AutoReadOnly = true
	im, err := Open(t.Context(), r)
	if err != nil || im.Writable() {
		t.Fatalf("falling back: %v", err)
	}
	if _, err := im.WriteAt([]byte{1}, 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
}

func FuzzImage(f *testing.F) {
	f.Add(sample(f)[:offTable+8*9], uint32(0), uint64(0))
	formattest.Fuzz(f, "cloop", damages, append([][]byte{sample(f)}, formattest.Goldens(f, "cloop")...)...)
}
