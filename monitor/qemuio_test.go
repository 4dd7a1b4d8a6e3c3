package monitor_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/monitor"
)

// exercised is a machine with a qcow2, a read-only raw disk and an empty drive, and what
// its monitor shows in three places.
type exercised struct {
	t              *testing.T
	mon            *monitor.Monitor
	dir            string
	bench          *bench
	stdout, stderr bytes.Buffer
}

func newExercised(t *testing.T) *exercised {
	t.Helper()
	e := &exercised{t: t, dir: t.TempDir()}
	e.bench = newBench(t, scenario{
		Images: [][]any{{"create", "-f", "qcow2", "@DIR@/a.qcow2", "16M"}, {"create", "-f", "raw", "@DIR@/r.img", "1M"}},
		Setup: []string{
			"-nodefaults", "-drive", "file=@DIR@/a.qcow2,if=none,id=d0", "-device", "disk,drive=d0",
			"-drive", "file=@DIR@/r.img,format=raw,if=none,id=ro,readonly=on", "-drive", "if=none,id=empty",
		},
	}, e.dir)
	e.mon = monitor.New(monitor.Config{
		Machine: e.bench.machine, Graph: e.bench.builder.Graph, Gate: e.bench.builder.Gate, Drives: e.bench.builder,
		Stdout: &e.stdout, Stderr: &e.stderr,
	})
	t.Cleanup(func() {
		if err := e.mon.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// rates are the part of statistics that depends on the speed.
var rates = regexp.MustCompile(`ops; .*`)

func (e *exercised) run(line string) (console, stdout, stderr string) {
	e.t.Helper()
	e.stdout.Reset()
	e.stderr.Reset()
	console = run(e.t, e.mon, line)
	return console, rates.ReplaceAllString(e.stdout.String(), "ops"), e.stderr.String()
}

func TestQemuIOShowsThingsWhereTheyBelong(t *testing.T) {
	e := newExercised(t)
	type shown struct{ Console, Stdout, Stderr string }
	for _, c := range []struct {
		line string
		want shown
	}{
		{`qemu-io d0 "write -P 5 0 64k"`, shown{Stdout: "wrote 65536/65536 bytes at offset 0\n64 KiB, 1 ops\n"}},
		{`qemu-io d0 "read -q -P 5 0 64k"`, shown{}},
		{`qemu-io -d /machine/peripheral-anon/device[0] "length"`, shown{Stdout: "16 MiB\n"}},
		{`qemu-io d0 "aio_write -q -P 6 64k 64k"`, shown{}},
		{`qemu-io d0 map`, shown{Stdout: "128 KiB (0x20000) bytes     allocated at offset 0 bytes (0x0)\n" +
			"15.875 MiB (0xfe0000) bytes not allocated at offset 128 KiB (0x20000)\n"}},
		{`qemu-io d0 frobnicate`, shown{Stderr: "command \"frobnicate\" not found\n"}},
		{`qemu-io d0 quit`, shown{Stderr: "command \"quit\" not found\n"}},
		{`qemu-io d0 "read -z 0 1"`, shown{
			Stdout: "read [-abCqv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a specified offset\n",
			Stderr: "read: invalid option -- 'z'\n",
		}},
		{`qemu-io d0 "reopen -c none"`, shown{Console: "The options of this image cannot be changed while it is in use\n"}},
		{`qemu-io d0 "reopen -o foo=bar"`, shown{Console: "Cannot change the option 'foo'\n"}},
		{`qemu-io ro "write 0 512"`, shown{Console: "Block node is read-only\n"}},
		{`qemu-io empty "read 0 512"`, shown{Stdout: "read failed: No medium found\n"}},
		{`qemu-io empty map`, shown{Console: "Failed to query image length: No medium found\n"}},
		{`qemu-io -d d0 length`, shown{Console: "Error: Device 'd0' not found\n"}},
		{`qemu-io nosuch length`, shown{Console: "Error: Cannot find device='' nor node-name='nosuch'\n"}},
	} {
		var got shown
		got.Console, got.Stdout, got.Stderr = e.run(c.line)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.line, diff)
		}
	}
}

// TestQemuIOOnANode exercises a node that no drive has.
func TestQemuIOOnANode(t *testing.T) {
	e := newExercised(t)
	file := filepath.Join(e.dir, "n.img")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"drive_add -n 0 driver=raw,node-name=n0,file.driver=file,file.filename=" + file,
		`qemu-io n0 "write -q -P 7 512 512"`,
		`qemu-io n0 "read -q -P 7 512 512"`,
		"drive_del n0",
	} {
		if console, stdout, stderr := e.run(line); console+stdout+stderr != "" {
			t.Errorf("%s: %s%s%s", line, console, stdout, stderr)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(make([]byte, 512), bytes.Repeat([]byte{7}, 512), make([]byte, 3072))
	if !bytes.Equal(got, want) {
		t.Error("the file does not hold what was written")
	}
}

// TestExternalSnapshot goes on in a new image and finds what was there before below it.
func TestExternalSnapshot(t *testing.T) {
	e := newExercised(t)
	link := filepath.Join(e.dir, "link")
	if err := os.Symlink("s1.qcow2", link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ line, console string }{
		{`qemu-io d0 "write -q -P 1 0 64k"`, ""},
		{"snapshot_blkdev d0 " + filepath.Join(e.dir, "s1.qcow2"), ""},
		{"snapshot_blkdev d0 " + link, "Error: Error: Trying to create an image with the same filename as the backing file\n"},
		{"snapshot_blkdev d0 x nosuch", "Error: Unknown file format 'nosuch'\n"},
		{`qemu-io d0 "write -q -P 2 64k 64k"`, ""},
		{`qemu-io d0 "read -q -P 1 0 64k"`, ""},
		{"snapshot_blkdev d0", "Error: Parameter 'snapshot-file' is missing\n"},
		{"snapshot_blkdev empty x", "Error: Device 'empty' has no medium\n"},
		{"snapshot_blkdev -n d0 " + filepath.Join(e.dir, "none"), "Error: Could not open '" + filepath.Join(e.dir, "none") + "': No such file or directory\n"},
	} {
		console, stdout, stderr := e.run(c.line)
		announced := c.console == "" && strings.HasPrefix(c.line, "snapshot_blkdev")
		if console != c.console || strings.HasPrefix(stdout, "Formatting '") != announced || stderr != "" {
			t.Errorf("%s: %s%s%s", c.line, console, stdout, stderr)
		}
	}
	d, _ := e.bench.machine.Drives().Get("d0")
	below := d.Medium().Backing()
	if below == nil || below.Mode().Writable {
		t.Fatal("what is below is missing, or can be written")
	}
	if st, err := blockdev.BlockStatus(below.Node, 64<<10, 64<<10, nil); err != nil || st.Kind != blockdev.ExtentUnallocated {
		t.Errorf("the image below was written: %v, %v", st.Kind, err)
	}
}
