package vdi_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/qmon/qmon/blockdev/file"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/formattest"
	_ "github.com/qmon/qmon/formats/vdi"
	"github.com/qmon/qmon/internal/peer"
)

func TestConformance(t *testing.T) {
	for name, o := range map[string]blockdev.Options{"dynamic": {}, "static": {"static": "on"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			formattest.Run(t, formattest.Format{Driver: "vdi", CreateOptions: o})
		})
	}
}

// TestCrash accepts a count of blocks that is too large: it is written before the map, so
// that nobody takes a block twice.
func TestCrash(t *testing.T) {
	formattest.RunCrash(t, formattest.Format{Driver: "vdi"}, func(f blockdev.Finding) bool {
		return strings.Contains(f.Text, "allocated blocks mismatch")
	})
}

func TestWithQEMU(t *testing.T) {
	formattest.RunWithQEMU(t, formattest.Format{Driver: "vdi"}, "", "static=on", "static=on,preallocation=full")
}

func TestImagesMadeByQEMU(t *testing.T) { formattest.RunGolden(t, "vdi") }

// TestSevenZipReads has 7-Zip unpack the disk that we wrote.
func TestSevenZipReads(t *testing.T) {
	peer.SevenZip(t)
	path := filepath.Join(t.TempDir(), "image.vdi")
	g := &blockdev.Graph{}
	ctx := context.Background()
	want := make([]byte, 4<<20)
	copy(want[3<<20:], strings.Repeat("7z", 10000))
	if err := g.Create(ctx, "vdi", path, int64(len(want)), nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	v, err := g.Open(ctx, path, blockdev.OpenOptions{Driver: "vdi", Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt(want[3<<20:], 3<<20); err != nil {
		t.Fatal(err)
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
	if got := peer.Run(t, peer.SevenZip(t), "e", "-tVDI", "-so", path); got != string(want) {
		t.Errorf("7-Zip unpacks %d bytes, other than the %d of the disk", len(got), len(want))
	}
}
