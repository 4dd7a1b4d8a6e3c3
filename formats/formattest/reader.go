package formattest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/blockdev/file" // images lie in files, for QEMU to see them
	_ "github.com/qmon/qmon/formats/raw"   // what they are converted to
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/peer"
)

// Reader says how to compare a format that is only read.
type Reader struct {
	Driver string
	Image  string
	// OwnMap: the driver tells holes from data, where QEMU says that all is data.
	OwnMap bool
}

// RunReader compares what the library does with an image of a format that is only read
// with what qemu-img does: probe, info, map, check, convert, and the refusal to write.
func RunReader(t *testing.T, r Reader) {
	t.Helper()
	peer.Need(t, "qemu-img")
	c := &readerTest{t: t, src: img.Source{Filename: r.Image}}
	c.info(r.Driver)
	if !r.OwnMap {
		c.mapping()
	}
	c.check()
	c.convert()
	c.readOnly()
}

type readerTest struct {
	t   *testing.T
	src img.Source
}

// qemu runs qemu-img and returns all it says.
func (c *readerTest) qemu(args ...string) (stdout, stderr string) {
	cmd := exec.Command("qemu-img", append(args, c.src.Filename)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // what it says is compared
	return out.String(), strings.TrimSpace(errs.String())
}

func (c *readerTest) same(what, theirs, ours string) {
	c.t.Helper()
	if d := cmp.Diff(theirs, ours); d != "" {
		c.t.Errorf("%s (-theirs +ours)\n%s", what, d)
	}
}

func (c *readerTest) info(driver string) {
	c.t.Helper()
	info, err := img.ReadInfo(context.Background(), img.InfoOptions{Image: c.src})
	if err != nil {
		c.t.Fatal(err)
	}
	if info.Format != driver {
		c.t.Errorf("probed as %s", info.Format)
	}
	text, _ := c.qemu("info")
	c.same("info", text, info.Text())
	text, _ = c.qemu("info", "--output=json")
	c.same("info --output=json", text, info.JSON())
}

func (c *readerTest) mapping() {
	c.t.Helper()
	m, err := img.Map(context.Background(), img.MapOptions{Image: c.src, Length: -1})
	if err != nil {
		c.t.Fatal(err)
	}
	theirs, _ := c.qemu("map", "--output=json")
	c.same("map --output=json", theirs, m.JSON())
	text, err := m.Text()
	theirs, complaint := c.qemu("map")
	c.same("map", theirs, text)
	c.same("map's complaint", complaint, "qemu-img: "+blockdev.Message(err))
}

func (c *readerTest) check() {
	c.t.Helper()
	_, err := img.Check(context.Background(), img.CheckOptions{Image: c.src})
	_, theirs := c.qemu("check")
	// QEMU may complain first that it has no modules for some ways to compress.
	c.same("check", theirs[strings.LastIndex(theirs, "\n")+1:], "qemu-img: "+blockdev.Message(err))
}

func (c *readerTest) convert() {
	c.t.Helper()
	dir := c.t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	err := img.Convert(context.Background(), img.ConvertOptions{
		Sources: []img.Source{c.src}, Target: img.Source{Filename: ours, Format: "raw"},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	peer.Run(c.t, "qemu-img", "convert", "-O", "raw", c.src.Filename, theirs)
	a, err := os.ReadFile(ours)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := os.ReadFile(theirs)
	if err != nil {
		c.t.Fatal(err)
	}
	if at := firstDifference(a, b); at >= 0 {
		c.t.Errorf("converted disks differ at byte %d", at)
	}
}

func (c *readerTest) readOnly() {
	c.t.Helper()
	_, err := img.Resize(context.Background(), img.ResizeOptions{Image: c.src, Size: img.SizeChange{Bytes: 1 << 20}})
	if !errors.Is(err, blockdev.ErrReadOnly) {
		c.t.Errorf("resize: %v", err)
	}
	out, _ := exec.Command("qemu-img", "resize", c.src.Filename, "1M").CombinedOutput()
	theirs := strings.TrimSpace(string(out))
	c.same("resize", theirs[strings.LastIndex(theirs, "\n")+1:], "qemu-img: "+blockdev.Message(err))
}

// Open opens the image that b is with a package's Open.
func Open[Image any](t testing.TB, open func(context.Context, blockdev.OpenRequest) (Image, error), b []byte) Image {
	t.Helper()
	im, err := open(t.Context(), blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(b)})
	if err != nil {
		t.Fatal(err)
	}
	return im
}
