package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
)

func put32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[off:], v) }
}

func put64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[off:], v) }
}

func replace(old, with string) func([]byte) {
	return func(b []byte) {
		d := b[sectorSize : sectorSize+createDescriptor]
		copy(d, append(bytes.Replace(d, []byte(old), []byte(with), 1), make([]byte, len(d))...))
	}
}

var damages = []formattest.Damage{
	{Name: "version", Do: put32(offVersion, 4), Kind: blockdev.ErrNotSupported, Text: "Unsupported VMDK version 4"},
	{Name: "line ends", Do: func(b []byte) { b[offNewlines] = '\r' }, Kind: blockdev.ErrCorrupt,
		Text: "VMDK header is damaged: its line ends were changed", Ours: true},
	{Name: "grain 0", Do: put64(offGrainSize, 0), Kind: blockdev.ErrCorrupt, Text: "L1 entry size is invalid"},
	{Name: "grain odd", Do: put64(offGrainSize, 3), Kind: blockdev.ErrCorrupt, Text: "Invalid granularity, image may be corrupt", Ours: true},
	{Name: "grain large", Do: put64(offGrainSize, 1<<13), Kind: blockdev.ErrCorrupt, Text: "Invalid granularity, image may be corrupt", Ours: true},
	{Name: "grain huge", Do: put64(offGrainSize, 1<<22), Kind: blockdev.ErrCorrupt, Text: "Invalid granularity, image may be corrupt"},
	{Name: "grain negative", Do: put64(offGrainSize, 1<<64-1), Kind: blockdev.ErrCorrupt, Text: "Invalid granularity, image may be corrupt"},
	{Name: "table entries", Do: put32(offGTEs, 513), Kind: blockdev.ErrLimit, Text: "L2 table size too big"},
	{Name: "table entries huge", Do: put32(offGTEs, 1<<32-1), Kind: blockdev.ErrLimit, Text: "L2 table size too big"},
	{Name: "table entries 0", Do: put32(offGTEs, 0), Kind: blockdev.ErrCorrupt, Text: "L1 entry size is invalid"},
	{Name: "capacity large", Do: put64(offCapacity, 1<<37), Kind: blockdev.ErrLimit, Text: "L1 size too big", Ours: true},
	{Name: "capacity huge", Do: put64(offCapacity, 1<<54), Kind: blockdev.ErrLimit, Text: "L1 size too big", Ours: true},
	{Name: "capacity negative", Do: put64(offCapacity, 0xffffffff00000000), Kind: blockdev.ErrLimit, Text: "L1 size too big"},
	{Name: "overhead behind the end", Do: put64(offOverhead, 1<<20), Kind: blockdev.ErrCorrupt,
		Text: "File truncated, expecting at least 536870912 bytes"},
	{Name: "capacity over the directory", Do: put64(offCapacity, 1<<36), Kind: blockdev.ErrCorrupt,
		Text: "File truncated, expecting at least 4207616 bytes", Ours: true},
	{Name: "directory behind the end", Do: put64(offGD, 1<<40), Kind: blockdev.ErrCorrupt,
		Text: "File truncated, expecting at least 562949953421316 bytes", Ours: true},
	{Name: "directory negative", Do: put64(offGD, 1<<63), Kind: blockdev.ErrCorrupt,
		Text: "File truncated, expecting at least 9223372035781033988 bytes", Ours: true},
	{Name: "footer missing", Do: put64(offGD, gdAtEnd), Kind: blockdev.ErrCorrupt, Text: "VMDK footer is damaged", Ours: true},
	{Name: "copy behind the end", Do: put64(offRGD, 1<<40), Kind: blockdev.ErrCorrupt,
		Text: "File truncated, expecting at least 562949953421316 bytes", Ours: true},
	{Name: "no descriptor", Do: put64(offDescSize, 0), Kind: blockdev.ErrCorrupt, Text: "VMDK extent has no descriptor", Ours: true},
	{Name: "descriptor huge", Do: put64(offDescSize, 1<<30), Kind: blockdev.ErrLimit, Text: "VMDK descriptor of 549755813888 bytes is too long", Ours: true},
	{Name: "descriptor behind the end", Do: put64(offDescPlace, 1<<30), Kind: blockdev.ErrCorrupt, Text: "VMDK file is truncated", Ours: true},
	{Name: "no CID", Do: replace("CID=", "XID="), Kind: blockdev.ErrCorrupt, Text: "VMDK descriptor has no CID", Ours: true},
	{Name: "extent line", Do: replace("RW 6", "RW -6"), Kind: blockdev.ErrCorrupt, Text: `Invalid extent line: RW -6145 SPARSE "a.vmdk"`, Ours: true},
}

func smallImage(t testing.TB) []byte {
	t.Helper()
	m := &blocktest.Memory{}
	v, err := createOptionTable.Parse(blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(context.Background(), blockdev.CreateRequest{Filename: "a.vmdk", Size: 3<<20 + 512, File: m, Options: v}); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

func TestHostileHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "vmdk", smallImage(t), damages)
}

