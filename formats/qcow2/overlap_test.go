package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// openWith opens an image for writing, with options.
func openWith(file blockdev.Node, options blockdev.Options) (*Image, error) {
	v, err := openOptionTable.Parse(options)
	if err != nil {
		return nil, err
	}
	return Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: file, Options: v, Mode: writable})
}

// overlapping is an image with a snapshot and a bitmap directory's worth of metadata, whose
// first guest cluster is said to lie where at points.
func overlapping(t *testing.T, cluster int, at func(im *Image) int64) *blocktest.Memory {
	t.Helper()
	m := create(t, int64(16*cluster), blockdev.Options{"cluster_size": strconv.Itoa(cluster)})
	im := open(t, m, writable)
	if _, err := im.WriteAt(pattern(1, 16*cluster), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt(pattern(2, 16*cluster), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	var e [8]byte
	binary.BigEndian.PutUint64(e[:], uint64(at(im))|entryCopied)
	if _, err := m.WriteAt(e[:], int64(im.l1.entries[0]&entryOffset)); err != nil {
		t.Fatal(err)
	}
	return m
}

// inactiveL2 is where the L2 table of the snapshot lies.
func inactiveL2(im *Image) int64 {
	l1, err := im.snapshotL1(im.snaps[0])
	if err != nil {
		return 0
	}
	return int64(l1[0] & entryOffset)
}

type overlapCase struct {
	option string // that makes the check, alone
	what   string
	at     func(im *Image) int64
}

var overlapCases = []overlapCase{
	{"active-l1", "active L1 table", func(im *Image) int64 { return im.l1.off }},
	{"active-l2", "active L2 table", func(im *Image) int64 { return int64(im.l1.entries[0] & entryOffset) }},
	{"refcount-table", "refcount table", func(im *Image) int64 { return im.hdr.refTableOffset }},
	{"refcount-block", "refcount block", func(im *Image) int64 { return int64(im.refs.entries[0]) }},
	{"snapshot-table", "snapshot table", func(im *Image) int64 { return im.hdr.snapshotsOffset }},
	{"inactive-l1", "inactive L1 table", func(im *Image) int64 { return im.snaps[0].l1Offset }},
	{"inactive-l2", "inactive L2 table", inactiveL2},
}

// TestOverlapChecks: a write that would hit metadata is refused and the image marked; what
// is in it can still be read. Without the check, and only then, it is written.
func TestOverlapChecks(t *testing.T) {
	for _, c := range overlapCases {
		for _, cluster := range []int{4 << 10, 64 << 10} {
			t.Run(fmt.Sprint(c.option, " ", cluster), func(t *testing.T) { testOverlap(t, c, cluster) })
		}
	}
}

func testOverlap(t *testing.T, c overlapCase, cluster int) {
	m := overlapping(t, cluster, c.at)
	im, err := openWith(m.Clone(), blockdev.Options{"overlap-check": "none"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt([]byte{1}, 0); err != nil {
		t.Errorf("without checks: %v", err)
	}
	im, err = openWith(m.Clone(), blockdev.Options{"overlap-check": "all", "overlap-check." + c.option: "off"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt([]byte{1}, 0); err != nil {
		t.Errorf("without this check: %v", err)
	}
	for _, o := range []blockdev.Options{{"overlap-check.template": "all"}, {"overlap-check": "none", "overlap-check." + c.option: "on"}} {
		file := m.Clone()
		im, err := openWith(file, o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = im.WriteAt([]byte{1}, 0)
		want := "qcow2: Marking image as corrupt: Preventing invalid write on metadata (overlaps with " + c.what + "); further corruption events will be suppressed"
		if !errors.Is(err, blockdev.ErrCorrupt) || blockdev.Message(err) != want {
			t.Errorf("%v: %v", o, err)
		}
		if _, err := im.ReadAt(make([]byte, 4096), int64(2*cluster)); err != nil {
			t.Errorf("reading: %v", err)
		}
		if _, err := im.WriteAt([]byte{1}, int64(2*cluster)); !errors.Is(err, blockdev.ErrReadOnly) {
			t.Errorf("writing elsewhere: %v", err)
		}
		if _, err := openWith(file, nil); err == nil || !strings.Contains(err.Error(), "Image is corrupt; cannot be opened read/write") {
			t.Errorf("opening again: %v", err)
		}
	}
}

// openingOptions are refused in QEMU's words, or taken.
var openingOptions = []struct{ options, text string }{
	{"l2-cache-entry-size=1000", "L2 cache entry size must be a power of two between 512 and the cluster size (65536)"},
	{"l2-cache-entry-size=128k", "L2 cache entry size must be a power of two between 512 and the cluster size (65536)"},
	{"cache-size=1M,l2-cache-size=2M", "l2-cache-size may not exceed cache-size"},
	{"cache-size=1M,refcount-cache-size=2M", "refcount-cache-size may not exceed cache-size"},
	{"cache-size=1M,refcount-cache-size=1k,l2-cache-size=1k", "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time"},
	{"refcount-cache-size=256T", "Refcount cache size too big"},
	{"cache-clean-interval=99999999999", "Cache clean interval too big"},
	{"overlap-check=foo", "Unsupported value 'foo' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all"},
	{"overlap-check.template=foo", "Unsupported value 'foo' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all"},
	{"overlap-check=none,overlap-check.template=all", "Conflicting values for qcow2 options 'overlap-check' ('none') and 'overlap-check.template' ('all')"},
	{"overlap-check.main-header=foo", "Parameter 'overlap-check.main-header' expects 'on' or 'off'"},
	{"overlap-check=constant,overlap-check.inactive-l2=on", ""},
	{"l2-cache-entry-size=512,cache-clean-interval=1,l2-cache-size=0,refcount-cache-size=0", ""},
}

func TestOpeningOptionsAreCheckedAsByQEMU(t *testing.T) {
	m := create(t, 1<<20, nil)
	for _, c := range openingOptions {
		o := blockdev.Options{}
		for _, kv := range strings.Split(c.options, ",") {
			k, v, _ := strings.Cut(kv, "=")
			o[k] = v
		}
		im, err := openWith(m, o)
		if err == nil {
			err = im.Close()
		}
		if got := ""; err != nil || c.text != "" {
			if err != nil {
				got = blockdev.Message(err)
			}
			if got != c.text {
				t.Errorf("%s: %q, want %q", c.options, got, c.text)
			}
		}
		t.Run(c.options, func(t *testing.T) {
			peer.Need(t, "qemu-io")
			out, _ := exec.Command("qemu-io", "-c", "open -o "+c.options+" "+save(t, m)).CombinedOutput()
			if line, _, _ := strings.Cut(string(out), "\n"); !strings.HasSuffix(line, c.text) || c.text == "" && line != "" {
				t.Errorf("QEMU says %s", out)
			}
		})
	}
}

// TestL2TableOnRefcountBlock: a table that is said to lie where refcounts do is not written.
func TestL2TableOnRefcountBlock(t *testing.T) {
	p := patched{create(t, 1<<20, nil).Bytes()}
	p.set64(p.l1(), uint64(p.refBlock())|entryCopied)
	m := p.file()
	im := open(t, m, writable)
	if _, err := im.WriteAt([]byte{1}, 512<<10); err == nil || !strings.Contains(err.Error(), "overlaps with refcount block") {
		t.Errorf("%v", err)
	}
	block := p.refBlock()
	if !bytes.Equal(m.Bytes()[block:], p.data[block:]) {
		t.Error("the refcount block was changed")
	}
}
