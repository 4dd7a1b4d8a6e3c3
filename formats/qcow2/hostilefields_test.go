package qcow2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// hostileField is a count, a size or an offset in an image.
type hostileField struct {
	image string // a golden image
	name  string
	at    func(im *Image) int64
	bytes int
}

func fixed(off int64) func(*Image) int64 { return func(*Image) int64 { return off } }

// inTable is byte off of entry i of the table that an L1 entry points to.
func inTable(off int64) func(*Image) int64 {
	return func(im *Image) int64 { return int64(im.l1.entries[0]&entryOffset) + off }
}

// hostileFields are all such fields of the header and of every kind of table.
func hostileFields() []hostileField {
	const plain, extended, bitmaps, compressed = "v2-512-snapshots.qcow2", "v3-16k-extended.qcow2", "bitmap.qcow2", "v3-4k-zlib.qcow2"
	list := []hostileField{
		{plain, "backing file offset", fixed(offBackingOffset), 8},
		{plain, "backing file size", fixed(offBackingSize), 4},
		{plain, "cluster bits", fixed(offClusterBits), 4},
		{plain, "size", fixed(offSize), 8},
		{extended, "size, with subclusters", fixed(offSize), 8},
		{plain, "L1 size", fixed(offL1Size), 4},
		{plain, "L1 offset", fixed(offL1Offset), 8},
		{plain, "refcount table offset", fixed(offRefTableOffset), 8},
		{plain, "refcount table clusters", fixed(offRefTableClusters), 4},
		{plain, "snapshot count", fixed(offSnapshotCount), 4},
		{plain, "snapshot table offset", fixed(offSnapshotsOffset), 8},
		{extended, "refcount order", fixed(offRefcountOrder), 4},
		{extended, "header length", fixed(offHeaderLength), 4},
		{extended, "length of the first extension", fixed(headerLengthV3 + 4), 4},
		{extended, "incompatible features", fixed(offIncompatible), 8},
		{plain, "L1 entry", func(im *Image) int64 { return im.l1.off }, 8},
		{plain, "L2 entry", inTable(0), 8},
		{extended, "descriptor of an L2 entry", inTable(0), 8},
		{extended, "bitmap of an L2 entry", inTable(8), 8},
		{compressed, "L2 entry of a compressed cluster", inTable(0), 8},
		{plain, "refcount table entry", func(im *Image) int64 { return im.hdr.refTableOffset }, 8},
		{plain, "refcounts", func(im *Image) int64 { return int64(im.refs.entries[0]) }, 8},
	}
	for _, f := range []struct {
		name  string
		off   int64
		bytes int
	}{
		{"L1 offset", snapL1Offset, 8}, {"L1 size", snapL1Size, 4}, {"ID length", snapIDLength, 2}, {"name length", snapNameLength, 2},
		{"VM state size", snapVMStateSize32, 4}, {"extra size", snapExtraSize, 4},
		{"VM state size, 64 bits", snapshotFixedSize + extraVMStateSize, 8}, {"disk size", snapshotFixedSize + extraDiskSize, 8},
	} {
		at := func(im *Image) int64 { return im.hdr.snapshotsOffset + f.off }
		list = append(list, hostileField{plain, "snapshot's " + f.name, at, f.bytes})
	}
	for _, f := range []struct {
		name  string
		off   int64
		bytes int
	}{
		{"table offset", bitmapTableOffset, 8}, {"table size", bitmapTableEntries, 4}, {"granularity", bitmapGranularity, 1},
		{"name size", bitmapNameSize, 2}, {"extra size", bitmapExtraSize, 4},
	} {
		at := func(im *Image) int64 { off, _, _ := im.bitmapDirectory(); return off + f.off }
		list = append(list, hostileField{bitmaps, "bitmap's " + f.name, at, f.bytes})
	}
	return append(list, hostileField{bitmaps, "bitmap table entry", func(im *Image) int64 {
		off, _, _ := im.bitmapDirectory()
		var b [8]byte
		_, _ = im.file.ReadAt(b[:], off+bitmapTableOffset)
		return int64(binary.BigEndian.Uint64(b[:]))
	}, 8})
}

var hostileValues = []uint64{
	0, 1, 8, 511, 512, 0xffff, 1 << 16, 1 << 20, 1<<20 + 1, 3 << 19, 1 << 21, 1<<22 - 1, 1 << 22, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 40, 1<<56 - 512, 1 << 56,
	1 << 62, 1<<62 | 512, 1<<63 - 1, 1 << 63, 1<<63 | 1<<55, 1<<64 - 512, 1<<64 - 1,
}

// maxHostileUse is what opening, listing, reading and checking a damaged image may take.
const maxHostileUse = 16 << 20

// TestExtremeValuesOfEveryField: whatever a field says, the image is refused, or used, with
// little memory, and every error says which file it is about and why.
func TestExtremeValuesOfEveryField(t *testing.T) {
	for _, f := range hostileFields() {
		golden := loadGolden(t, f.image)
		at := f.at(open(t, golden, blockdev.Mode{}))
		for _, v := range hostileValues {
			var b [8]byte
			binary.BigEndian.PutUint64(b[:], v<<(64-8*f.bytes))
			m := golden.Clone()
			if _, err := m.WriteAt(b[:f.bytes], at); err != nil {
				t.Fatal(err)
			}
			for _, mode := range []blockdev.Mode{{}, writable} {
				useHostile(t, fmt.Sprintf("%s: %s %#x", f.image, f.name, v), m.Clone(), mode)
			}
		}
	}
}

// useHostile opens, lists, reads and checks an image within bounds.
func useHostile(t *testing.T, what string, m *blocktest.Memory, mode blockdev.Mode) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := func() error {
		im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: &bounded{m}, Mode: mode})
		if err != nil {
			return err
		}
		defer func() { _ = im.Close() }() // what matters is that it returns
		if _, err := im.Info(); err != nil {
			return err
		}
		if _, err := im.Snapshots(); err != nil {
			return err
		}
		if _, err := im.ReadAt(make([]byte, min(im.Size(), 4096)), 0); err != nil {
			return err
		}
		_, err = im.Check(context.Background(), blockdev.CheckOptions{})
		return err
	}()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > maxHostileUse {
		t.Errorf("%s: %d bytes allocated", what, n)
	}
	var e *blockdev.Error
	if err != nil && (!errors.As(err, &e) || e.Kind == nil || blockdev.Message(err) == "") {
		t.Errorf("%s: an error that says little: %#v", what, err)
	}
}
