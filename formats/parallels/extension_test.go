package parallels

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// Places in the image of bitmapImage.
const (
	testExtension = 4 << 16
	testFeature   = testExtension + extensionHeader
	testBitmap    = testFeature + featureHeader
	testBits      = 5 << 16
	testID        = "00112233-4455-6677-8899-aabbccddeeff"
)

// bitmapImage is newImage with a bitmap of 64 granules of 4 KiB, in one cluster.
func bitmapImage(t testing.TB) []byte {
	t.Helper()
	b := append(newImage(t)[:testExtension], make([]byte, 2<<16)...)
	le := binary.LittleEndian
	le.PutUint64(b[offExtension:], testExtension/sectorSize)
	le.PutUint64(b[testExtension:], extensionMagic)
	le.PutUint64(b[testFeature:], featureBitmap)
	le.PutUint32(b[testFeature+offFeatureSize:], bitmapHeader+bitmapEntryBytes)
	le.PutUint64(b[testBitmap:], 512)
	copy(b[testBitmap+offBitmapID:], "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")
	le.PutUint32(b[testBitmap+offBitmapGranularity:], 8)
	le.PutUint32(b[testBitmap+offBitmapL1Size:], 1)
	le.PutUint64(b[testBitmap+bitmapHeader:], testBits/sectorSize)
	copy(b[testBits:], "\x06\x00\x00\x00\x00\x00\x00\x80")
	return seal(b)
}

// seal makes the checksum right again.
func seal(b []byte) []byte {
	sum := md5.Sum(b[testFeature:testBits])
	copy(b[testExtension+8:], sum[:])
	return b
}

func openStore(t testing.TB, b []byte) blockdev.BitmapStore {
	t.Helper()
	n, err := openNode(context.Background(), blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(b)})
	if err != nil {
		t.Fatal(err)
	}
	return n.(blockdev.BitmapStore)
}

// runs are the dirty parts of the bitmap: offsets and lengths.
func runs(t testing.TB, b []byte) (out [][2]int64) {
	t.Helper()
	d, err := openStore(t, b).DirtyBitmap(testID)
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < d.Size(); {
		dirty, n := d.Status(off, d.Size()-off)
		if dirty {
			out = append(out, [2]int64{off, n})
		}
		off += n
	}
	return out
}

func TestBitmapsAreRead(t *testing.T) {
	b := bitmapImage(t)
	list, err := openStore(t, b).Bitmaps()
	if d := cmp.Diff([]blockdev.BitmapInfo{{Name: testID, Granularity: 4096}}, list); d != "" || err != nil {
		t.Error(d, err)
	}
	for name, c := range map[string]struct {
		entry uint64
		want  [][2]int64
	}{
		"bits":  {testBits / sectorSize, [][2]int64{{4096, 8192}, {63 * 4096, 4096}}},
		"clean": {entryAllClean, nil},
		"dirty": {entryAllDirty, [][2]int64{{0, 256 << 10}}},
	} {
		binary.LittleEndian.PutUint64(b[testBitmap+bitmapHeader:], c.entry)
		if d := cmp.Diff(c.want, runs(t, seal(b))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, err := openStore(t, b).DirtyBitmap("other"); !errors.Is(err, blockdev.ErrNotFound) {
		t.Error(err)
	}
}

// TestDamagedExtensions keep nobody from the disk.
func TestDamagedExtensions(t *testing.T) {
	sound := bitmapImage(t)
	for name, c := range map[string]struct {
		do   func([]byte)
		want error
	}{
		"not in the file":   {set64(offExtension, 1<<62), blockdev.ErrCorrupt},
		"negative":          {set64(offExtension, 1<<63), blockdev.ErrCorrupt},
		"magic":             {set32(testExtension, 0), blockdev.ErrCorrupt},
		"checksum":          {func(b []byte) { b[testExtension+8]++ }, blockdev.ErrCorrupt},
		"feature too long":  {set32(testFeature+offFeatureSize, 1<<32-1), blockdev.ErrCorrupt},
		"feature too short": {set32(testFeature+offFeatureSize, 8), blockdev.ErrCorrupt},
		"no end": {func(b []byte) {
			set64(testFeature, 7)(b)
			set32(testFeature+offFeatureSize, 1<<16-extensionHeader-featureHeader)(b)
		}, blockdev.ErrCorrupt},
		"another disk's":   {set64(testBitmap, 513), blockdev.ErrCorrupt},
		"granularity 0":    {set32(testBitmap+offBitmapGranularity, 0), blockdev.ErrInvalid},
		"granularity odd":  {set32(testBitmap+offBitmapGranularity, 9), blockdev.ErrInvalid},
		"table too long":   {set32(testBitmap+offBitmapL1Size, 1<<32-1), blockdev.ErrCorrupt},
		"table too short":  {set32(testBitmap+offBitmapL1Size, 0), blockdev.ErrCorrupt},
		"bits outside":     {set64(testBitmap+bitmapHeader, 1<<55), blockdev.ErrCorrupt},
		"bits are at 2^64": {set64(testBitmap+bitmapHeader, 1<<64-1), blockdev.ErrCorrupt},
	} {
		b := bytes.Clone(sound)
		c.do(b)
		if name != "checksum" {
			seal(b)
		}
		store := openStore(t, b)
		if _, err := store.DirtyBitmap(testID); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := store.(blockdev.Node).ReadAt(make([]byte, 512), 1<<16); err != nil {
			t.Errorf("%s: the disk: %v", name, err)
		}
	}
}
