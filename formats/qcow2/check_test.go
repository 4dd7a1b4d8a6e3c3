package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// patched are the bytes of an image, to be changed.
type patched struct{ data []byte }

func (p patched) file() *blocktest.Memory { return blocktest.NewMemory(p.data) }

func (p patched) u64(off int64) int64 { return int64(binary.BigEndian.Uint64(p.data[off:])) }

func (p patched) set64(off int64, v uint64) { binary.BigEndian.PutUint64(p.data[off:], v) }
func (p patched) set32(off int64, v uint32) { binary.BigEndian.PutUint32(p.data[off:], v) }
func (p patched) set16(off int64, v uint16) { binary.BigEndian.PutUint16(p.data[off:], v) }

// Where things are, read from the image itself.
func (p patched) refTable() int64  { return p.u64(offRefTableOffset) }
func (p patched) refBlock() int64  { return p.u64(p.refTable()) }
func (p patched) l1() int64        { return p.u64(offL1Offset) }
func (p patched) l2() int64        { return p.u64(p.l1()) & entryOffset }
func (p patched) snapshots() int64 { return p.u64(offSnapshotsOffset) }

// damages are changes to an image that has 16 clusters, all in a snapshot, of which the
// first 2 were written again.
var damages = []struct {
	name   string
	damage func(p patched)
}{
	{"none", func(patched) {}},
	{"refcount 0", func(p patched) { p.set16(p.refBlock()+2*7, 0) }},
	{"refcount too low", func(p patched) { p.set16(p.refBlock()+2*7, 1) }},
	{"refcount too high", func(p patched) { p.set16(p.refBlock()+2*7, 9) }},
	{"refcount past the end", func(p patched) { p.set16(p.refBlock()+2*1000, 1) }},
	{"copied flag missing", func(p patched) { p.set64(p.l2(), uint64(p.u64(p.l2()))&^entryCopied) }},
	{"copied flag on shared", func(p patched) { p.set64(p.l2()+16, uint64(p.u64(p.l2()+16))|entryCopied) }},
	{"copied flag missing in L1", func(p patched) { p.set64(p.l1(), uint64(p.u64(p.l1()))&^entryCopied) }},
	{"data unaligned", func(p patched) { p.set64(p.l2(), uint64(p.u64(p.l2()))|512) }},
	{"storage set aside, unaligned", func(p patched) { p.set64(p.l2(), uint64(p.u64(p.l2()))|512|entryZero) }},
	{"data unaligned across the end", func(p patched) { p.set64(p.l2(), uint64(len(p.data)-512)&^511|entryCopied) }},
	{"data past the end", func(p patched) { p.set64(p.l2(), entryCopied|0x4000000000) }},
	{"reserved bits in L2", func(p patched) { p.set64(p.l2(), uint64(p.u64(p.l2()))|1<<57|4) }},
	{"reserved bits in L1", func(p patched) { p.set64(p.l1(), uint64(p.u64(p.l1()))|1<<57|4) }},
	{"L2 past the end", func(p patched) { p.set64(p.l1(), entryCopied|0x4000000000) }},
	{"two users", func(p patched) { p.set64(p.l2(), uint64(p.u64(p.l2()+8))) }},
	{"compressed with copied flag", func(p patched) { p.set64(p.l2(), 3<<62|uint64(p.u64(p.l2()))&entryOffset) }},
	{"compressed past the end", func(p patched) { p.set64(p.l2(), 1<<62|1<<40) }},
	{"data at 0", func(p patched) { p.set64(p.l2(), entryCopied) }},
	{"data in the refcount table", func(p patched) { p.set64(p.l2(), entryCopied|uint64(p.refTable())) }},
	{"zero flag", func(p patched) { p.set64(p.l2(), uint64(p.u64(p.l2()))|1) }},
	{"refcount block past the end", func(p patched) { p.set64(p.refTable()+8, 0x40000000000) }},
	{"refcount block twice", func(p patched) { p.set64(p.refTable()+8, uint64(p.refBlock())) }},
	{"reserved bits in refcount table", func(p patched) { p.set64(p.refTable(), uint64(p.refBlock())|1) }},
	{"snapshot L1 unaligned", func(p patched) { p.set64(p.snapshots(), uint64(p.u64(p.snapshots()))+512) }},
	{"snapshot L1 past the end", func(p patched) { p.set64(p.snapshots(), 1<<40) }},
	{"snapshot L1 too large", func(p patched) { p.set32(p.snapshots()+snapL1Size, 1<<23) }},
	{"snapshot without disk size", func(p patched) { p.set32(p.snapshots()+snapExtraSize, 8) }},
	{"corrupt bit", func(p patched) { p.set64(offIncompatible, incompatCorrupt) }},
	{"dirty bit", func(p patched) { p.set64(offIncompatible, incompatDirty) }},
}

