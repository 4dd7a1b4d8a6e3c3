package img

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
)

// TestDefaultGate shows that the library follows no reference on its own, and that info
// reports them all the same.
func TestDefaultGate(t *testing.T) {
	dir := t.TempDir()
	base, _ := randomFile(t, dir, "base.raw", 4096)
	top := Source{Filename: filepath.Join(dir, "top.qcow2")}
	create(t, CreateOptions{Filename: top.Filename, Format: "qcow2", Backing: base, BackingFormat: "raw"})

	info, err := ReadInfo(t.Context(), InfoOptions{Image: top})
	if err != nil || info.BackingFilename != base {
		t.Errorf("info: %+v, %v", info, err)
	}
	if _, err := ReadInfo(t.Context(), InfoOptions{Image: top, Chain: true}); !errors.Is(err, blockdev.ErrDenied) {
		t.Errorf("info with chain: %v", err)
	}
	if _, err := Map(t.Context(), MapOptions{Image: top, Length: -1}); !errors.Is(err, blockdev.ErrDenied) {
		t.Errorf("map: %v", err)
	}
	chain, err := ReadInfo(t.Context(), InfoOptions{Session: follow, Image: top, Chain: true})
	if err != nil || chain.Backing == nil || chain.Backing.Format != "raw" {
		t.Errorf("info with chain and gate: %+v, %v", chain, err)
	}
}

func TestCreateFailsClean(t *testing.T) {
	size := int64(1 << 20)
	for _, c := range []struct {
		name    string
		o       CreateOptions
		message string
	}{
		{"no size", CreateOptions{Format: "qcow2"}, "Image creation needs a size parameter"},
		{"two sizes", CreateOptions{Format: "qcow2", Size: &size, Options: blockdev.Options{"size": "1M"}},
			"The image size must be specified only once"},
		{"no such format", CreateOptions{Format: "nosuch", Size: &size}, "Unknown file format 'nosuch'"},
		{"no such option", CreateOptions{Size: &size, Options: blockdev.Options{"x": "1"}}, "Invalid parameter 'x'"},
		{"backing for raw", CreateOptions{Size: &size, Backing: "b"}, "Backing file not supported for file format 'raw'"},
		{"bad clusters", CreateOptions{Format: "qcow2", Size: &size, Options: blockdev.Options{"cluster_size": "100"}},
			"Cluster size must be a power of two between 512 and 2048k"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Filename = filepath.Join(t.TempDir(), "n")
			err := Create(t.Context(), c.o)
			if got := blockdev.Message(err); got != c.message {
				t.Errorf("%q, want %q", got, c.message)
			}
			if _, err := os.Stat(c.o.Filename); err == nil {
				t.Error("a file is left")
			}
		})
	}
}

func TestCreateKeepsBackingSize(t *testing.T) {
	dir := t.TempDir()
	randomFile(t, dir, "base.raw", 12345*512)
	top := filepath.Join(dir, "top.qcow2")
	var line string
	create(t, CreateOptions{Filename: top, Format: "qcow2", Backing: "base.raw", BackingFormat: "raw",
		Announce: func(s string) { line = s }})
	want := "Formatting '" + top + "', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib " +
		"size=6320640 backing_file=base.raw backing_fmt=raw lazy_refcounts=off refcount_bits=16"
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("(-QEMU +ours)\n%s", diff)
	}
}

