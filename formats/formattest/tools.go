package formattest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all" // the files that images lie in
	_ "github.com/qmon/qmon/formats/raw"  // what images are converted from
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/peer"
)

// Tools says how to compare what img does with a format with what qemu-img does.
type Tools struct {
	Driver string
	// Options of images to be created, each as -o takes it: "cluster_size=4k,compat=v2".
	Options []string
	// Size of the images, bytes; 0 for a few MiB.
	Size int64
	// NoCheck: the format has nothing that could be checked.
	NoCheck bool
	// Other tools get an image that qmon made, and its contents.
	Other func(t *testing.T, image string, contents []byte)
	// InfoFilter takes out of what info prints what is never twice the same.
	InfoFilter func(text string) string
}

// RunTools compares convert, create, info, check and resize. It needs QEMU's tools.
func RunTools(t *testing.T, p Tools) {
	peer.Need(t, "qemu-img")
	if p.Size == 0 {
		p.Size = 5<<20 + 3*512
	}
	if p.InfoFilter == nil {
		p.InfoFilter = func(s string) string { return s }
	}
	for i, o := range p.Options {
		t.Run(o, func(t *testing.T) {
			c := &toolsTest{Tools: p, t: t, options: o, dir: t.TempDir(), rng: rand.New(rand.NewPCG(uint64(i), 7))}
			c.convertOurs()
			c.convertTheirs()
			c.create()
			c.resize()
		})
	}
}

// toolsTest is the comparison of one set of options.
type toolsTest struct {
	Tools
	t       *testing.T
	options string
	dir     string
	rng     *rand.Rand
}

var followAll = img.Session{Gate: blockdev.FollowGate{}}

func (c *toolsTest) source(name string) img.Source {
	return img.Source{Filename: name, Format: c.Driver}
}

func (c *toolsTest) path(name string) string { return filepath.Join(c.dir, name) }

func (c *toolsTest) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// createOptions parses what -o takes.
func (c *toolsTest) createOptions() blockdev.Options {
	o := blockdev.Options{}
	for kv := range strings.SplitSeq(c.options, ",") {
		if k, v, ok := strings.Cut(kv, "="); ok {
			o[k] = v
		}
	}
	return o
}

// args are the arguments of qemu-img that choose format and options.
func (c *toolsTest) args(command string, flag string, rest ...string) []string {
	a := []string{command, flag, c.Driver}
	if c.options != "" {
		a = append(a, "-o", c.options)
	}
	return append(a, rest...)
}

// random is a disk with data and holes.
func (c *toolsTest) random() []byte {
	b := make([]byte, c.Size)
	for off := int64(0); off < c.Size; {
		n := min(1+c.rng.Int64N(600<<10), c.Size-off)
		if c.rng.IntN(2) == 0 {
			fill(b[off:off+n], c.rng)
		}
		off += n
	}
	return b
}

// agree lets both sides read an image that holds want, check it, and tell about it.
func (c *toolsTest) agree(image string, want []byte) {
	c.t.Helper()
	raw := c.path("want.raw")
	c.must(os.WriteFile(raw, want, 0o600))
	peer.Run(c.t, "qemu-img", "compare", "-f", c.Driver, "-F", "raw", image, raw)
	res, err := img.Compare(context.Background(), img.CompareOptions{
		Session: followAll, A: c.source(image), B: img.Source{Filename: raw, Format: "raw"},
	})
	if err != nil || res.Difference != img.Identical {
		c.t.Fatalf("%s: %+v, %v", image, res, err)
	}
	c.sameInfo(image)
	c.sameCheck(image)
}

func (c *toolsTest) sameInfo(image string) {
	c.t.Helper()
	info, err := img.ReadInfo(context.Background(), img.InfoOptions{Session: followAll, Image: c.source(image)})
	c.must(err)
	for output, ours := range map[string]string{"human": info.Text(), "json": info.JSON()} {
		theirs := peer.Run(c.t, "qemu-img", "info", "--output="+output, "-f", c.Driver, image)
		if d := cmp.Diff(c.InfoFilter(theirs), c.InfoFilter(ours)); d != "" {
			c.t.Errorf("info of %s: %s", image, d)
		}
	}
}

func (c *toolsTest) sameCheck(image string) {
	c.t.Helper()
	if c.NoCheck {
		return
	}
	for _, output := range []string{"human", "json"} {
		theirs := peer.Run(c.t, "qemu-img", "check", "--output="+output, "-f", c.Driver, image)
		report, err := img.Check(context.Background(), img.CheckOptions{Session: followAll, Image: c.source(image)})
		c.must(err)
		ours := report.Text()
		if output == "json" {
			ours = report.JSON()
		}
		if d := cmp.Diff(theirs, ours); d != "" {
			c.t.Errorf("check of %s: %s", image, d)
		}
	}
}

// convertOurs converts to the format with qmon.
func (c *toolsTest) convertOurs() {
	c.t.Helper()
	model := c.random()
	raw, image := c.path("ours.raw"), c.path("ours."+c.Driver)
	c.must(os.WriteFile(raw, model, 0o600))
	c.must(img.Convert(context.Background(), img.ConvertOptions{
		Session: followAll, Sources: []img.Source{{Filename: raw, Format: "raw"}},
		Target: c.source(image), Create: c.createOptions(),
	}))
	c.agree(image, model)
	if c.Other != nil {
		c.Other(c.t, image, model)
	}
}

// convertTheirs converts to the format with qemu-img.
func (c *toolsTest) convertTheirs() {
	c.t.Helper()
	model := c.random()
	raw, image := c.path("theirs.raw"), c.path("theirs."+c.Driver)
	c.must(os.WriteFile(raw, model, 0o600))
	peer.Run(c.t, "qemu-img", c.args("convert", "-O", "-f", "raw", raw, image)...)
	c.agree(image, model)
}

// create compares what both say as they make an image.
func (c *toolsTest) create() {
	c.t.Helper()
	ours, theirs := c.path("new-ours."+c.Driver), c.path("new-them."+c.Driver)
	var said string
	c.must(img.Create(context.Background(), img.CreateOptions{
		Session: followAll, Filename: ours, Format: c.Driver, Size: &c.Size, Options: c.createOptions(),
		Announce: func(line string) { said = strings.Replace(line, "new-ours", "new-them", 1) },
	}))
	they := peer.Run(c.t, "qemu-img", c.args("create", "-f", theirs, fmt.Sprint(c.Size))...)
	if d := cmp.Diff(strings.TrimSpace(they), said); d != "" {
		c.t.Errorf("create: %s", d)
	}
	c.agree(ours, make([]byte, (c.Size+511)&^511))
	c.agree(theirs, make([]byte, (c.Size+511)&^511))
}

// resize compares how both resize, or what they say that they cannot.
func (c *toolsTest) resize() {
	c.t.Helper()
	ours, theirs := c.path("new-ours."+c.Driver), c.path("new-them."+c.Driver)
	size := c.Size*2 + 512
	_, err := img.Resize(context.Background(), img.ResizeOptions{Session: followAll, Image: c.source(ours), Size: img.SizeChange{Bytes: size}})
	out, theirErr := exec.Command("qemu-img", "resize", "-f", c.Driver, theirs, fmt.Sprint(size)).CombinedOutput()
	if (err == nil) != (theirErr == nil) {
		c.t.Errorf("resize: %v, QEMU %v: %s", err, theirErr, out)
	} else if err != nil && strings.TrimSpace(string(out)) != "qemu-img: "+blockdev.Message(err) {
		c.t.Errorf("resize: %q, QEMU %s", blockdev.Message(err), out)
	}
}
