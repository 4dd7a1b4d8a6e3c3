package qcow

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
)

// newImage is an image of 3 MiB, with one cluster of data.
func newImage(t testing.TB) []byte {
	t.Helper()
	file := &blocktest.Memory{}
	if err := Create(context.Background(), blockdev.CreateRequest{Filename: "test", Size: 3 << 20, File: file}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt([]byte("data"), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func set8(off int, v byte) func([]byte) { return func(b []byte) { b[off] = v } }

func set32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
}

func set64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) }
}

func backing(off uint64, n uint32) func([]byte) {
	return func(b []byte) {
		set64(offBackingOffset, off)(b)
		set32(offBackingSize, n)(b)
	}
}

// The cases of QEMU's iotest 092 (CVE-2014-0222, 0223) are among these.
var damages = []formattest.Damage{
	{Name: "magic", Do: set32(0, 0), Kind: blockdev.ErrFormat, Text: "Image not in qcow format"},
	{Name: "version 0", Do: set32(offVersion, 0), Kind: blockdev.ErrNotSupported, Text: "qcow (v1) does not support qcow version 0"},
	{Name: "version 2", Do: set32(offVersion, 2), Kind: blockdev.ErrNotSupported, Text: "qcow (v1) does not support qcow version 2\nTry the 'qcow2' driver instead."},
	{Name: "size 0", Do: set64(offSize, 0), Kind: blockdev.ErrCorrupt, Text: "Image size is too small (must be at least 2 bytes)"},
	{Name: "size 1", Do: set64(offSize, 1), Kind: blockdev.ErrCorrupt, Text: "Image size is too small (must be at least 2 bytes)"},
	{Name: "size huge", Do: set64(offSize, 1<<62), Kind: blockdev.ErrLimit, Text: "Image too large"},
	{Name: "size negative", Do: set64(offSize, 1<<63), Kind: blockdev.ErrLimit, Text: "Image too large"},
	{Name: "size all ones", Do: set64(offSize, 1<<64-1), Kind: blockdev.ErrLimit, Text: "Image too large"},
	{Name: "size over the table", Do: set64(offSize, 1<<40), Kind: blockdev.ErrCorrupt, Text: "the L1 table of 524288 entries, at offset 0x30, is not in the file", Ours: true},
	{Name: "cluster bits 8", Do: set8(offClusterBits, 8), Kind: blockdev.ErrCorrupt, Text: "Cluster size must be between 512 and 64k"},
	{Name: "cluster bits 17", Do: set8(offClusterBits, 17), Kind: blockdev.ErrCorrupt, Text: "Cluster size must be between 512 and 64k"},
	{Name: "cluster bits 255", Do: set8(offClusterBits, 255), Kind: blockdev.ErrCorrupt, Text: "Cluster size must be between 512 and 64k"},
	{Name: "L2 bits 5", Do: set8(offL2Bits, 5), Kind: blockdev.ErrCorrupt, Text: "L2 table size must be between 512 and 64k"},
	{Name: "L2 bits 14", Do: set8(offL2Bits, 14), Kind: blockdev.ErrCorrupt, Text: "L2 table size must be between 512 and 64k"},
	{Name: "encrypted", Do: set32(offCryptMethod, 1), Kind: blockdev.ErrInvalid, Text: "Parameter 'encrypt.key-secret' is required for cipher", Ours: true},
	{Name: "encryption method", Do: set32(offCryptMethod, 2), Kind: blockdev.ErrNotSupported, Text: "invalid encryption method in qcow header"},
	{Name: "L1 over the header", Do: set64(offL1, 0), Kind: blockdev.ErrCorrupt, Text: "the L1 table of 2 entries, at offset 0x0, is not in the file", Ours: true},
	{Name: "L1 far away", Do: set64(offL1, 1<<40), Kind: blockdev.ErrCorrupt, Text: "the L1 table of 2 entries, at offset 0x10000000000, is not in the file", Ours: true},
	{Name: "L1 negative", Do: set64(offL1, 1<<63), Kind: blockdev.ErrCorrupt, Text: "the L1 table of 2 entries, at offset 0x8000000000000000, is not in the file", Ours: true},
	{Name: "backing file's name long", Do: backing(48, 1024), Kind: blockdev.ErrLimit, Text: "Backing file name too long"},
	{Name: "backing file's name far away", Do: backing(1<<40, 5), Kind: blockdev.ErrCorrupt, Text: "the backing file's name, at offset 0x10000000000, is not in the file", Ours: true},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "qcow", newImage(t), damages)
}

