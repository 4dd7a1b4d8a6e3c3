package qcow2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

var repairing = blockdev.Mode{Writable: true, Check: true}

// repairOutcome is what a repair reports, and the check that follows it.
type repairOutcome struct {
	Findings                                         []string
	Failed                                           bool
	Corruptions, Leaks, CorruptionsFixed, LeaksFixed int64
}

func repairOptions(mode string) blockdev.CheckOptions {
	return blockdev.CheckOptions{RepairLeaks: true, RepairErrors: mode == "all"}
}

// repair repairs as qemu-img check does: what was repaired is checked again.
func repair(t *testing.T, m *blocktest.Memory, mode string) (out repairOutcome) {
	t.Helper()
	im := open(t, m, repairing)
	o := repairOptions(mode)
	o.Report = func(f blockdev.Finding) { out.Findings = append(out.Findings, f.Text) }
	res, err := im.Check(context.Background(), o)
	if err != nil {
		out.Failed = true
	} else if res.CorruptionsFixed+res.LeaksFixed > 0 {
		again, err := im.Check(context.Background(), blockdev.CheckOptions{Report: o.Report})
		if err != nil {
			t.Fatal(err)
		}
		again.CorruptionsFixed, again.LeaksFixed = res.CorruptionsFixed, res.LeaksFixed
		res = again
	}
	if !out.Failed {
		out.Corruptions, out.Leaks, out.CorruptionsFixed, out.LeaksFixed = res.Corruptions, res.Leaks, res.CorruptionsFixed, res.LeaksFixed
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// qemuRepair has qemu-img repair an image.
func qemuRepair(t *testing.T, image, mode string) (out repairOutcome) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("qemu-img", "check", "--output=json", "-f", "qcow2", "-r", mode, image)
	cmd.Stderr = &stderr
	js, _ := cmd.Output() // the status tells about findings
	for _, l := range strings.Split(stderr.String(), "\n") {
		if l != "" && !strings.HasPrefix(l, "qemu-img:") {
			out.Findings = append(out.Findings, l)
		}
	}
	var v struct {
		Corruptions      int64 `json:"corruptions"`
		Leaks            int64 `json:"leaks"`
		CorruptionsFixed int64 `json:"corruptions-fixed"`
		LeaksFixed       int64 `json:"leaks-fixed"`
	}
	if len(js) == 0 {
		out.Failed = true
		return out
	}
	if err := json.Unmarshal(js, &v); err != nil {
		t.Fatalf("%v\n%s", err, js)
	}
	out.Corruptions, out.Leaks, out.CorruptionsFixed, out.LeaksFixed = v.Corruptions, v.Leaks, v.CorruptionsFixed, v.LeaksFixed
	return out
}

// repairDifferences are damages that we repair otherwise than QEMU 7.2.
var repairDifferences = map[string]string{
	"all: refcount block past the end":     "QEMU makes the file 4 TiB long, we drop the entry",
	"all: reserved bits in refcount table": "QEMU fails, we rebuild",
	"all: snapshot L1 too large":           "QEMU fails when it writes an L2 table",
}

func TestRepairsWhatQEMURepairs(t *testing.T) {
	blocktest.Sequential(t)
	peer.Need(t, "qemu-img")
	base := damagedBase(t)
	for _, mode := range []string{"leaks", "all"} {
		for _, d := range damages {
			name := mode + ": " + d.name
			t.Run(name, func(t *testing.T) {
				p := patched{base.Bytes()}
				d.damage(p)
				m := p.file()
				theirs := save(t, p.file())
				want, got := qemuRepair(t, theirs, mode), repair(t, m, mode)
				ours := save(t, m)
				diff := cmp.Diff(want, got)
				if reason := repairDifferences[name]; reason == "" && diff != "" {
					t.Errorf("(-QEMU +ours)\n%s", diff)
				} else if reason != "" && diff == "" {
					t.Errorf("the same now, but listed as: %s", reason)
				}
				if !got.Failed && got.Corruptions+got.Leaks == 0 {
					peer.Run(t, "qemu-img", "check", ours)
				}
				if !want.Failed && want.Corruptions+want.Leaks == 0 {
					peer.Run(t, "qemu-img", "compare", "-U", theirs, ours)
				}
			})
		}
	}
}

// TestRepairedImagesAreClean is for machines without QEMU: what repair leaves, and that the
// contents which can be read before are the same after.
func TestRepairedImagesAreClean(t *testing.T) {
	blocktest.Sequential(t)
	hopeless := map[string]bool{
		"data unaligned": true, "data unaligned across the end": true, "data past the end": true, "L2 past the end": true, "reserved bits in L2": true, "reserved bits in L1": true,
		"compressed with copied flag": true, "compressed past the end": true,
		"snapshot L1 unaligned": true, "snapshot L1 past the end": true, "snapshot L1 too large": true,
	}
	base := damagedBase(t)
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			p := patched{base.Bytes()}
			d.damage(p)
			m := p.file()
			before := make([]byte, 2<<20)
			_, readable := open(t, m, blockdev.Mode{}).ReadAt(before, 0)
			got := repair(t, m, "all")
			if clean := !got.Failed && got.Corruptions == 0 && got.Leaks == 0; clean == hopeless[d.name] {
				t.Fatalf("%+v", got)
			}
			if hopeless[d.name] {
				return
			}
			im := open(t, m, writable)
			checkClean(t, im)
			if readable == nil {
				compareWith(t, im, append(before, make([]byte, 62<<20)...))
			}
			if _, err := im.WriteAt(pattern(7, 300<<10), 512<<10); err != nil {
				t.Fatal(err)
			}
			checkClean(t, im)
		})
	}
}

