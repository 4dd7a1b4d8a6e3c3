package qcow2

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
)

// TestCheckCutsASnapshotTableThatIsTooLarge: nobody can open the image before.
func TestCheckCutsASnapshotTableThatIsTooLarge(t *testing.T) {
	base := damagedBase(t)
	for _, c := range []struct {
		name      string
		damage    func(p patched)
		refusal   string
		discarded string
		left      int
	}{
		{
			"extra data", func(p patched) { p.set32(p.snapshots()+snapExtraSize, 2048) },
			"ERROR failed to read the snapshot table: Too much extra metadata in snapshot table entry 0\n" +
				"You can force-remove this extra metadata with qemu-img check -r all\nCheck failed: File too large",
			"Discarding too much extra metadata in snapshot table entry 0 (2048 > 1024)", 1,
		},
		{
			"count", func(p patched) { p.set32(offSnapshotCount, maxSnapshots+3) },
			"ERROR snapshot table too large\nYou can force-remove all 3 overhanging snapshots with qemu-img check -r all\n" +
				"Check failed: File too large",
			"Discarding 3 overhanging snapshots", maxSnapshots,
		},
		{
			"offset", func(p patched) { p.set64(offSnapshotsOffset, 512) },
			"ERROR snapshot table offset invalid\nCheck failed: Invalid argument", "", 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := patched{base.Bytes()}
			c.damage(p)
			m := p.file()
			im := open(t, m, blockdev.Mode{Check: true})
			if _, err := im.Check(context.Background(), blockdev.CheckOptions{RepairLeaks: true}); !errors.Is(err, blockdev.ErrReadOnly) {
				t.Errorf("repairing what is read-only: %v", err)
			}
			_, err := im.Check(context.Background(), blockdev.CheckOptions{})
			if diff := cmp.Diff(c.refusal, blockdev.Message(err)); diff != "" {
				t.Errorf("check (-want +got)\n%s", diff)
			}
			if c.discarded == "" {
				return
			}
			got := repair(t, m, "all")
			if got.Failed || got.Findings[0] != c.discarded {
				t.Fatalf("%+v", got.Findings)
			}
			list, err := open(t, m, writable).Snapshots()
			if err != nil || len(list) != c.left {
				t.Errorf("%d snapshots are left: %v", len(list), err)
			}
			if c.left == 1 {
				peer.Need(t, "qemu-img")
				peer.Run(t, "qemu-img", "snapshot", "-l", save(t, m))
			}
		})
	}
}

// TestCheckOfASnapshotBeforeTheFile: an L1 table at a negative offset that is longer than the
// file is damage like any other.
func TestCheckOfASnapshotBeforeTheFile(t *testing.T) {
	p := patched{damagedBase(t).Bytes()}
	p.set64(p.snapshots()+snapL1Offset, 1<<63)
	p.set32(p.snapshots()+snapL1Size, maxL1Bytes/8)
	res, err := open(t, p.file(), repairing).Check(context.Background(), blockdev.CheckOptions{})
	if err != nil || res.Corruptions == 0 {
		t.Errorf("%+v %v", res, err)
	}
}