// TestGrainsThatLieWrong: what claims to be guest data must not be metadata, and what is
// not in the file must not be made up.
func TestGrainsThatLieWrong(t *testing.T) {
	base := smallImage(t)
	g, err := readSparse(blocktest.NewMemory(base), "")
	if err != nil {
		t.Fatal(err)
	}
	at := int(binary.LittleEndian.Uint32(base[g.directory:])) * sectorSize
	for name, c := range map[string]struct {
		sector uint32
		read   bool // it reads, but is never written to
	}{
		"descriptor":       {1, true},
		"copy's directory": {uint32(g.redundant / sectorSize), true},
		"grain table":      {uint32(at / sectorSize), true},
		"behind the file":  {1 << 20, false},
		"far away":         {1<<32 - 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := append(bytes.Clone(base), make([]byte, 2*createGrain)...)
			put32(at+4, c.sector)(b)
			file := blocktest.NewMemory(b)
			im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test", File: file, Mode: blockdev.Mode{Writable: true}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := im.ReadAt(make([]byte, 512), createGrain); c.read != (err == nil) || err != nil && !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("read: %v", err)
			}
			if _, err := im.WriteAt(make([]byte, 512), createGrain); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("write: %v", err)
			}
			if err := im.WriteZeroes(createGrain, createGrain, 0); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("zeroes: %v", err)
			}
			res, err := im.Check(context.Background(), blockdev.CheckOptions{})
			if err != nil || res.Corruptions != 1 {
				t.Errorf("check: %+v, %v", res, err)
			}
		})
	}
}

const textHead = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"

// TestHostileDescriptors has the case of CVE-2022-47951 among others: an extent that is a file
// of the host which the image's maker has no right to.
func TestHostileDescriptors(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		kind error
	}{
		"no extents":       {textHead, blockdev.ErrCorrupt},
		"no CID":           {"# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"x\" 0\n", blockdev.ErrCorrupt},
		"type":             {"# Disk DescriptorFile\nversion=1\nCID=1\ncreateType=\"fullDevice\"\nRW 1 FLAT \"x\" 0\n", blockdev.ErrNotSupported},
		"sectors negative": {textHead + "RW -1 FLAT \"x\" 0\n", blockdev.ErrCorrupt},
		"sectors huge":     {textHead + "RW 9223372036854775807 FLAT \"x\" 0\n", blockdev.ErrCorrupt},
		"offset huge":      {textHead + "RW 1 FLAT \"x\" 18014398509481984\n", blockdev.ErrCorrupt},
		"sum of extents":   {textHead + "RW 18014398507384832 ZERO\nRW 18014398507384832 ZERO\n", blockdev.ErrLimit},
		"too many extents": {textHead + string(bytes.Repeat([]byte("RW 1 ZERO\n"), maxExtents+1)), blockdev.ErrLimit},
		"kind":             {textHead + "RW 1 VMFSRDM \"x\"\n", blockdev.ErrNotSupported},
		"no name":          {textHead + "RW 1 FLAT\n", blockdev.ErrCorrupt},
		"offset of sparse": {textHead + "RW 1 SPARSE \"x\" 0\n", blockdev.ErrCorrupt},
		"flat at nothing":  {textHead + "RW 1 FLAT \"x\"\n", blockdev.ErrCorrupt},
		"open quote":       {textHead + "RW 1 FLAT \"x\n", blockdev.ErrCorrupt},
		"no access":        {textHead + "NOACCESS 1 FLAT \"x\" 0\n", blockdev.ErrNotSupported},
		"no gate":          {textHead + "RW 1 FLAT \"/etc/passwd\" 0\n", blockdev.ErrDenied},
		"protocol":         {textHead + "RW 1 FLAT \"nbd:unix:/x\" 0\n", blockdev.ErrDenied},
		"description":      {textHead + "RW 1 FLAT \"json:{}\" 0\n", blockdev.ErrDenied},
		"no descriptor":    {"# a text\n", blockdev.ErrFormat},
		"long":             {textHead + string(make([]byte, maxDescriptor)), blockdev.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			var g blockdev.Graph
			if _, err := g.Add(blocktest.NewMemory([]byte(c.text)), "bytes", blockdev.Mode{}); err != nil {
				t.Fatal(err)
			}
			o := blockdev.Options{"driver": "vmdk", "file": "bytes"}
			if _, err := g.OpenDescription(context.Background(), o, blockdev.OpenOptions{}); !errors.Is(err, c.kind) {
				t.Errorf("%v, want %v", err, c.kind)
			}
		})
	}
}

func FuzzImage(f *testing.F) {
	seeds := [][]byte{smallImage(f), []byte(textHead + "RW 4096 ZERO\n"), []byte(textHead + "RW 1 FLAT \"x\" 0\n"), cowdImage(), seImage(), streamImage(f)}
	formattest.Fuzz(f, "vmdk", damages, append(seeds, formattest.Goldens(f, "vmdk")...)...)
}