// TestLostRefcountsAreRebuilt: every width and many sizes, with the refcount table zeroed,
// with random bytes in place of the blocks, and with no table at all.
func TestLostRefcountsAreRebuilt(t *testing.T) {
	blocktest.Sequential(t)
	for _, cs := range []string{"512", "4k", "64k", "1M"} {
		for _, bits := range []int{1, 2, 4, 8, 16, 32, 64} {
			for _, lost := range []string{"table", "blocks", "pointer", "table too long"} {
				t.Run(fmt.Sprint(cs, " ", bits, " ", lost), func(t *testing.T) {
					m := create(t, 8<<20, blockdev.Options{"cluster_size": cs, "refcount_bits": fmt.Sprint(bits)})
					im := open(t, m, writable)
					want := make([]byte, 8<<20)
					copy(want[1<<20:], pattern(bits, 1<<20))
					if _, err := im.WriteAt(want[1<<20:2<<20], 1<<20); err != nil {
						t.Fatal(err)
					}
					if err := im.Close(); err != nil {
						t.Fatal(err)
					}
					p := patched{m.Bytes()}
					switch lost {
					case "table":
						clear(p.data[p.refTable() : p.refTable()+im.clusterSize])
					case "blocks":
						copy(p.data[p.refBlock():], pattern(9, int(im.clusterSize)))
					case "table too long":
						// Past the end of the file, over everything that is in use.
						p.set64(offRefTableOffset, 0)
						p.set32(offRefTableClusters, uint32(int64(len(p.data))/im.clusterSize+2))
					default:
						p.set32(offRefTableClusters, 0)
					}
					m = p.file()
					if got := repair(t, m, "all"); got.Failed || got.Corruptions+got.Leaks > 0 || got.CorruptionsFixed+got.LeaksFixed == 0 {
						t.Fatalf("%+v", got)
					}
					im = open(t, m, writable)
					checkClean(t, im)
					compareWith(t, im, want)
					if err := im.Close(); err != nil {
						t.Fatal(err)
					}
					if bits == 16 {
						agreeWithQEMU(t, save(t, m), want)
					}
				})
			}
		}
	}
}

