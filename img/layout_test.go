package img

import (
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// TestLayoutCountsEveryByte: of the disk, and the sharing with snapshots.
func TestLayoutCountsEveryByte(t *testing.T) {
	dir := t.TempDir()
	size := int64(8 << 20)
	base, top := filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "<top> & \"co\".qcow2")
	create(t, CreateOptions{Filename: base, Format: "qcow2", Size: &size})
	writeTo(t, base, 0, 1<<20)
	create(t, CreateOptions{Filename: top, Format: "qcow2", Backing: base, BackingFormat: "qcow2"})
	writeTo(t, top, 2<<20, 2<<20)
	if err := CreateSnapshot(t.Context(), SnapshotOptions{Session: follow, Image: Source{Filename: top}, Name: "s<1>"}); err != nil {
		t.Fatal(err)
	}
	writeTo(t, top, 3<<20, 3<<20)
	l, err := MapLayout(t.Context(), MapOptions{Session: follow, Image: Source{Filename: top}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[LayoutKind]int64{LayoutBacking: 1 << 20, LayoutShared: 1 << 20, LayoutData: 3 << 20, LayoutHole: 3 << 20}
	for kind, n := range l.Totals {
		if n != want[LayoutKind(kind)] {
			t.Errorf("%s: %d bytes, want %d", layoutStyles[kind].name, n, want[LayoutKind(kind)])
		}
	}
	if len(l.Files) != 2 || l.Snapshots[0].Shared != 1<<20 {
		t.Errorf("%+v, %+v", len(l.Files), l.Snapshots)
	}
	var only int64
	for _, b := range l.Files[0].Bands {
		only += b[LayoutSnapshotOnly]
	}
	if only != 1<<20 {
		t.Errorf("snapshots alone have %d bytes", only)
	}
	checkXML(t, l.SVG())
}

// TestLayoutIsBounded: a large and very fragmented image gives a picture of bounded size.
func TestLayoutIsBounded(t *testing.T) {
	image := filepath.Join(t.TempDir(), "a.qcow2")
	size := int64(1 << 40)
	create(t, CreateOptions{Filename: image, Format: "qcow2", Size: &size, Options: blockdev.Options{"cluster_size": "4k"}})
	v, err := follow.open(t.Context(), Source{Filename: image}, access{writable: true})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		if _, err := v.Node.WriteAt([]byte{1}, r.Int64N(size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
	l, err := MapLayout(t.Context(), MapOptions{Session: follow, Image: Source{Filename: image}})
	if err != nil {
		t.Fatal(err)
	}
	svg := l.SVG()
	if len(svg) > 1<<20 {
		t.Errorf("%d bytes", len(svg))
	}
	checkXML(t, svg)
}

func writeTo(t *testing.T, image string, off, n int64) {
	t.Helper()
	v, err := follow.open(t.Context(), Source{Filename: image}, access{writable: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt([]byte(strings.Repeat("x", int(n))), off); err != nil {
		t.Fatal(err)
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
}

func checkXML(t *testing.T, s string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(s)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
