package qcow2

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// hostileHeaders are images that must be refused, with QEMU's words where it has some.
var hostileHeaders = []struct {
	name   string
	damage func(p patched)
	kind   error
	text   string
	ours   bool // QEMU opens it, or says something else
}{
	{"magic", func(p patched) { p.set32(offMagic, 0) }, blockdev.ErrFormat, "Image is not in qcow2 format", false},
	{"version 1", func(p patched) { p.set32(offVersion, 1) }, blockdev.ErrNotSupported, "Unsupported qcow2 version 1", false},
	{"version 4", func(p patched) { p.set32(offVersion, 4) }, blockdev.ErrNotSupported, "Unsupported qcow2 version 4", false},
	{"cluster bits 8", func(p patched) { p.set32(offClusterBits, 8) }, blockdev.ErrCorrupt, "Unsupported cluster size: 2^8", false},
	{"cluster bits 22", func(p patched) { p.set32(offClusterBits, 22) }, blockdev.ErrCorrupt, "Unsupported cluster size: 2^22", false},
	{"cluster bits huge", func(p patched) { p.set32(offClusterBits, 0x7fffffff) }, blockdev.ErrCorrupt, "Unsupported cluster size: 2^2147483647", false},
	{"short header", func(p patched) { p.set32(offHeaderLength, 96) }, blockdev.ErrCorrupt, "qcow2 header too short", false},
	{"long header", func(p patched) { p.set32(offHeaderLength, 0x20000) }, blockdev.ErrCorrupt, "qcow2 header exceeds cluster size", false},
	{"refcount order", func(p patched) { p.set32(offRefcountOrder, 7) }, blockdev.ErrCorrupt, "Reference count entry width too large; may not exceed 64 bits", false},
	{"crypt method", func(p patched) { p.set32(offCryptMethod, 3) }, blockdev.ErrNotSupported, "Unsupported encryption method 3", false},
	{"encrypted", func(p patched) { p.set32(offCryptMethod, 1) }, blockdev.ErrInvalid, "Parameter 'encrypt.key-secret' is required for cipher", true},
	{"encrypted without a header", func(p patched) { p.set32(offCryptMethod, 2) }, blockdev.ErrCorrupt, "CRYPTO header extension is missing", true},
	{"data file", func(p patched) { p.set64(offIncompatible, incompatDataFile) }, blockdev.ErrInvalid, "'data-file' is required for this image", true},
	{"unknown feature", func(p patched) { p.set64(offIncompatible, 1<<5) }, blockdev.ErrNotSupported, "Unsupported qcow2 feature(s): Unknown incompatible feature: 20", false},
	{"named feature", func(p patched) {
		p.set64(offIncompatible, 1<<62|1<<5)
		copy(p.data[headerLengthV3+extHeaderSize:], "\x00\x05future thing\x00")
	}, blockdev.ErrNotSupported, "Unsupported qcow2 feature(s): future thing, Unknown incompatible feature: 4000000000000000", false},
	{"compression bit", func(p patched) { p.set64(offIncompatible, incompatCompression) }, blockdev.ErrCorrupt, "qcow2: Compression type incompatible feature bit must not be set", false},
	{"compression type without bit", func(p patched) { p.data[offCompressionType] = 1 }, blockdev.ErrCorrupt, "qcow2: Compression type incompatible feature bit must be set", false},
	{"compression type", func(p patched) { p.set64(offIncompatible, incompatCompression); p.data[offCompressionType] = 2 }, blockdev.ErrNotSupported, "qcow2: unknown compression type: 2", false},
	{"L1 size", func(p patched) { p.set32(offL1Size, 4<<20+1) }, blockdev.ErrLimit, "Active L1 table too large", false},
	{"L1 size huge", func(p patched) { p.set32(offL1Size, 0xffffffff) }, blockdev.ErrLimit, "Active L1 table too large", false},
	{"L1 size 0", func(p patched) { p.set32(offL1Size, 0) }, blockdev.ErrCorrupt, "L1 table is too small", false},
	{"L1 offset unaligned", func(p patched) { p.set64(offL1Offset, 512+0x30000) }, blockdev.ErrCorrupt, "Active L1 table offset invalid", false},
	{"L1 offset huge", func(p patched) { p.set64(offL1Offset, 1<<63) }, blockdev.ErrCorrupt, "Active L1 table offset invalid", false},
	{"refcount table missing", func(p patched) { p.set32(offRefTableClusters, 0) }, blockdev.ErrCorrupt, "Image does not contain a reference count table", false},
	{"refcount table size", func(p patched) { p.set32(offRefTableClusters, 129) }, blockdev.ErrLimit, "Reference count table too large", false},
	{"refcount table size huge", func(p patched) { p.set32(offRefTableClusters, 0xffffffff) }, blockdev.ErrLimit, "Reference count table too large", false},
	{"refcount table offset", func(p patched) { p.set64(offRefTableOffset, 0x10008) }, blockdev.ErrCorrupt, "Reference count table offset invalid", false},
	{"refcount table offset negative", func(p patched) { p.set64(offRefTableOffset, 1<<63|0x10000) }, blockdev.ErrCorrupt, "Reference count table offset invalid", false},
	{"snapshots", func(p patched) { p.set32(offSnapshotCount, 65537) }, blockdev.ErrLimit, "Snapshot table too large", false},
	{"snapshots offset", func(p patched) { p.set64(offSnapshotsOffset, 0x10008) }, blockdev.ErrCorrupt, "Snapshot table offset invalid", false},
	{"snapshots offset negative", func(p patched) { p.set64(offSnapshotsOffset, 1<<63) }, blockdev.ErrCorrupt, "Snapshot table offset invalid", false},
	{"snapshot extra data", func(p patched) { p.set32(p.snapshots()+snapExtraSize, 1025) }, blockdev.ErrLimit,
		"Too much extra metadata in snapshot table entry 0\nYou can force-remove this extra metadata with qemu-img check -r all", false},
	{"backing file offset", func(p patched) { p.set64(offBackingOffset, 0x20000); p.set32(offBackingSize, 10) }, blockdev.ErrCorrupt, "Invalid backing file offset", false},
	{"backing file name", func(p patched) { p.set64(offBackingOffset, 0x300); p.set32(offBackingSize, 1024) }, blockdev.ErrCorrupt, "Backing file name too long", false},
	{"backing file name past the cluster", func(p patched) { p.set64(offBackingOffset, 0xfff0); p.set32(offBackingSize, 100) }, blockdev.ErrCorrupt, "Backing file name too long", false},
	{"extension", func(p patched) { p.set32(headerLengthV3+4, 0xffffff) }, blockdev.ErrCorrupt, "Header extension too large", false},
	{"size", func(p patched) { p.set64(offSize, 1<<62) }, blockdev.ErrLimit, "Image is too big", false},
	{"size negative", func(p patched) { p.set64(offSize, 1<<64-512) }, blockdev.ErrLimit, "Image is too big", true},
	{"size over L1", func(p patched) { p.set64(offSize, 3<<30) }, blockdev.ErrCorrupt, "L1 table is too small", false},
}

