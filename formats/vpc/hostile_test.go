package vpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
)

// newImage is an empty image of about 4 MiB, in three blocks.
func newImage(t testing.TB, o blockdev.Values) []byte {
	t.Helper()
	file := &blocktest.Memory{}
	if err := Create(context.Background(), blockdev.CreateRequest{Filename: "test", Size: 4 << 20, File: file, Options: o}); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// edit changes bytes of the footer's copy, with the right checksum afterwards.
func edit(off int, data ...byte) func([]byte) {
	return func(b []byte) {
		copy(b[off:], data)
		binary.BigEndian.PutUint32(b[offChecksum:], checksum(b[:footerBytes], offChecksum))
	}
}

func size64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// header32 changes a field of the dynamic header.
func header32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[footerBytes+off:], v) }
}

func header64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[footerBytes+off:], v) }
}

// byField makes the current size count.
func byField(size uint64) func([]byte) {
	return func(b []byte) {
		copy(b[offCreator:], "win ")
		edit(offCurrentSize, size64(size)...)(b)
	}
}

const firstEntry = footerBytes + headerBytes

// The cases of CVE-2014-0142 and 0144, block size and number of entries, are among these.
var damages = []formattest.Damage{
	{Name: "cookie", Do: edit(0, 'x'), Kind: blockdev.ErrFormat, Text: "invalid VPC image"},
	{Name: "checksum", Do: func(b []byte) { b[70]++ }, Kind: blockdev.ErrCorrupt, Text: "Incorrect header checksum"},
	{Name: "type", Do: edit(offType, 0, 0, 0, 9), Kind: blockdev.ErrNotSupported, Text: "VHD images of type 9 are not supported", Ours: true},
	{Name: "header far away", Do: edit(offDataOffset, size64(1<<40)...), Kind: blockdev.ErrCorrupt, Text: "Invalid header magic"},
	{Name: "header negative", Do: edit(offDataOffset, size64(1<<63)...), Kind: blockdev.ErrCorrupt, Text: "Invalid header magic", Ours: true},
	{Name: "size over the table", Do: byField(8 << 20), Kind: blockdev.ErrCorrupt, Text: "Page table too small"},
	{Name: "size over the limit", Do: byField(1 << 41), Kind: blockdev.ErrLimit, Text: "File too large", Ours: true},
	{Name: "size negative", Do: byField(1 << 63), Kind: blockdev.ErrLimit, Text: "File too large", Ours: true},
	{Name: "header cookie", Do: header32(0, 0), Kind: blockdev.ErrCorrupt, Text: "Invalid header magic"},
	{Name: "table over the header", Do: header64(offTableOffset, 512), Kind: blockdev.ErrCorrupt, Text: "the block allocation table, at 0x200, lies over the header", Ours: true},
	{Name: "table far away", Do: header64(offTableOffset, 1<<62), Kind: blockdev.ErrCorrupt, Text: truncated},
	{Name: "table negative", Do: header64(offTableOffset, 1<<64-8), Kind: blockdev.ErrCorrupt, Text: truncated, Ours: true},
	{Name: "entries", Do: header32(offEntries, 2), Kind: blockdev.ErrCorrupt, Text: "Page table too small"},
	{Name: "no entries", Do: header32(offEntries, 0), Kind: blockdev.ErrCorrupt, Text: "Page table too small"},
	{Name: "most entries", Do: header32(offEntries, 0xffffffff), Kind: blockdev.ErrLimit, Text: "Max Table Entries too large (-1)"},
	{Name: "many entries", Do: header32(offEntries, maxEntries), Kind: blockdev.ErrCorrupt, Text: truncated, Ours: true},
	{Name: "block size 0", Do: header32(offBlockSize, 0), Kind: blockdev.ErrCorrupt, Text: "Invalid block size 0"},
	{Name: "block size odd", Do: header32(offBlockSize, 1000), Kind: blockdev.ErrCorrupt, Text: "Invalid block size 1000"},
	{Name: "block size 3 MiB", Do: header32(offBlockSize, 3<<20), Kind: blockdev.ErrCorrupt, Text: "Invalid block size 3145728"},
	{Name: "block size small", Do: header32(offBlockSize, 512), Kind: blockdev.ErrCorrupt, Text: "Page table too small"},
	{Name: "block size huge", Do: header32(offBlockSize, 1<<31), Kind: blockdev.ErrLimit, Text: "blocks of 2147483648 bytes are larger than 536870912", Ours: true},
	{Name: "block past the end", Do: func(b []byte) { copy(b[firstEntry:], []byte{0, 0, 0, 3}) }, Kind: blockdev.ErrCorrupt, Text: truncated},
	{Name: "block far away", Do: func(b []byte) { copy(b[firstEntry:], []byte{0xff, 0xff, 0xff, 0xfe}) }, Kind: blockdev.ErrCorrupt, Text: truncated},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "vpc", newImage(t, nil), damages)
}

// TestSizeByCreator has the sizes of a footer whose fields say 4 MiB and whose geometry is
// a bit larger.
func TestSizeByCreator(t *testing.T) {
	const field, rounded = 4 << 20, 121 * 4 * 17 * 512
	for _, c := range []struct {
		creator, rule string
		want          int64
	}{
		{"qemu", "", rounded}, {"vpc ", "", rounded}, {"vs  ", "", rounded}, {"vbox", "", rounded}, {"wa\x00\x00", "", rounded},
		{"win ", "", field}, {"qem2", "", field}, {"d2v ", "", field}, {"tap\x00", "", field}, {"CTXS", "", field},
		{"win ", sizeByGeometry, rounded}, {"qemu", sizeByField, field},
		{"qemu", sizeLikeQEMU10, rounded}, {"vpc ", sizeLikeQEMU10, rounded}, {"vs  ", sizeLikeQEMU10, rounded},
		{"vbox", sizeLikeQEMU10, field}, {"wa\x00\x00", sizeLikeQEMU10, field}, {"qem2", sizeLikeQEMU10, field},
	} {
		b := newImage(t, nil)
		copy(b[offCreator:], c.creator)
		edit(offCurrentSize, size64(field)...)(b)
		n, err := Open(context.Background(), blockdev.OpenRequest{File: blocktest.NewMemory(b), Options: blockdev.Values{"force_size_calc": c.rule}})
		if err != nil {
			t.Fatal(err)
		}
		if n.Size() != c.want {
			t.Errorf("size of %q by rule %q is %d, want %d", c.creator, c.rule, n.Size(), c.want)
		}
	}
}

// TestBlocksOverTheTableAreRefused: a guest's write must not reach the table.
func TestBlocksOverTheTableAreRefused(t *testing.T) {
	for _, sector := range []byte{0, 1, 3} {
		b := append(newImage(t, nil), make([]byte, 4<<20)...)
		copy(b[firstEntry:], []byte{0, 0, 0, sector})
		file := blocktest.NewMemory(b)
		n, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test", File: file, Mode: blockdev.Mode{Writable: true}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.WriteAt([]byte("guest"), 0); err == nil || blockdev.Message(err) != "a block lies over the header or the table" {
			t.Errorf("write to a block at sector %d: %v", sector, err)
		}
		if !bytes.Equal(file.Bytes(), b) {
			t.Error("the file changed")
		}
	}
}

func FuzzImage(f *testing.F) {
	small := newImage(f, nil)
	seeds := [][]byte{small, newImage(f, blockdev.Values{"subformat": "fixed"})[4<<20:], differencingImage(f, small)[:8<<10]}
	formattest.Fuzz(f, "vpc", damages, append(seeds, formattest.Goldens(f, "vpc")...)...)
}
