package vpc_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "github.com/qmon/qmon/blockdev/file"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/formattest"
	_ "github.com/qmon/qmon/formats/vpc"
	"github.com/qmon/qmon/internal/peer"
)

// geometrySize is one that a geometry has.
const geometrySize = 121 * 4 * 17 * 512

func TestConformance(t *testing.T) {
	for name, f := range map[string]formattest.Format{
		"dynamic":          {},
		"dynamic, rounded": {Size: geometrySize},
		"fixed":            {CreateOptions: blockdev.Options{"subformat": "fixed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.Driver = "vpc"
			if f.Size == 0 {
				o := blockdev.Options{"force_size": "on"}
				for k, v := range f.CreateOptions {
					o[k] = v
				}
				f.CreateOptions = o
			}
			formattest.Run(t, f)
		})
	}
}

func TestCrash(t *testing.T) {
	formattest.RunCrash(t, formattest.Format{Driver: "vpc", Size: geometrySize}, nil)
}

func TestImagesMadeByOthers(t *testing.T) { formattest.RunGolden(t, "vpc") }

func TestWithQEMU(t *testing.T) {
	formattest.RunWithQEMU(t, formattest.Format{Driver: "vpc"}, "", "force_size=on", "subformat=fixed", "subformat=fixed,force_size=on")
}

// TestSizesAreRoundedAsQEMUDoes compares the footers that both write, but for time, UUID
// and checksum.
func TestSizesAreRoundedAsQEMUDoes(t *testing.T) {
	peer.Need(t, "qemu-img")
	const (
		beginTime, endTime         = 24, 28
		beginChecksum, endChecksum = 64, 84
		headers                    = 1536 // the footer's copy and the header
	)
	dir := t.TempDir()
	for _, size := range []int64{0, 1, 512, 1000, 34816, 34817, 1<<20 + 1, 10 << 20, 100 << 20, 1<<30 - 512, 8<<30 + 512, 127 << 30, 65535*16*255*512 - 512, 128 << 30, 1 << 40, 2040 << 30} {
		for _, force := range []string{"off", "on"} {
			t.Run(strconv.FormatInt(size, 10)+" "+force, func(t *testing.T) {
				theirs, ours := filepath.Join(dir, "theirs"), filepath.Join(dir, "ours")
				peer.Run(t, "qemu-img", "create", "-q", "-f", "vpc", "-o", "force_size="+force, theirs, strconv.FormatInt(size, 10))
				g := &blockdev.Graph{}
				if err := g.Create(context.Background(), "vpc", ours, size, blockdev.Options{"force_size": force}, blockdev.Reference{}); err != nil {
					t.Fatal(err)
				}
				var b [2][]byte
				for i, name := range []string{theirs, ours} {
					var err error
					if b[i], err = os.ReadFile(name); err != nil {
						t.Fatal(err)
					}
					clear(b[i][beginTime:endTime])
					clear(b[i][beginChecksum:endChecksum])
				}
				if len(b[0]) != len(b[1]) || !bytes.Equal(b[0][:headers], b[1][:headers]) {
					t.Errorf("files of %d and %d bytes differ: %x, %x", len(b[0]), len(b[1]), b[0][:600], b[1][:600])
				}
			})
		}
	}
}

// TestVHDInfoAgrees lets libvhdi look at what we write.
func TestVHDInfoAgrees(t *testing.T) {
	peer.Need(t, "vhdiinfo")
	path := filepath.Join(t.TempDir(), "image")
	for subformat, want := range map[string]string{"dynamic": "Dynamic", "fixed": "Fixed"} {
		g := &blockdev.Graph{}
		err := g.Create(context.Background(), "vpc", path, 10<<20, blockdev.Options{"force_size": "on", "subformat": subformat}, blockdev.Reference{})
		if err != nil {
			t.Fatal(err)
		}
		out := peer.Run(t, "vhdiinfo", path)
		if !strings.Contains(out, want) || !strings.Contains(out, "(10485760 bytes)") {
			t.Errorf("vhdiinfo of a %s image:\n%s", subformat, out)
		}
	}
}

// TestSevenZipReads has 7-Zip unpack the disk that we wrote.
func TestSevenZipReads(t *testing.T) {
	peer.SevenZip(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "image.vhd")
	g := &blockdev.Graph{}
	ctx := context.Background()
	if err := g.Create(ctx, "vpc", path, geometrySize, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	v, err := g.Open(ctx, path, blockdev.OpenOptions{Driver: "vpc", Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, v.Node.Size())
	copy(want[3<<20:], strings.Repeat("7z", 10000))
	if _, err := v.Node.WriteAt(want[3<<20:4<<20], 3<<20); err != nil {
		t.Fatal(err)
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
	got := peer.Run(t, peer.SevenZip(t), "e", "-tVHD", "-so", path)
	if got != string(want) {
		t.Errorf("7-Zip unpacks %d bytes, other than the %d of the disk", len(got), len(want))
	}
}