func TestResize(t *testing.T) {
	const present = 1 << 20
	for _, c := range []struct {
		name string
		o    ResizeOptions
		want int64
		err  error
	}{
		{"larger", ResizeOptions{Size: SizeChange{Bytes: 2 << 20}}, 2 << 20, nil},
		{"by more", ResizeOptions{Size: SizeChange{Bytes: 512, Relative: true}}, present + 512, nil},
		{"smaller", ResizeOptions{Size: SizeChange{Bytes: -512, Relative: true}}, 0, ErrShrink},
		{"smaller, asked for", ResizeOptions{Size: SizeChange{Bytes: -512, Relative: true}, Shrink: true}, present - 512, nil},
		{"to nothing", ResizeOptions{Size: SizeChange{Bytes: -present, Relative: true}, Shrink: true}, 0, blockdev.ErrInvalid},
		{"past the largest", ResizeOptions{Size: SizeChange{Bytes: 1<<63 - 1, Relative: true}}, 0, blockdev.ErrInvalid},
		{"unknown preallocation", ResizeOptions{Size: SizeChange{Bytes: 2 << 20}, Preallocation: "x"}, 0, blockdev.ErrInvalid},
		{"preallocated, smaller", ResizeOptions{Size: SizeChange{Bytes: 512}, Shrink: true, Preallocation: "full"}, 0, blockdev.ErrInvalid},
	} {
		for _, format := range []string{"raw", "qcow2"} {
			t.Run(format+" "+c.name, func(t *testing.T) {
				size := int64(present)
				image := Source{Filename: filepath.Join(t.TempDir(), "a"), Format: format}
				create(t, CreateOptions{Filename: image.Filename, Format: format, Size: &size})
				c.o.Image = image
				got, err := Resize(t.Context(), c.o)
				if got != c.want || !errors.Is(err, c.err) {
					t.Errorf("%d, %v; want %d, %v", got, err, c.want, c.err)
				}
			})
		}
	}
}

func TestSnapshots(t *testing.T) {
	size := int64(1 << 20)
	image := Source{Filename: filepath.Join(t.TempDir(), "a.qcow2")}
	create(t, CreateOptions{Filename: image.Filename, Format: "qcow2", Size: &size})
	named := func(name string) SnapshotOptions { return SnapshotOptions{Image: image, Name: name} }
	for _, name := range []string{"a", "1", "a"} {
		if err := CreateSnapshot(t.Context(), named(name)); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		what func() error
		left string // IDs and names
		err  error
	}{
		{func() error { return DeleteSnapshot(t.Context(), named("1")) }, "1:a 3:a ", nil}, // by name, not by ID
		{func() error { return ApplySnapshot(t.Context(), named("3")) }, "1:a 3:a ", nil},
		{func() error { return ApplySnapshot(t.Context(), named("2")) }, "1:a 3:a ", blockdev.ErrNotFound},
		{func() error { return DeleteSnapshot(t.Context(), named("a")) }, "3:a ", nil},
		{func() error { return DeleteSnapshot(t.Context(), named("3")) }, "3:a ", blockdev.ErrNotFound},
	}
	for i, s := range steps {
		if err := s.what(); !errors.Is(err, s.err) {
			t.Errorf("step %d: %v, want %v", i, err, s.err)
		}
		list, err := Snapshots(t.Context(), SnapshotOptions{Image: image})
		if err != nil {
			t.Fatal(err)
		}
		left := ""
		for _, sn := range list {
			left += sn.ID + ":" + sn.Name + " "
		}
		if left != s.left {
			t.Errorf("step %d leaves %q, want %q", i, left, s.left)
		}
	}
}

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	pathA, data := randomFile(t, dir, "a", 5<<20)
	write := func(name string, b []byte) Source {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return Source{Filename: path, Format: "raw"}
	}
	a := Source{Filename: pathA, Format: "raw"}
	changed := append([]byte(nil), data...)
	changed[3000000] ^= 1
	longer := append(append([]byte(nil), data...), make([]byte, 1<<20)...)
	longest := append([]byte(nil), longer...)
	longest[len(data)+5000] = 1
	for _, c := range []struct {
		name   string
		b      Source
		strict bool
		want   Comparison
	}{
		{"same", write("same", data), true, Comparison{}},
		{"a bit", write("changed", changed), false, Comparison{Difference: DifferentContent, Offset: 3000000 &^ 511}},
		{"zeroes behind", write("longer", longer), false, Comparison{SizesDiffer: true}},
		{"zeroes behind, strict", write("longer2", longer), true, Comparison{Difference: DifferentSize}},
		{"more behind", write("longest", longest), false,
			Comparison{Difference: DifferentContent, Offset: 5<<20 + 5000&^511, SizesDiffer: true}},
		{"nothing", write("zero", make([]byte, len(data))), false, Comparison{Difference: DifferentContent}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, o := range []CompareOptions{{A: a, B: c.b}, {A: c.b, B: a}} {
				o.Strict = c.strict
				got, err := Compare(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			}
		})
	}
}

