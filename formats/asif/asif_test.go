package asif

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/internal/peer"
)

func TestContents(t *testing.T) { formattest.RunGolden(t, "asif") }

// sample is an image of 5 chunks: partly written, absent, written, absent, partly written.
func sample(t testing.TB) []byte { return golden(t, "data") }

func golden(t testing.TB, name string) []byte {
	t.Helper()
	return peer.Gunzip(t, "../../testdata/asif/"+name+".asif.gz")
}

func openImage(t testing.TB, b []byte) *Image {
	t.Helper()
	return formattest.Open(t, Open, b)
}

func TestMapTellsWhichSectorsWereWritten(t *testing.T) {
	im := openImage(t, sample(t))
	for _, c := range []struct {
		off  int64
		kind blockdev.ExtentKind
		n    int64
	}{
		{0, blockdev.ExtentData, 1024},
		{700, blockdev.ExtentData, 324},
		{1024, blockdev.ExtentZero, 3 * 512},
		{5 * 512, blockdev.ExtentData, 512},
		{2047 * 512, blockdev.ExtentData, 512},
		{1 << 20, blockdev.ExtentZero, 1 << 20},
		{2 << 20, blockdev.ExtentData, 1 << 20},
		{4<<20 + 1001*512, blockdev.ExtentZero, 1<<20 - 1001*512},
	} {
		e, err := im.Map(c.off, im.Size()-c.off)
		if err != nil || e.Kind != c.kind || e.Len != c.n {
			t.Errorf("at %d: %+v, %v, want %d bytes %v", c.off, e, err, c.n, c.kind)
		}
	}
}

func TestImagesAreProbed(t *testing.T) {
	if d := blockdev.ProbeHead(sample(t)[:blockdev.ProbeSize], ""); d == nil || d.Name != "asif" {
		t.Errorf("probed as %v", d)
	}
}

func set16(off int, v uint16) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint16(b[off:], v) }
}

func set32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
}

func set64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) }
}

var damages = []formattest.Damage{
	{Name: "magic", Do: set32(0, 1), Kind: blockdev.ErrFormat, Text: "Image not in ASIF format", Ours: true},
	{Name: "version", Do: set32(offVersion, 2), Kind: blockdev.ErrNotSupported, Text: "Unsupported ASIF version 2", Ours: true},
	{Name: "sector size 0", Do: set16(offSectorSize, 0), Kind: blockdev.ErrCorrupt, Text: "Sector size 0 is not a power of two from 512 to 4096", Ours: true},
	{Name: "sector size odd", Do: set16(offSectorSize, 513), Kind: blockdev.ErrCorrupt, Text: "Sector size 513 is not a power of two from 512 to 4096", Ours: true},
	{Name: "chunk size 0", Do: set32(offChunkSize, 0), Kind: blockdev.ErrLimit, Text: "Chunk size 0 is not from 65536 to 67108864 in whole sectors", Ours: true},
	{Name: "chunk size odd", Do: set32(offChunkSize, 1<<20+1), Kind: blockdev.ErrLimit, Text: "Chunk size 1048577 is not from 65536 to 67108864 in whole sectors", Ours: true},
	{Name: "chunk size huge", Do: set32(offChunkSize, 1<<31), Kind: blockdev.ErrLimit, Text: "Chunk size 2147483648 is not from 65536 to 67108864 in whole sectors", Ours: true},
	{Name: "no room for a group", Do: func(b []byte) { set32(offChunkSize, 1<<16)(b); set16(offSectorSize, 4096)(b) }, Kind: blockdev.ErrCorrupt, Text: "Chunks of 65536 bytes have no room for a group", Ours: true},
	{Name: "sectors negative", Do: set64(offSectors, 1<<63), Kind: blockdev.ErrLimit, Text: "9223372036854775808 sectors are too many", Ours: true},
	{Name: "sectors over the maximum", Do: set64(offMaxSectors, 1), Kind: blockdev.ErrCorrupt, Text: "10240 sectors are more than the maximum of 1", Ours: true},
	{Name: "directory over the header", Do: set64(offDirectories, 8), Kind: blockdev.ErrCorrupt, Text: "Directory, 16 bytes at 0x8, is not in the file", Ours: true},
	{Name: "directory past the end", Do: set64(offDirectories+8, 1<<63), Kind: blockdev.ErrCorrupt, Text: "Directory, 16 bytes at 0x8000000000000000, is not in the file", Ours: true},
	{Name: "directory too large", Do: func(b []byte) { set64(offSectors, 1<<53)(b); set64(offMaxSectors, 1<<53)(b) }, Kind: blockdev.ErrCorrupt, Text: "Directory, 272696352 bytes at 0x200, is not in the file", Ours: true},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "asif", sample(t), damages)
}

// Places in sample: the entry of the first table in the directory in use, the first chunk's
// and the bitmap's in it.
const (
	sampleTable  = 0x41408
	sampleChunk  = 1 << 20
	sampleGroup  = sampleChunk + 8*2048
	sampleBitmap = 2 << 20
)

func TestDamagedTablesAreNotRead(t *testing.T) {
	for name, c := range map[string]struct {
		do   func([]byte)
		want error
	}{
		"table past the end":  {set64(sampleTable, 99), blockdev.ErrCorrupt},
		"table negative":      {set64(sampleTable, 1<<63), blockdev.ErrCorrupt},
		"chunk past the end":  {set64(sampleChunk, 3<<62|1<<54), blockdev.ErrCorrupt},
		"chunk of the header": {set64(sampleChunk, 1<<62), blockdev.ErrCorrupt},
		"status unknown":      {set64(sampleChunk, 2<<62|3), blockdev.ErrNotSupported},
		"absent with number":  {set64(sampleChunk, 3), blockdev.ErrNotSupported},
		"no bitmap":           {set64(sampleGroup, 0), blockdev.ErrCorrupt},
		"bitmap past the end": {set64(sampleGroup, 99), blockdev.ErrCorrupt},
		"sector unknown":      {func(b []byte) { b[sampleBitmap] = 2 }, blockdev.ErrNotSupported},
	} {
		b := sample(t)
		c.do(b)
		if _, err := openImage(t, b).ReadAt(make([]byte, 1), 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
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
	empty, first := golden(f, "empty"), golden(f, "first-directory")
	formattest.FuzzFields(f, "asif", [][]byte{sample(f)[:3<<20], empty, first, first[:2<<20]}, damages,
		offDirectories, offSectors, offChunkSize, sampleTable, sampleChunk, sampleChunk+8, sampleGroup, sampleBitmap)
}
