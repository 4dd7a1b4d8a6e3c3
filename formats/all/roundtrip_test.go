package all_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/peer"
)

// writableKinds are the formats that can be written, with options where there are kinds that
// differ in how they are written.
var writableKinds = []struct{ name, driver, options string }{
	{"raw", "raw", ""},
	{"qcow2", "qcow2", "cluster_size=4k"},
	{"qcow", "qcow", ""},
	{"qed", "qed", ""},
	{"vdi", "vdi", ""},
	{"vdi-static", "vdi", "static=on"},
	{"vpc", "vpc", "force_size=on"},
	{"vpc-fixed", "vpc", "subformat=fixed,force_size=on"},
	{"vhdx", "vhdx", "block_size=1M"},
	{"vhdx-fixed", "vhdx", "subformat=fixed,block_size=1M"},
	{"parallels", "parallels", "cluster_size=64k"},
	{"vmdk", "vmdk", ""},
	{"vmdk-flat", "vmdk", "subformat=monolithicFlat"},
	{"vmdk-split", "vmdk", "subformat=twoGbMaxExtentSparse"},
	{"vmdk-stream", "vmdk", "subformat=streamOptimized"},
}

// roundTripSize is that of the disks, bytes: no multiple of any block but the smallest.
const roundTripSize = 3<<20 + 7*512

// TestRoundTrips converts a disk from every format to every other one and back.
func TestRoundTrips(t *testing.T) {
	blocktest.Sequential(t)
	peer.Need(t, "qemu-img")
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, pieces(), 0o600); err != nil {
		t.Fatal(err)
	}
	want := img.Source{Filename: disk, Format: "raw"}
	for _, from := range writableKinds {
		t.Run(from.name, func(t *testing.T) {
			dir := t.TempDir()
			source := img.Source{Filename: filepath.Join(dir, "source"), Format: from.driver}
			convert(t, want, source, from.options)
			theyCompare(t, source, want)
			for _, to := range writableKinds {
				there := img.Source{Filename: filepath.Join(dir, to.name), Format: to.driver}
				back := img.Source{Filename: filepath.Join(dir, to.name+"-back"), Format: from.driver}
				convert(t, source, there, to.options)
				convert(t, there, back, from.options)
				theyCompare(t, there, source)
				weCompare(t, back, want)
			}
		})
	}
}

// pieces is a disk of data, zeroes, and data that ends within a sector.
func pieces() []byte {
	b := make([]byte, roundTripSize)
	r := rand.NewChaCha8([32]byte{1})
	for off := 0; off < len(b); off += 300 << 10 {
		_, _ = r.Read(b[off:min(len(b), off+off/7+1000)])
	}
	return b
}

var session = img.Session{Gate: blockdev.FollowGate{}}

// optionsOf reads "key=value,...".
func optionsOf(text string) blockdev.Options {
	o := blockdev.Options{}
	for kv := range strings.SplitSeq(text, ",") {
		if k, v, ok := strings.Cut(kv, "="); ok {
			o[k] = v
		}
	}
	return o
}

func convert(t *testing.T, from, to img.Source, options string) {
	t.Helper()
	err := img.Convert(context.Background(), img.ConvertOptions{Session: session, Sources: []img.Source{from}, Target: to, Create: optionsOf(options)})
	if err != nil {
		t.Fatalf("%s to %s %s: %v", from.Format, to.Format, options, err)
	}
}

func weCompare(t *testing.T, a, b img.Source) {
	t.Helper()
	res, err := img.Compare(context.Background(), img.CompareOptions{Session: session, A: a, B: b})
	if err != nil || res.Difference != img.Identical {
		t.Errorf("%s: %+v, %v", a.Filename, res, err)
	}
}

func theyCompare(t *testing.T, a, b img.Source) {
	t.Helper()
	peer.Run(t, "qemu-img", "compare", "-f", a.Format, "-F", b.Format, a.Filename, b.Filename)
}