func TestMappingText(t *testing.T) {
	m := &Mapping{}
	for _, e := range []MapEntry{
		{Start: 0, Length: 512, Present: true, Data: true, Offset: 4096, Filename: "f"},
		{Start: 512, Length: 512, Present: true, Data: true, Offset: 4608, Filename: "f"}, // goes on
		{Start: 1024, Length: 512, Present: true, Data: true, Offset: 4096, Filename: "f"},
		{Start: 1536, Length: 512, Present: true, Zero: true, Offset: -1},
		{Start: 2048, Length: 512, Present: true, Zero: true, Offset: -1}, // goes on
	} {
		m.append(e)
	}
	const want = `Offset          Length          Mapped to       File
0               0x400           0x1000          f
0x400           0x200           0x1000          f
`
	got, err := m.Text()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-QEMU +ours)\n%s", err, diff)
	}
	m.append(MapEntry{Start: 2560, Length: 512, Present: true, Data: true, Offset: -1})
	if _, err := m.Text(); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("compressed data: %v", err)
	}
}

// TestCreateOverImageInUse: a machine that writes to an image is no obstacle to making the
// overlay that it will go on in.
func TestCreateOverImageInUse(t *testing.T) {
	dir := t.TempDir()
	size := int64(1 << 20)
	base := filepath.Join(dir, "base.qcow2")
	create(t, CreateOptions{Filename: base, Format: "qcow2", Size: &size})
	v, err := new(blockdev.Graph).Open(t.Context(), base, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Unref()
	o := CreateOptions{Session: follow, Filename: filepath.Join(dir, "top.qcow2"), Format: "qcow2", Backing: base, BackingFormat: "qcow2"}
	if err := Create(t.Context(), o); err != nil {
		t.Error(err)
	}
}

// TestNothingIsEmptiedThatIsRead: names that lead to what a call reads are not created anew,
// also where no lock says so.
func TestNothingIsEmptiedThatIsRead(t *testing.T) {
	dir := t.TempDir()
	base, want := randomFile(t, dir, "base.raw", 4096)
	link, top := filepath.Join(dir, "link"), filepath.Join(dir, "top.qcow2")
	if err := os.Symlink(base, link); err != nil {
		t.Fatal(err)
	}
	create(t, CreateOptions{Filename: top, Format: "qcow2", Backing: base, BackingFormat: "raw"})

	err := Create(t.Context(), CreateOptions{Session: follow, Filename: link, Format: "qcow2", Backing: base, BackingFormat: "raw"})
	if !errors.Is(err, blockdev.ErrInvalid) {
		t.Errorf("create: %v", err)
	}
	for _, source := range []string{base, top} {
		err := Convert(t.Context(), ConvertOptions{Session: follow, Sources: []Source{{Filename: source, ForceShare: true}}, Target: Source{Filename: link, Format: "raw"}})
		if !errors.Is(err, blockdev.ErrInUse) {
			t.Errorf("convert of %s: %v", source, err)
		}
		_, err = DD(t.Context(), DDOptions{Session: follow, Source: Source{Filename: source, ForceShare: true}, Target: link, BlockSize: 512, Count: -1})
		if !errors.Is(err, blockdev.ErrInUse) {
			t.Errorf("dd of %s: %v", source, err)
		}
	}
	if got, err := os.ReadFile(base); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has changed: %v", err)
	}
}

// TestFileTooLarge: what a host says that has no files as large.
func TestFileTooLarge(t *testing.T) {
	size := int64(1 << 60)
	for format, want := range map[string]string{
		"raw":   "The image size is too large for file format 'raw'",
		"qcow2": "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
	} {
		p, err := CreateOptions{Filename: "n", Format: format, Size: &size}.plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = p.tooLarge(syscall.EFBIG)
		if got := blockdev.Message(err); got != want || !errors.Is(err, syscall.EFBIG) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