// maxHostileBytes is what refusing an image may allocate: less than any table it claims.
const maxHostileBytes = 4 << 20

func TestHostileHeadersAreRefused(t *testing.T) {
	base := damagedBase(t)
	for _, h := range hostileHeaders {
		t.Run(h.name, func(t *testing.T) {
			p := patched{base.Bytes()}
			h.damage(p)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: p.file()})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, h.kind) || blockdev.Message(err) != h.text {
				t.Errorf("%v, want %v with text %q", err, h.kind, h.text)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > maxHostileBytes {
				t.Errorf("%d bytes allocated", n)
			}
			if h.ours {
				return
			}
			peer.Need(t, "qemu-img")
			out, _ := exec.Command("qemu-img", "info", "-f", "qcow2", save(t, p.file())).CombinedOutput()
			if !strings.HasSuffix(strings.TrimSpace(string(out)), "': "+h.text) {
				t.Errorf("QEMU says %s", out)
			}
		})
	}
}

// TestCorruptEntriesNeverReachMetadata: a table entry that claims that a table is guest
// data must not let a guest write into the table.
func TestCorruptEntriesNeverReachMetadata(t *testing.T) {
	base := damagedBase(t)
	for name, target := range map[string]func(p patched) int64{
		"header":         func(patched) int64 { return 0 },
		"refcount table": patched.refTable,
		"refcount block": patched.refBlock,
		"L1 table":       patched.l1,
		"L2 table":       patched.l2,
		"snapshots":      patched.snapshots,
		"snapshot's L1":  func(p patched) int64 { return p.u64(p.snapshots()) },
		"far away":       func(patched) int64 { return 1 << 50 },
	} {
		for _, flag := range []uint64{0, entryZero} {
			t.Run(name, func(t *testing.T) {
				p := patched{base.Bytes()}
				p.set64(p.l2()+8, entryCopied|uint64(target(p))|flag)
				m := p.file()
				im := open(t, m, writable)
				// The refcount block is in memory as soon as something was allocated.
				if _, err := im.WriteAt([]byte{1}, 5<<20); err != nil {
					t.Fatal(err)
				}
				before := im.hdr.incompatible
				_, err := im.WriteAt(make([]byte, 512), 1<<16)
				if name == "header" {
					return // offset 0 is an unallocated cluster
				}
				if !errors.Is(err, blockdev.ErrCorrupt) {
					t.Fatal(err)
				}
				if before == im.hdr.incompatible || im.Writable() {
					t.Error("the image is not marked corrupt")
				}
				if _, err := im.WriteAt([]byte{1}, 0); !errors.Is(err, blockdev.ErrReadOnly) {
					t.Errorf("writing goes on: %v", err)
				}
				at := target(p)
				if at < int64(len(p.data)) && name != "refcount block" && !bytes.Equal(m.Bytes()[at:at+512], p.data[at:at+512]) {
					t.Error("the table was overwritten")
				}
				if _, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: m, Mode: writable}); !errors.Is(err, blockdev.ErrCorrupt) {
					t.Errorf("a corrupt image opens for writing: %v", err)
				}
			})
		}
	}
}

