package blockdev_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/formats/all"
	"github.com/qmon/qmon/internal/peer"
)

// images makes a folder with a qcow2 chain and a raw disk, and goes there.
func images(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("r.img", make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	create(t, "a.qcow2", blockdev.Reference{})
	create(t, "mid.qcow2", blockdev.Reference{Name: "r.img", Format: "raw"})
	create(t, "top.qcow2", blockdev.Reference{Name: "mid.qcow2", Format: "qcow2"})
	create(t, "gone.qcow2", blockdev.Reference{Name: "nowhere.img", Format: "raw"})
	create(t, "wrong.qcow2", blockdev.Reference{Name: "r.img", Format: "qcow2"})
	return dir
}

func create(t *testing.T, name string, backing blockdev.Reference) {
	t.Helper()
	var g blockdev.Graph
	if err := g.Create(t.Context(), "qcow2", name, 1<<20, nil, backing); err != nil {
		t.Fatal(err)
	}
}

// description splits key=value,key=value.
func description(s string) blockdev.Options {
	o := blockdev.Options{}
	for kv := range strings.SplitSeq(s, ",") {
		k, v, _ := strings.Cut(kv, "=")
		o[k] = v
	}
	return o
}

// openErrors are descriptions with the message of QEMU 7.2's tools for them.
var openErrors = []struct{ description, message string }{
	{"driver=qcow2,file.filename=a.qcow2,foo=1", "Block format 'qcow2' does not support the option 'foo'"},
	{"driver=qcow2,file.filename=a.qcow2,file.foo=1", "Block protocol 'file' doesn't support the option 'foo'"},
	{"driver=file,filename=a.qcow2,foo=1", "Block protocol 'file' doesn't support the option 'foo'"},
	{"driver=nosuch,filename=a.qcow2", "Unknown driver 'nosuch'"},
	{"driver=qcow2", `A block device must be specified for "file"`},
	{"driver=qcow2,filename=a.qcow2", `A block device must be specified for "file"`},
	{"filename=a.qcow2", "Must specify either driver or file"},
	{"driver=file", "The 'file' block driver requires a file name"},
	{"driver=qcow2,file=nosuchnode", "Cannot find device='nosuchnode' nor node-name='nosuchnode'"},
	{"driver=qcow2,file.filename=a.qcow2,file=foo", "Cannot reference an existing block device with additional options or a new filename"},
	{"driver=qcow2,file.filename=a.qcow2,node-name=0x", "Invalid node-name: '0x'"},
	{"driver=qcow2,file.filename=a.qcow2,node-name=n,file.node-name=n", "Duplicate nodes with node-name='n'"},
	{"driver=qcow2,file.filename=a.qcow2,read-only=maybe", "Parameter 'read-only' expects 'on' or 'off'"},
	{"driver=qcow2,file.filename=a.qcow2,discard=maybe", "Invalid discard option"},
	{"driver=qcow2,file.filename=a.qcow2,detect-zeroes=maybe", "invalid parameter value: maybe"},
	{"driver=qcow2,file.filename=a.qcow2,detect-zeroes=unmap", "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap"},
	{"driver=file,filename=a.qcow2,locking=foo", "invalid parameter value: foo"},
	{"driver=file,filename=a.qcow2,aio=foo", "invalid parameter value: foo"},
	{"driver=file,filename=none", "Could not open 'none': No such file or directory"},
	{"driver=qcow2,file.filename=r.img", "Image is not in qcow2 format"},
	{"driver=null-co,size=1M,foo=2", "Block protocol 'null-co' doesn't support the option 'foo'"},
	{"driver=raw,file.filename=r.img,offset=2M", "Offset (2097152) cannot be greater than size of the containing file (1048576)"},
	{"driver=raw,file.filename=r.img,offset=512,size=2M", "The sum of offset (512) and size (2097152) has to be smaller or equal to the  actual size of the containing file (1048576)"},
	{"driver=raw,file.filename=r.img,size=100", "Specified size is not multiple of 512"},
}

func TestDescriptionErrorsAreQEMUs(t *testing.T) {
	images(t)
	for _, c := range openErrors {
		var g blockdev.Graph
		_, err := g.OpenDescription(t.Context(), description(c.description), blockdev.OpenOptions{})
		if got := blockdev.Message(err); got != c.message {
			t.Errorf("%s: %q, not %q", c.description, got, c.message)
		}
		if left := g.Vertices(); len(left) > 0 {
			t.Errorf("%s: %d vertices left", c.description, len(left))
		}
	}
}

func TestMessagesAreStillQEMUs(t *testing.T) {
	peer.Need(t, "qemu-img")
	images(t)
	for _, c := range openErrors {
		out, _ := exec.Command("qemu-img", "info", "--image-opts", c.description).CombinedOutput()
		want := "qemu-img: Could not open '" + c.description + "': " + c.message + "\n"
		if string(out) != want {
			t.Errorf("qemu-img says %q, not %q", out, want)
		}
	}
}

func TestFilenameErrorsAreQEMUs(t *testing.T) {
	images(t)
	for name, want := range map[string]string{
		"foo:bar":                "Unknown protocol 'foo'",
		"none":                   "Could not open 'none': No such file or directory",
		"foo/bar:baz":            "Could not open 'foo/bar:baz': No such file or directory",
		"":                       "The 'file' block driver requires a file name",
		"null-co://x":            "The only allowed filename for this driver is 'null-co://'",
		`json:{"driver":"qcow2"`: "Could not parse the JSON options: JSON parse error, premature EOI",
		"json:[1]":               "Invalid JSON object given",
		"gone.qcow2":             "Could not open backing file: Could not open 'nowhere.img': No such file or directory",
		"wrong.qcow2":            "Could not open backing file: Image is not in qcow2 format",
	} {
		var g blockdev.Graph
		_, err := g.Open(t.Context(), name, blockdev.OpenOptions{Gate: blockdev.FollowGate{}})
		if got := blockdev.Message(err); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
		if left := g.Vertices(); len(left) > 0 {
			t.Errorf("%s: %d vertices left", name, len(left))
		}
	}
}

func TestFilenamesShown(t *testing.T) {
	dir := images(t)
	for _, c := range []struct {
		name    string
		options blockdev.Options
		want    string
	}{
		{name: "a.qcow2", want: "a.qcow2"},
		{name: "file:a.qcow2", want: "a.qcow2"},
		{name: filepath.Join(dir, "r.img"), want: filepath.Join(dir, "r.img")},
		{name: `json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}`, want: "a.qcow2"},
		{name: "a.qcow2", options: blockdev.Options{"cache.direct": "off", "file.locking": "off"}, want: "a.qcow2"},
		{name: `json:{"driver":"raw","offset":512,"file":{"filename":"r.img"}}`,
			want: `json:{"driver": "raw", "file": {"driver": "file", "filename": "r.img"}, "offset": "512"}`},
		{name: `json:{"driver":"null-co","size":"1M"}`, want: `json:{"driver": "null-co", "size": "1M"}`},
		{name: "null-co://", want: "null-co://"},
		{name: `json:{"driver":"qcow2","file.filename":"a.qcow2","backing":{"driver":"null-co","size":4096}}`,
			want: `json:{"backing": {"driver": "null-co", "size": "4096"}, "driver": "qcow2", "file": {"driver": "file", "filename": "a.qcow2"}}`},
	} {
		var g blockdev.Graph
		v, err := g.Open(t.Context(), c.name, blockdev.OpenOptions{Options: c.options})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if v.Filename != c.want {
			t.Errorf("%s: %s, not %s", c.name, v.Filename, c.want)
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}

func TestBackingChain(t *testing.T) {
	images(t)
	var g blockdev.Graph
	v, err := g.Open(t.Context(), "top.qcow2", blockdev.OpenOptions{Gate: blockdev.FollowGate{}, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, w := range v.Chain() {
		names = append(names, w.Filename+" "+w.Driver.Name)
		if w.Mode().Writable != (w == v) || w.Probed != (w == v) {
			t.Errorf("%s: mode %+v, probed %v", w.Filename, w.Mode(), w.Probed)
		}
	}
	if got := strings.Join(names, ", "); got != "top.qcow2 qcow2, mid.qcow2 qcow2, r.img raw" {
		t.Error(got)
	}
	if n := len(g.Vertices()); n != 6 {
		t.Errorf("%d vertices, not 3 formats over 3 files", n)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
	if n := len(g.Vertices()); n != 0 {
		t.Errorf("%d vertices left", n)
	}
}

// TestBackingOptions: options for the backing file go with what the image says of it.
func TestBackingOptions(t *testing.T) {
	images(t)
	for _, c := range []struct {
		options blockdev.Options
		want    string // of the backing node, or the error
	}{
		{blockdev.Options{}, "r.img raw"},
		{blockdev.Options{"backing.offset": "512"}, `json:{"driver": "raw", "file": {"driver": "file", "filename": "r.img"}, "offset": "512"} raw`},
		{blockdev.Options{"backing.file.filename": "a.qcow2"}, "a.qcow2 raw"},
		{blockdev.Options{"backing.driver": "qcow2", "backing.file.filename": "a.qcow2"}, "a.qcow2 qcow2"},
		{blockdev.Options{"backing.foo": "bar"}, "Could not open backing file: Block format 'raw' does not support the option 'foo'"},
		{blockdev.Options{"file.filename": "mid.qcow2"}, "Can't specify 'file' and 'filename' options at the same time"},
	} {
		var g blockdev.Graph
		v, err := g.Open(t.Context(), "mid.qcow2", blockdev.OpenOptions{Options: c.options, Gate: blockdev.FollowGate{}})
		got := blockdev.Message(err)
		if err == nil {
			got = v.Backing().Filename + " " + v.Backing().Driver.Name
			if err := v.Unref(); err != nil {
				t.Error(err)
			}
		}
		if got != c.want {
			t.Errorf("%v: %s, not %s", c.options, got, c.want)
		}
	}
}

func TestChainWithALoop(t *testing.T) {
	images(t)
	create(t, "l1.qcow2", blockdev.Reference{Name: "a.qcow2", Format: "qcow2"})
	create(t, "l2.qcow2", blockdev.Reference{Name: "l1.qcow2", Format: "qcow2"})
	if err := os.Remove("a.qcow2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link("l2.qcow2", "a.qcow2"); err != nil {
		t.Skip(err)
	}
	var g blockdev.Graph
	_, err := g.Open(t.Context(), "l1.qcow2", blockdev.OpenOptions{Gate: blockdev.FollowGate{}})
	if err == nil || !strings.Contains(err.Error(), "creates an infinite loop") {
		t.Error(err)
	}
}

// endless is a gate behind every reference of which there is the same image again, in a
// file of its own.
type endless struct{ image *blocktest.Memory }

func (e endless) OpenReference(ctx context.Context, g *blockdev.Graph, _ blockdev.Reference, o blockdev.OpenOptions) (*blockdev.Vertex, error) {
	file, err := g.Add(e.image.Clone(), "", o.Mode)
	if err != nil {
		return nil, err
	}
	defer file.Unref()
	return g.OpenDescription(ctx, blockdev.Options{"driver": "qcow2", "file": file.Name}, o)
}

func TestChainDepthIsLimited(t *testing.T) {
	images(t)
	image, err := os.ReadFile("top.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	var g blockdev.Graph
	_, err = g.Open(t.Context(), "top.qcow2", blockdev.OpenOptions{Gate: endless{blocktest.NewMemory(image)}})
	if !errors.Is(err, blockdev.ErrLimit) {
		t.Errorf("%.200v", err)
	}
	if n := len(g.Vertices()); n != 0 {
		t.Errorf("%d vertices left", n)
	}
}

func TestGates(t *testing.T) {
	dir := images(t)
	inside := filepath.Join(dir, "inside")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(inside, "base"), make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../r.img", filepath.Join(inside, "link")); err != nil {
		t.Skip(err)
	}
	restrict := blockdev.RestrictGate{Dir: inside}
	for _, c := range []struct {
		name string
		gate blockdev.Gate
		ok   bool
	}{
		{"base", nil, false},
		{"base", blockdev.FollowGate{}, true},
		{"base", restrict, true},
		{"../inside/base", restrict, true},
		{filepath.Join(inside, "base"), restrict, true},
		{"../r.img", blockdev.FollowGate{}, true},
		{"../r.img", restrict, false},
		{"link", restrict, false},
		{"/etc/passwd", restrict, false},
		{`json:{"driver":"file","filename":"/etc/passwd"}`, blockdev.FollowGate{}, false},
		{"nbd://localhost/", blockdev.FollowGate{}, false},
		{"null-co://", blockdev.FollowGate{}, false},
		{"file:base", blockdev.FollowGate{}, true},
	} {
		top := filepath.Join(inside, "top.qcow2")
		create(t, top, blockdev.Reference{Name: c.name, Format: "raw"})
		var g blockdev.Graph
		v, err := g.Open(t.Context(), top, blockdev.OpenOptions{Gate: c.gate})
		if c.ok != (err == nil) || err != nil && !errors.Is(err, blockdev.ErrDenied) {
			t.Errorf("%T, %s: %v", c.gate, c.name, err)
		}
		if err == nil {
			if err := v.Unref(); err != nil {
				t.Error(err)
			}
		}
		v, err = g.Open(t.Context(), top, blockdev.OpenOptions{NoBacking: true})
		if err != nil {
			t.Errorf("%s without its backing file: %v", c.name, err)
			continue
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}

// TestReferencedNodes builds a graph piece by piece, as -blockdev does.
func TestReferencedNodes(t *testing.T) {
	images(t)
	var g blockdev.Graph
	ctx := context.Background()
	open := func(d string) *blockdev.Vertex {
		t.Helper()
		v, err := g.OpenDescription(ctx, description(d), blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	file := open("driver=file,filename=a.qcow2,node-name=f")
	base := open("driver=raw,file.driver=file,file.filename=r.img,node-name=b,read-only=on")
	top := open("driver=qcow2,file=f,backing=b,node-name=t")
	if top.File() != file || top.Backing() != base || base.Mode().Writable || !top.Mode().Writable {
		t.Errorf("%+v over %+v", top, base)
	}
	if v, ok := g.Find("t"); !ok || v != top {
		t.Error("t is not found")
	}
	if v, ok := g.VertexOf(file.Node); !ok || v != file {
		t.Error("the file's vertex is not found")
	}
	if err := base.SetBacking(top); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("a backing file for raw: %v", err)
	}
	for _, v := range []*blockdev.Vertex{file, base, top} {
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
	if n := len(g.Vertices()); n != 0 {
		t.Errorf("%d vertices left", n)
	}
}

func TestCreateErrorsAreQEMUs(t *testing.T) {
	images(t)
	for _, c := range []struct {
		driver, name string
		options      blockdev.Options
		backing      string
		want         string
	}{
		{driver: "raw", name: "x", options: blockdev.Options{"foo": "1"}, want: "Invalid parameter 'foo'"},
		{driver: "qcow2", name: "x", options: blockdev.Options{"foo": "1"}, want: "Invalid parameter 'foo'"},
		{driver: "raw", name: "x", options: blockdev.Options{"preallocation": "metadata"}, want: "Unsupported preallocation mode: metadata"},
		{driver: "raw", name: "dir/x", want: "Could not create 'dir/x': No such file or directory"},
		{driver: "raw", name: "x", backing: "r.img", want: "Backing file not supported for file format 'raw'"},
		{driver: "null-co", name: "x", want: "Format driver 'null-co' does not support image creation"},
		{driver: "raw", name: "null-co://", want: "Protocol driver 'null-co' does not support image creation"},
		{driver: "raw", name: "foo:x", want: "Unknown protocol 'foo'"},
		{driver: "nosuch", name: "x", want: "Unknown driver 'nosuch'"},
	} {
		var g blockdev.Graph
		err := g.Create(t.Context(), c.driver, c.name, 1<<20, c.options, blockdev.Reference{Name: c.backing})
		if got := blockdev.Message(err); got != c.want {
			t.Errorf("%s %s %v: %q, not %q", c.driver, c.name, c.options, got, c.want)
		}
	}
}

func TestOpenSnapshot(t *testing.T) {
	images(t)
	var g blockdev.Graph
	d := openDrive(t, &g, "a.qcow2")
	if _, err := d.WriteAt([]byte("then"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Medium().Node.(blockdev.Snapshotter).CreateSnapshot(blockdev.Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("now!"), 0); err != nil {
		t.Fatal(err)
	}
	closeDrive(t, d)
	for id, want := range map[string]string{"s": "", "1": "", "2": "Can't find snapshot"} {
		v, err := g.Open(t.Context(), "a.qcow2", blockdev.OpenOptions{Snapshot: id})
		if got := blockdev.Message(err); got != want {
			t.Errorf("%s: %q, not %q", id, got, want)
		}
		if err != nil {
			continue
		}
		p := make([]byte, 4)
		if _, err := v.Node.ReadAt(p, 0); err != nil || string(p) != "then" {
			t.Errorf("%s: %q, %v", id, p, err)
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
	_, err := g.Open(t.Context(), "r.img", blockdev.OpenOptions{Driver: "raw", Snapshot: "s"})
	if want := "Block format 'raw' used by device '' does not support temporarily loading internal snapshots"; blockdev.Message(err) != want {
		t.Errorf("raw: %v", err)
	}
	if n := len(g.Vertices()); n != 0 {
		t.Errorf("%d vertices left", n)
	}
}

func TestDescriptionLimits(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	for _, s := range []string{"json:" + deep, strings.Repeat("x", blockdev.MaxFilename+1)} {
		var g blockdev.Graph
		if _, err := g.Open(t.Context(), s, blockdev.OpenOptions{}); !errors.Is(err, blockdev.ErrLimit) {
			t.Errorf("%d bytes: %v", len(s), err)
		}
	}
}

func TestAutoReadOnlyFallsBackBelow(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write to every file")
	}
	images(t)
	if err := os.Chmod("a.qcow2", 0o444); err != nil {
		t.Fatal(err)
	}
	var g blockdev.Graph
	v, err := g.Open(t.Context(), "a.qcow2", blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true, AutoReadOnly: true}})
	if err != nil {
		t.Fatal(err)
	}
	if v.Mode().Writable {
		t.Error("writable, but its file is not")
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

func TestAddedNodeIsClosedWithItsLastUser(t *testing.T) {
	var g blockdev.Graph
	v, err := g.Add(blocktest.NewMemory(make([]byte, 512)), "mine", blockdev.Mode{Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Add(&blocktest.Memory{}, "mine", blockdev.Mode{}); !errors.Is(err, blockdev.ErrExists) {
		t.Errorf("a name taken twice: %v", err)
	}
	v.Ref()
	for want := 1; want >= 0; want-- {
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
		if n := len(g.Vertices()); n != want {
			t.Errorf("%d vertices, not %d", n, want)
		}
	}
}

func FuzzParseJSONOptions(f *testing.F) {
	f.Add(`{"driver":"qcow2","file":{"driver":"file","filename":"a"}}`)
	f.Add(`{"a":[1,true,null,{"b":"c"}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := blockdev.ParseJSONOptions(s); err == nil && o == nil {
			t.Error("no options and no error")
		}
	})
}
