package img

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// closedGate fails the test if anything is asked of it.
type closedGate struct{ t *testing.T }

func (g closedGate) OpenReference(_ context.Context, _ *blockdev.Graph, ref blockdev.Reference, _ blockdev.OpenOptions) (*blockdev.Vertex, error) {
	g.t.Errorf("'%s' is opened", ref.Name)
	return nil, errors.New("closed")
}

// TestInspectOpensNothing: crafted references are reported, and nobody goes there.
func TestInspectOpensNothing(t *testing.T) {
	dir := t.TempDir()
	fifo := "/dev/full" // opening it would do no harm, and be seen
	size := int64(1 << 20)
	for name, want := range map[string]InspectedReference{
		`json:{"driver":"file","filename":"/etc/passwd"}`: {},
		"nbd:localhost:10809":                             {},
		"../../../etc/passwd":                             {Path: dir + "/../../../etc/passwd"},
		fifo:                                              {Path: fifo},
	} {
		image := filepath.Join(dir, "evil.qcow2")
		create(t, CreateOptions{Filename: image, Format: "qcow2", Size: &size, Backing: name, BackingFormat: "raw", Unchecked: true})
		r, err := Inspect(t.Context(), InspectOptions{Session: Session{Gate: closedGate{t}}, Image: Source{Filename: image}})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Images) != 1 || len(r.Images[0].References) != 1 || r.Complete {
			t.Fatalf("%+v", r)
		}
		if got := r.Images[0].References[0]; got.Name != name || got.Path != want.Path || got.Followed || (got.Err == nil) != (want.Path != "") {
			t.Errorf("%+v", got)
		}
		if !json.Valid([]byte(r.JSON())) {
			t.Error(r.JSON())
		}
	}
}

// TestInspectFollows a chain inside a directory, and not out of it.
func TestInspectFollows(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "images")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	size := int64(1 << 20)
	base := filepath.Join(dir, "base.raw")
	create(t, CreateOptions{Filename: base, Size: &size})
	mid, top := filepath.Join(inside, "mid.qcow2"), filepath.Join(inside, "top.qcow2")
	create(t, CreateOptions{Filename: mid, Format: "qcow2", Backing: "../base.raw", BackingFormat: "raw"})
	create(t, CreateOptions{Filename: top, Format: "qcow2", Backing: "mid.qcow2", BackingFormat: "qcow2"})

	inspect := func(below string) string {
		r, err := Inspect(t.Context(), InspectOptions{
			Session: Session{Gate: blockdev.RestrictGate{Dir: below}}, Image: Source{Filename: top}, Follow: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, i := range r.Images {
			names = append(names, filepath.Base(i.Filename))
		}
		if r.Complete {
			names = append(names, "complete")
		}
		return strings.Join(names, " ")
	}
	if got := inspect(dir); got != "top.qcow2 mid.qcow2 base.raw complete" {
		t.Error(got)
	}
	if got := inspect(inside); got != "top.qcow2 mid.qcow2" {
		t.Error(got)
	}
}

// TestInspectLoop: images that refer to each other are met once.
func TestInspectLoop(t *testing.T) {
	dir := t.TempDir()
	size := int64(1 << 20)
	for _, n := range [][2]string{{"a", "b"}, {"b", "a"}} {
		create(t, CreateOptions{Filename: filepath.Join(dir, n[0]), Format: "qcow2", Size: &size, Backing: n[1], BackingFormat: "qcow2", Unchecked: true})
	}
	r, err := Inspect(t.Context(), InspectOptions{Session: follow, Image: Source{Filename: filepath.Join(dir, "a")}, Follow: true})
	if err != nil || len(r.Images) > 3 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// TestInspectParts: the parts of a VMDK are reported, and with them its size is known.
func TestInspectParts(t *testing.T) {
	image := filepath.Join(t.TempDir(), "a.vmdk")
	size := int64(10 << 20)
	create(t, CreateOptions{Filename: image, Format: "vmdk", Size: &size, Options: blockdev.Options{"subformat": "twoGbMaxExtentSparse"}})
	for _, following := range []bool{false, true} {
		r, err := Inspect(t.Context(), InspectOptions{Session: follow, Image: Source{Filename: image}, Follow: following})
		if err != nil {
			t.Fatal(err)
		}
		first := r.Images[0]
		if len(first.References) != 1 || first.References[0].Kind != blockdev.RefExtent || r.Complete != following || following && first.VirtualSize != size {
			t.Errorf("%+v", r)
		}
	}
}