// TestCrashWhileRebuilding: whatever part of the writes of a repair reaches the disk, a
// second repair makes the image whole.
func TestCrashWhileRebuilding(t *testing.T) {
	p := patched{damagedBase(t).Bytes()}
	p.set16(p.refBlock()+2*7, 0)
	p.set64(p.l2()+16, uint64(p.u64(p.l2()+16))|entryCopied)
	want := make([]byte, 2<<20)
	if _, err := open(t, p.file(), blockdev.Mode{}).ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	rec := blocktest.NewRecorder(p.data)
	im := open(t, rec, repairing)
	if _, err := im.Check(context.Background(), repairOptions("all")); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	crashes := 0
	err := rec.Replay(blocktest.ReplayOptions{Subsets: 10}, func(m *blocktest.Memory, _ int) error {
		crashes++
		if out := repair(t, m, "all"); out.Failed || out.Corruptions+out.Leaks > 0 {
			return fmt.Errorf("%+v", out)
		}
		got := make([]byte, len(want))
		if _, err := open(t, m, blockdev.Mode{}).ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("other contents: %v", err)
		}
		return nil
	})
	if err != nil || crashes < 20 {
		t.Errorf("after %d crashes: %v", crashes, err)
	}
}

// TestUnrepairedImageStaysMarked: the marks are the repair's to clear.
func TestUnrepairedImageStaysMarked(t *testing.T) {
	for _, mark := range []uint64{incompatCorrupt, incompatDirty} {
		p := patched{damagedBase(t).Bytes()}
		p.set64(offIncompatible, mark)
		p.set64(p.l1(), uint64(p.u64(p.l1()))|1<<57)
		m := p.file()
		if got := repair(t, m, "all"); got.Corruptions == 0 {
			t.Fatalf("%+v", got)
		}
		if left := uint64(patched{m.Bytes()}.u64(offIncompatible)); left != mark {
			t.Errorf("%#x, want %#x", left, mark)
		}
	}
}

func TestRepairNeedsAWritableImage(t *testing.T) {
	im := open(t, damagedBase(t), blockdev.Mode{Check: true})
	if _, err := im.Check(context.Background(), repairOptions("leaks")); blockdev.Message(err) != "Block node is read-only" {
		t.Error(err)
	}
}

// TestEmptyStorageStaysDropped: the copied flag of an entry that lost its storage is not looked
// at any more, and a table that a snapshot shares is repaired once.
func TestEmptyStorageStaysDropped(t *testing.T) {
	p := written(t, 1<<20, nil)
	data := uint64(p.u64(p.l2())) &^ entryCopied
	p.set64(p.l2()+8, data+sectorSize|entryZero)
	m := p.file()
	if got := repair(t, m, "all"); got.CorruptionsFixed != 1 || got.Corruptions > 0 {
		t.Errorf("%+v", got)
	}
	if got := (patched{m.Bytes()}).u64(p.l2() + 8); got != entryZero {
		t.Errorf("the entry is %#x", got)
	}
}

// TestRepairMakesRefcountBlocks: a block that a repair makes behind the end of the file counts
// before it is written.
func TestRepairMakesRefcountBlocks(t *testing.T) {
	m := create(t, 1<<20, blockdev.Options{"cluster_size": "512", "refcount_bits": "64"})
	im := open(t, m, writable)
	if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	for off := int64(0); ; off += im.clusterSize {
		if _, err := im.WriteAt([]byte{1}, off); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(im.Flush(), im.Flush()); err != nil {
			t.Fatal(err)
		}
		if last, err := im.lastCluster(); err != nil || im.freeHint == last+1 && im.freeHint&(1<<im.refBlockBits-1) == 0 {
			break
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	im = open(t, m, repairing)
	im.snaps[0].extraSize = 0 // as if it were incomplete
	if _, err := im.Check(context.Background(), repairOptions("all")); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	checkClean(t, open(t, m, writable))
}
