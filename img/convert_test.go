package img

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	_ "github.com/qmon/qmon/formats/all"
)

// follow is the session of a user who trusts his images.
var follow = Session{Gate: blockdev.FollowGate{}}

// randomFile writes a file of n bytes that cannot be mistaken for each other.
func randomFile(t *testing.T, dir, name string, n int) (string, []byte) {
	t.Helper()
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(len(name))})
	if _, err := r.Read(data); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, data
}

func create(t *testing.T, o CreateOptions) {
	t.Helper()
	if o.Gate == nil {
		o.Session = follow
	}
	if err := Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func convert(t *testing.T, o ConvertOptions) {
	t.Helper()
	o.Session = follow
	if err := Convert(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func wantIdentical(t *testing.T, a, b Source) {
	t.Helper()
	c, err := Compare(t.Context(), CompareOptions{Session: follow, A: a, B: b})
	if err != nil || c.Difference != Identical {
		t.Fatalf("compare %s and %s: %+v, %v", a.Filename, b.Filename, c, err)
	}
}

func TestConvertThereAndBack(t *testing.T) {
	dir := t.TempDir()
	path, data := randomFile(t, dir, "a.raw", 3<<20)
	raw := Source{Filename: path, Format: "raw"}
	for _, c := range []struct {
		name string
		o    ConvertOptions
	}{
		{"defaults", ConvertOptions{}},
		{"small clusters", ConvertOptions{Create: blockdev.Options{"cluster_size": "512"}}},
		{"old version", ConvertOptions{Create: blockdev.Options{"compat": "0.10"}}},
		{"one worker", ConvertOptions{Workers: 1}},
		{"dense", ConvertOptions{Dense: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := Source{Filename: filepath.Join(t.TempDir(), "a.qcow2"), Format: "qcow2"}
			c.o.Sources, c.o.Target = []Source{raw}, image
			convert(t, c.o)
			back := Source{Filename: filepath.Join(t.TempDir(), "back.raw"), Format: "raw"}
			convert(t, ConvertOptions{Sources: []Source{image}, Target: back})
			got, err := os.ReadFile(back.Filename)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("what came back differs (%v)", err)
			}
			r, err := Check(t.Context(), CheckOptions{Image: image})
			if err != nil || r.Corruptions+r.Leaks+r.CheckErrors != 0 {
				t.Errorf("check: %+v, %v", r, err)
			}
		})
	}
}

// TestConvertSeveral shows that sources come one behind the other, compressed or sparse as
// they may be.
func TestConvertSeveral(t *testing.T) {
	dir := t.TempDir()
	pathA, a := randomFile(t, dir, "a.raw", 1<<20)
	pathB, b := randomFile(t, dir, "b.raw", 512)
	size := int64(1 << 20)
	hole := Source{Filename: filepath.Join(dir, "hole.qcow2"), Format: "qcow2"}
	create(t, CreateOptions{Filename: hole.Filename, Format: "qcow2", Size: &size})
	out := Source{Filename: filepath.Join(dir, "out.raw"), Format: "raw"}
	convert(t, ConvertOptions{
		Sources: []Source{{Filename: pathA, Format: "raw"}, hole, {Filename: pathB, Format: "raw"}},
		Target:  out,
	})
	want := append(append(bytes.Clone(a), make([]byte, size)...), b...)
	got, err := os.ReadFile(out.Filename)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d (%v)", len(got), len(want), err)
	}
}

func TestConvertOverBackingFile(t *testing.T) {
	dir := t.TempDir()
	base, _ := randomFile(t, dir, "base.raw", 1<<20)
	top := Source{Filename: filepath.Join(dir, "top.qcow2"), Format: "qcow2"}
	create(t, CreateOptions{Filename: top.Filename, Format: "qcow2", Backing: "base.raw", BackingFormat: "raw"})
	out := Source{Filename: filepath.Join(dir, "out.qcow2"), Format: "qcow2"}
	convert(t, ConvertOptions{Sources: []Source{top}, Target: out, Backing: "base.raw", BackingFormat: "raw"})
	wantIdentical(t, out, Source{Filename: base, Format: "raw"})
	m, err := Map(t.Context(), MapOptions{Session: follow, Image: out, Length: -1})
	if err != nil || len(m.Entries) != 1 || m.Entries[0].Depth != 1 {
		t.Errorf("an empty overlay became %+v, %v", m, err)
	}
}

func TestConvertSnapshot(t *testing.T) {
	dir := t.TempDir()
	path, _ := randomFile(t, dir, "a.raw", 1<<20)
	before := Source{Filename: path, Format: "raw"}
	other, _ := randomFile(t, dir, "other.raw", 1<<20)
	image := Source{Filename: filepath.Join(dir, "a.qcow2"), Format: "qcow2"}
	convert(t, ConvertOptions{Sources: []Source{before}, Target: image})
	if err := CreateSnapshot(t.Context(), SnapshotOptions{Image: image, Name: "before"}); err != nil {
		t.Fatal(err)
	}
	convert(t, ConvertOptions{Sources: []Source{{Filename: other, Format: "raw"}}, Target: image, Existing: true})
	wantIdentical(t, image, Source{Filename: other, Format: "raw"})
	for name, n := range map[string]SnapshotName{
		"id": {ID: "1"}, "name": {Name: "before"}, "any id": {Any: "1"}, "any name": {Any: "before"},
	} {
		t.Run(name, func(t *testing.T) {
			out := Source{Filename: filepath.Join(t.TempDir(), "out.raw"), Format: "raw"}
			convert(t, ConvertOptions{Sources: []Source{image}, Snapshot: n, Target: out})
			wantIdentical(t, out, before)
		})
	}
	err := Convert(t.Context(), ConvertOptions{Sources: []Source{image}, Snapshot: SnapshotName{ID: "1", Name: "x"},
		Target: Source{Filename: filepath.Join(dir, "none")}})
	if !errors.Is(err, blockdev.ErrNotFound) {
		t.Errorf("a snapshot of another name: %v", err)
	}
}

// TestInterruptedConvert shows that nothing is left that looks like an image.
func TestInterruptedConvert(t *testing.T) {
	dir := t.TempDir()
	path, _ := randomFile(t, dir, "a.raw", 8<<20)
	for _, existed := range []bool{false, true} {
		target := filepath.Join(dir, "out.qcow2")
		if existed {
			if err := os.WriteFile(target, []byte("what was there"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var warning string
		err := Convert(ctx, ConvertOptions{
			Session:  Session{Warn: func(s string) { warning = s }},
			Sources:  []Source{{Filename: path, Format: "raw"}},
			Target:   Source{Filename: target, Format: "qcow2"},
			Workers:  1,
			Progress: func(done, total int64) { cancel() },
		})
		if !errors.Is(err, context.Canceled) || warning == "" {
			t.Errorf("existed %t: error %v, warning %q", existed, err, warning)
		}
		st, err := os.Stat(target)
		switch {
		case existed && (err != nil || st.Size() != 0):
			t.Errorf("a file that was there is not emptied: %v, %v", st, err)
		case !existed && !errors.Is(err, os.ErrNotExist):
			t.Errorf("a file that was not there is left: %v", err)
		}
	}
}

func TestConvertIntoSmaller(t *testing.T) {
	dir := t.TempDir()
	path, _ := randomFile(t, dir, "a.raw", 1<<20)
	small, data := randomFile(t, dir, "small.raw", 4096)
	err := Convert(t.Context(), ConvertOptions{
		Sources:  []Source{{Filename: path, Format: "raw"}},
		Target:   Source{Filename: small, Format: "raw"},
		Existing: true,
	})
	if !errors.Is(err, blockdev.ErrInvalid) {
		t.Errorf("error %v", err)
	}
	if got, _ := os.ReadFile(small); !bytes.Equal(got, data) {
		t.Error("the target was changed")
	}
}