// TestTooManyReferences: what narrow refcounts cannot express is damage that only wider ones
// put right.
func TestTooManyReferences(t *testing.T) {
	m := create(t, 64<<20, blockdev.Options{"refcount_bits": "1"})
	im := open(t, m, writable)
	if _, err := im.WriteAt(bytes.Repeat([]byte{1}, 1<<16), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	p := patched{m.Bytes()}
	p.set64(p.l2()+8, uint64(p.u64(p.l2())))
	im = open(t, p.file(), blockdev.Mode{Writable: true, Check: true})
	var findings []string
	r, err := im.Check(context.Background(), blockdev.CheckOptions{RepairErrors: true, RepairLeaks: true,
		Report: func(f blockdev.Finding) { findings = append(findings, f.Text) }})
	want := "ERROR: overflow cluster offset=0x50000\n" +
		"Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing"
	if err != nil || len(findings) != 1 || findings[0] != want || r.Corruptions != 1 || r.CorruptionsFixed != 0 {
		t.Errorf("%v, %+v, findings %q", err, r, findings)
	}
}

// written is a new image with data in its first cluster.
func written(t *testing.T, size int64, o blockdev.Options) patched {
	t.Helper()
	m := create(t, size, o)
	im := open(t, m, writable)
	if _, err := im.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return patched{m.Bytes()}
}

// damagedBase is the image that damages are about.
func damagedBase(t *testing.T) *blocktest.Memory {
	m := create(t, 64<<20, nil)
	im := open(t, m, writable)
	if _, err := im.WriteAt(bytes.Repeat([]byte{1}, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt(bytes.Repeat([]byte{2}, 128<<10), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// qemuCheck is what qemu-img check says: its findings and its counts.
func qemuCheck(t *testing.T, image string) (findings []string, counts blockdev.CheckResult) {
	t.Helper()
	// The exit status tells about findings; those are compared.
	out, _ := exec.Command("qemu-img", "check", "-f", "qcow2", image).CombinedOutput()
	for _, l := range strings.Split(string(out), "\n") {
		for _, prefix := range []string{"ERROR", "Leaked", "Can't get"} {
			if strings.HasPrefix(l, prefix) {
				findings = append(findings, l)
			}
		}
	}
	js, _ := exec.Command("qemu-img", "check", "--output=json", "-f", "qcow2", image).Output()
	var v struct {
		Corruptions int64 `json:"corruptions"`
		Leaks       int64 `json:"leaks"`
		Errors      int64 `json:"check-errors"`
		End         int64 `json:"image-end-offset"`
		Total       int64 `json:"total-clusters"`
		Allocated   int64 `json:"allocated-clusters"`
		Fragmented  int64 `json:"fragmented-clusters"`
		Compressed  int64 `json:"compressed-clusters"`
	}
	if err := json.Unmarshal(js, &v); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return findings, blockdev.CheckResult{Corruptions: v.Corruptions, Leaks: v.Leaks, CheckErrors: v.Errors, ImageEndOffset: v.End,
		TotalClusters: v.Total, AllocatedClusters: v.Allocated, FragmentedClusters: v.Fragmented, CompressedClusters: v.Compressed}
}

func TestCheckFindsWhatQEMUFinds(t *testing.T) {
	peer.Need(t, "qemu-img")
	base := damagedBase(t)
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			p := patched{base.Bytes()}
			d.damage(p)
			want, wantCounts := qemuCheck(t, save(t, p.file()))
			var got []string
			counts, err := open(t, p.file(), blockdev.Mode{}).Check(context.Background(), blockdev.CheckOptions{
				Report: func(f blockdev.Finding) { got = append(got, f.Text) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("findings (-QEMU +ours):\n%s", diff)
			}
			if diff := cmp.Diff(wantCounts, counts); diff != "" {
				t.Errorf("counts (-QEMU +ours):\n%s", diff)
			}
		})
	}
}

// TestDamagedImagesAreFound is for machines without QEMU: what must be found, by kind.
func TestDamagedImagesAreFound(t *testing.T) {
	harmless := map[string]bool{"none": true, "refcount past the end": true, "zero flag": true, "corrupt bit": true, "dirty bit": true}
	leaks := map[string]bool{"refcount too high": true, "data at 0": true}
	base := damagedBase(t)
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			p := patched{base.Bytes()}
			d.damage(p)
			res, err := open(t, p.file(), blockdev.Mode{}).Check(context.Background(), blockdev.CheckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if found := res.Corruptions > 0; found == (harmless[d.name] || leaks[d.name]) {
				t.Errorf("corruptions: %d", res.Corruptions)
			}
			if leaks[d.name] && res.Leaks == 0 {
				t.Error("no leak found")
			}
		})
	}
}

// TestInvalidSubclusters are found in QEMU's words.
func TestInvalidSubclusters(t *testing.T) {
	peer.Need(t, "qemu-img")
	p := written(t, 1<<20, blockdev.Options{"extended_l2": "on"})
	p.set64(p.l2()+8, 1<<zeroBitmapShift|1)
	p.set64(p.l2()+16+8, 1)
	want, _ := qemuCheck(t, save(t, p.file()))
	var got []string
	_, err := open(t, p.file(), blockdev.Mode{Check: true}).Check(context.Background(), blockdev.CheckOptions{
		Report: func(f blockdev.Finding) { got = append(got, f.Text) },
	})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-QEMU +ours)\n%s", err, diff)
	}
}