// TestWrongEntriesAreRefused: a guest's write must not reach the header or the L1 table.
func TestWrongEntriesAreRefused(t *testing.T) {
	sound := newImage(t)
	l2 := int(binary.BigEndian.Uint64(sound[headerBytes:]))
	for name, damage := range map[string]func([]byte){
		"cluster over the header":   set64(l2, 40),
		"cluster far away":          set64(l2, 1<<63-4096),
		"packed over the header":    set64(l2, entryCompressed|1<<51|8),
		"packed past the end":       set64(l2, entryCompressed|1<<51|1<<40),
		"packed, but not well":      set64(l2, entryCompressed|64<<51|4096),
		"L2 table over the header":  set64(headerBytes, 8),
		"L2 table far away":         set64(headerBytes, 1<<40),
		"L2 table past the end":     set64(headerBytes, uint64(len(sound)-8)),
		"L2 table, a negative size": set64(headerBytes, 1<<64-8),
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(sound)
			damage(b)
			file := blocktest.NewMemory(b)
			im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := im.ReadAt(make([]byte, 512), 0); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("read: %v", err)
			}
			if _, err := im.WriteAt(make([]byte, 512), 0); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("write: %v", err)
			}
			if !bytes.Equal(file.Bytes()[:len(b)], b) {
				t.Error("the file changed")
			}
		})
	}
}

// TestEncryptedImagesTellOfThemselves: info needs no key.
func TestEncryptedImagesTellOfThemselves(t *testing.T) {
	b := newImage(t)
	set32(offCryptMethod, cryptAES)(b)
	im, err := Open(context.Background(), blockdev.OpenRequest{File: blocktest.NewMemory(b), Mode: blockdev.Mode{NoIO: true}})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := im.Info(); err != nil || !info.Encrypted {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestCompressedClusters writes them, reads them, and writes over one.
func TestCompressedClusters(t *testing.T) {
	const size = 3<<20 - 1024
	file := &blocktest.Memory{}
	if err := Create(context.Background(), blockdev.CreateRequest{Filename: "test", Size: size, File: file}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("compresses well. "), size/17+1)[:size]
	rand.New(rand.NewSource(1)).Read(want[8192:12288]) // and this does not
	for off := int64(0); off < size; off += im.BlockSize() {
		if err := im.WriteCompressed(want[off:min(size, off+im.BlockSize())], off); err != nil {
			t.Fatal(err)
		}
	}
	if n := file.Size(); n > size/10 {
		t.Errorf("the file has %d bytes", n)
	}
	if err := im.WriteCompressed(want[:4096], 0); !errors.Is(err, blockdev.ErrInvalid) {
		t.Errorf("written twice: %v", err)
	}
	if err := im.WriteCompressed(want[:100], 4096); !errors.Is(err, blockdev.ErrInvalid) {
		t.Errorf("a part of a cluster: %v", err)
	}
	copy(want[5000:], "written over")
	if _, err := im.WriteAt(want[5000:5012], 5000); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	formattest.SameAsQEMU(t, "qcow", file.Bytes(), want)
}

func FuzzImage(f *testing.F) {
	b := newImage(f)
	l2 := binary.BigEndian.Uint64(b[headerBytes:])
	formattest.Fuzz(f, "qcow", damages, append([][]byte{b}, formattest.Goldens(f, "qcow")...)...)
	for _, at := range []uint64{headerBytes, l2, l2 + 8} {
		for _, v := range []uint64{8, 1 << 63, 1<<63 | 1<<51, 1<<64 - 1, 0x1000, 0x3001} {
			// Fuzz puts the bytes in the other order.
			var s [8]byte
			binary.BigEndian.PutUint64(s[:], v)
			f.Add(b, uint32(at), binary.LittleEndian.Uint64(s[:]))
		}
	}
}
