package vdi

import (
	"context"
	"encoding/binary"
	"os"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
)

// newImage is an empty image of 4 MiB.
func newImage(t testing.TB) []byte {
	t.Helper()
	file := &blocktest.Memory{}
	if err := Create(context.Background(), blockdev.CreateRequest{Filename: "test", Size: 4 << 20, File: file}); err != nil {
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

// The cases of QEMU's iotest 084 (CVE-2014-0144) are among these.
var damages = []formattest.Damage{
	{Name: "signature", Do: set32(offSignature, 1), Kind: blockdev.ErrFormat, Text: "Image not in VDI format (bad signature 00000001)"},
	{Name: "version 2.1", Do: set32(offVersion, 0x20001), Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (version 2.1)"},
	{Name: "version 0.2", Do: set32(offVersion, 2), Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (version 0.2)"},
	{Name: "map unaligned", Do: set32(offMapOffset, 513), Kind: blockdev.ErrCorrupt, Text: "unsupported VDI image (unaligned block map offset 0x201)"},
	{Name: "map over the header", Do: set32(offMapOffset, 0), Kind: blockdev.ErrCorrupt, Text: "the block map, 16 bytes at 0x0, is not in the file", Ours: true},
	{Name: "map past the end", Do: set32(offMapOffset, 0xfffffe00), Kind: blockdev.ErrCorrupt, Text: "the block map, 16 bytes at 0xfffffe00, is not in the file", Ours: true},
	{Name: "data unaligned", Do: set32(offDataOffset, 1025), Kind: blockdev.ErrCorrupt, Text: "unsupported VDI image (unaligned data offset 0x401)"},
	{Name: "data over the map", Do: set32(offDataOffset, 512), Kind: blockdev.ErrCorrupt, Text: "the data, at 0x200, begins before the end of the block map", Ours: true},
	{Name: "sector size", Do: set32(offSectorSize, 4096), Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (sector size 4096 is not 512)"},
	{Name: "size over the map", Do: set64(offDiskSize, 4<<20+512), Kind: blockdev.ErrCorrupt, Text: "unsupported VDI image (disk size 4194816, image bitmap has room for 4194304)"},
	{Name: "size huge", Do: set64(offDiskSize, 1<<62), Kind: blockdev.ErrLimit, Text: "Unsupported VDI image size (size is 0x4000000000000000, max supported is 0x1fffff8000000)"},
	{Name: "size negative", Do: set64(offDiskSize, 1<<63), Kind: blockdev.ErrLimit, Text: "Unsupported VDI image size (size is 0x8000000000000000, max supported is 0x1fffff8000000)"},
	{Name: "block size", Do: set32(offBlockSize, 2<<20), Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (block size 2097152 is not 1048576)"},
	{Name: "block size 0", Do: set32(offBlockSize, 0), Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (block size 0 is not 1048576)"},
	{Name: "block extra", Do: set32(offBlockExtra, 512), Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (512 bytes before each block)", Ours: true},
	{Name: "few blocks", Do: set32(offBlocks, 3), Kind: blockdev.ErrCorrupt, Text: "unsupported VDI image (disk size 4194304, image bitmap has room for 3145728)"},
	{Name: "too many blocks", Do: set32(offBlocks, maxBlocks+1), Kind: blockdev.ErrLimit, Text: "unsupported VDI image (too many blocks 536870785, max is 536870784)"},
	{Name: "most blocks", Do: set32(offBlocks, maxBlocks), Kind: blockdev.ErrCorrupt, Text: "the block map, 2147483136 bytes at 0x200, is not in the file", Ours: true},
	{Name: "link of a dynamic image", Do: set32(offLinkUUID, 1), Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (non-NULL link UUID)"},
	{Name: "differencing without a link", Do: func(b []byte) { set32(offType, imageDiff)(b); set32(offParentUUID, 1)(b) }, Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (non-NULL parent UUID)"},
	{Name: "parent of a dynamic image", Do: set32(offParentUUID+12, 1), Kind: blockdev.ErrNotSupported, Text: "unsupported VDI image (non-NULL parent UUID)"},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "vdi", newImage(t), damages)
}

func TestHeaderFieldsOfQEMUsImage(t *testing.T) {
	b, err := os.ReadFile("../../testdata/vdi/qemu-img.vdi")
	if err != nil {
		t.Fatal(err)
	}
	got, err := readHeader(blocktest.NewMemory(b), "test", false)
	want := header{kind: imageDynamic, mapOffset: 512, data: 1024, size: 4 << 20, blocks: 4, allocated: 1, id: got.id, modified: got.modified}
	if err != nil || *got != want || got.id == got.modified {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

// TestCheckFinds has the findings that QEMU has, in its words.
func TestCheckFinds(t *testing.T) {
	const entries = headerBytes
	for name, c := range map[string]struct {
		damage []func([]byte)
		want   []string
	}{
		"sound":     {nil, nil},
		"too large": {[]func([]byte){set32(entries, 77)}, []string{"ERROR: block index 0 too large, is 77"}},
		"count":     {[]func([]byte){set32(offAllocated, 77)}, []string{"ERROR: allocated blocks mismatch, is 0, should be 77"}},
		"twice": {[]func([]byte){set32(entries+4, 2), set32(entries+12, 2)},
			[]string{"ERROR: block index 2 also used by 2", "ERROR: allocated blocks mismatch, is 2, should be 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newImage(t)
			for _, d := range c.damage {
				d(b)
			}
			formattest.CheckLike(t, "vdi", b, c.want)
		})
	}
}

func FuzzImage(f *testing.F) {
	b := newImage(f)
	used := append([]byte(nil), b...)
	set32(headerBytes, 0)(used)
	diff := append([]byte(nil), b...)
	set32(offType, imageDiff)(diff)
	set32(offLinkUUID, 1)(diff)
	formattest.Fuzz(f, "vdi", damages, append([][]byte{b, append(used, make([]byte, 1<<16)...), diff}, formattest.Goldens(f, "vdi")...)...)
}