// FuzzImage uses images of which nothing is expected but that everything comes back, with
// an error or without, and that the memory needed is bounded.
func FuzzImage(f *testing.F) {
	for _, name := range []string{"v2-512-snapshots.qcow2", "v3-1k-refcount1.qcow2", "v3-4k-zeroes.qcow2", "overlay.qcow2", "bitmap.qcow2", "v3-16k-extended.qcow2"} {
		f.Add(loadGolden(f, name).Bytes(), uint32(0), uint64(0))
	}
	external := loadGolden(f, "v3-4k-zeroes.qcow2").Bytes() // with a data file in place of its clusters
	f.Add(external, uint32(offIncompatible), uint64(incompatDataFile))
	zlib := loadGolden(f, "v3-4k-zlib.qcow2").Bytes()
	for _, off := range []uint32{offIncompatible, offL1Offset, offSnapshotsOffset, offRefTableOffset, 0x3000, 0x4000} {
		f.Add(zlib, off, uint64(1)<<63|0x3000)
	}
	f.Fuzz(func(t *testing.T, image []byte, at uint32, v uint64) {
		if len(image) > maxFuzzImage {
			t.Skip("too long")
		}
		p := patched{bytes.Clone(image)}
		if int(at)+8 <= len(image) {
			p.set64(int64(at), v)
		}
		use(p.file(), blockdev.Mode{})
		use(p.file(), writable)
		useRepaired(t, p.file())
	})
}

// useRepaired repairs an image; what a repair calls clean is clean.
func useRepaired(t *testing.T, m *blocktest.Memory) {
	im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: &bounded{m}, Mode: repairing})
	if err != nil {
		return
	}
	o := blockdev.CheckOptions{RepairLeaks: true, RepairErrors: true}
	res, err := im.Check(context.Background(), o)
	if err == nil && res.Corruptions+res.CheckErrors+res.Leaks == 0 {
		again, err := im.Check(context.Background(), blockdev.CheckOptions{})
		if err != nil || again.Corruptions+again.CheckErrors+again.Leaks > 0 {
			t.Errorf("after a repair, %+v: %+v, %v", res, again, err)
		}
	}
	_ = im.Close()
}

// fuzzReach bounds how much of a disk is touched, and how long a file may grow: an image
// may claim to be huge. maxFuzzImage leaves out what only takes longer.
const (
	fuzzReach    = 256 << 10
	maxFuzzImage = 512 << 10
)

// use does a bit of everything to an image.
func use(m *blocktest.Memory, mode blockdev.Mode) {
	file := &bounded{m}
	im, err := Open(context.Background(), blockdev.OpenRequest{
		Filename: "test.qcow2", File: file, Mode: mode, OpenReference: companion{&bounded{&blocktest.Memory{}}}.open,
	})
	if err != nil {
		return
	}
	n := min(im.Size(), fuzzReach)
	buf := make([]byte, n)
	_, _ = im.ReadAt(buf, 0)
	_, _ = im.ReadAt(buf[:min(n, 512)], im.Size()-min(n, 512))
	if im.Size() > 0 {
		_, _ = im.Map(0, im.Size())
	}
	_, _ = im.Info()
	if mode.Writable {
		_, _ = im.WriteAt(buf[:min(n, 3000)], n/3)
		_ = im.WriteCompressed(buf[:min(n, im.clusterSize)], n/2&^(im.clusterSize-1))
		_ = im.WriteZeroes(0, n/2, blockdev.ZeroMayUnmap)
		_ = im.Discard(0, n/4)
		_, _ = im.WriteVMState(buf[:min(n, 700)], 100)
		_, _ = im.CreateSnapshot(blockdev.Snapshot{Name: "fuzz"})
	}
	snaps, _ := im.Snapshots()
	for _, s := range snaps[:min(len(snaps), 3)] {
		if node, err := im.OpenSnapshot(s.ID); err == nil {
			_, _ = node.ReadAt(buf[:min(n, node.Size())], 0)
			_ = node.Close()
		}
		_, _ = im.SnapshotExclusive(s.ID)
		if mode.Writable {
			_ = im.ApplySnapshot(s.ID)
			_ = im.DeleteSnapshot(s.ID)
		}
	}
	_, _ = im.Check(context.Background(), blockdev.CheckOptions{})
	_ = im.Close()
}

// bounded is a file that refuses to grow without end.
type bounded struct{ *blocktest.Memory }

func (b *bounded) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > 64*fuzzReach {
		return 0, blockdev.Errorf(blockdev.ErrNoSpace, "write", "", "full")
	}
	return b.Memory.WriteAt(p, off)
}
