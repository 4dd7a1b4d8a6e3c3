package all_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/peer"
)

const eventsSize = 10 << 20

// raised are the events of formats: blkdebug raises the others itself.
var raised = []blockdev.Event{
	"l1_update", "l2_load", "l2_update", "l2_update_compressed", "read_aio", "read_backing_aio", "read_compressed",
	"write_aio", "write_compressed", "cow_read", "cow_write", "cluster_alloc",
}

// eventStep is a request on an image that was just opened.
type eventStep struct {
	request string // of qemu-io
	off, n  int64
	events  string // those of QEMU, in the order in which each comes first
	also    string // those that we raise besides
}

// eventCases are images, what is done with them, and what drivers tell about it.
var eventCases = []struct {
	name, driver, options string
	backing, packed       bool
	steps                 []eventStep
}{
	{"raw", "raw", "", false, false, []eventStep{{"write", 0, 512, "write_aio", ""}, {"read", 0, 512, "read_aio", ""}, {"write -z", 0, 65536, "", ""}}},
	{"qed", "qed", "", false, false, []eventStep{
		{"write", 0, 512, "cow_write write_aio l2_update l1_update", "l2_load"}, // a new table is read, too
		{"write", 0, 512, "l2_load write_aio", ""},
		{"write", 5 << 20, 512, "l2_load cow_write write_aio l2_update", ""},
		{"read", 0, 512, "l2_load read_aio", ""},
		{"read", 8 << 20, 512, "l2_load", ""},
		{"write -z", 0, 65536, "l2_load write_aio", ""},
	}},
	{"qed-overlay", "qed", "", true, false, []eventStep{
		{"read", 8 << 20, 512, "read_backing_aio", ""},
		{"write", 0, 512, "read_backing_aio cow_write write_aio l2_update l1_update", "l2_load"},
		{"write", 1 << 20, 65536, "l2_load write_aio l2_update", ""},
		{"read", 0, 2 << 20, "l2_load read_aio read_backing_aio", ""},
	}},
	{"qcow", "qcow", "", false, false, []eventStep{
		{"read", 8 << 20, 512, "", ""},
		{"write", 0, 512, "l1_update l2_load cluster_alloc l2_update write_aio", ""},
		{"write", 0, 512, "l2_load write_aio", ""},
		{"read", 0, 512, "l2_load read_aio", ""},
	}},
	{"qcow-overlay", "qcow", "", true, false, []eventStep{
		{"read", 8 << 20, 512, "read_backing_aio", ""},
		{"write", 0, 512, "l1_update l2_load cluster_alloc l2_update write_aio", ""},
		{"read", 0, 65536, "l2_load read_aio read_backing_aio", ""},
	}},
	{"qcow-packed", "qcow", "", false, true, []eventStep{
		{"read", 4096, 512, "l2_load read_compressed", ""},
		{"write", 4096, 512, "l2_load cluster_alloc read_compressed write_aio l2_update", ""},
	}},
	{"vmdk", "vmdk", "", false, false, []eventStep{
		{"write", 0, 512, "l2_load cow_write write_aio l2_update", ""},
		{"write", 0, 512, "l2_load write_aio", ""},
		{"read", 0, 512, "l2_load read_aio", ""},
		{"read", 8 << 20, 512, "l2_load", ""},
		{"write -z", 0, 65536, "l2_load write_aio", ""},
	}},
	{"vmdk-overlay", "vmdk", "", true, false, []eventStep{
		{"read", 8 << 20, 512, "l2_load read_backing_aio", ""},
		{"write", 0, 512, "l2_load cow_read cow_write write_aio l2_update", ""},
		{"write", 1 << 20, 65536, "l2_load write_aio l2_update", ""},
		{"read", 0, 2 << 20, "l2_load read_aio read_backing_aio", ""},
	}},
	{"vmdk-stream", "vmdk", "subformat=streamOptimized", false, true, []eventStep{{"read", 4096, 512, "l2_load read_compressed", ""}}},
	{"vdi", "vdi", "", false, false, silent},
	{"vhdx", "vhdx", "", false, false, silent},
	{"vpc", "vpc", "force_size=on", false, false, silent},
}

// silent are steps of drivers that say nothing.
var silent = []eventStep{{"write", 0, 512, "", ""}, {"write", 0, 512, "", ""}, {"read", 0, 512, "", ""}}

// TestEvents shows that drivers raise what QEMU's raise. What is held in memory is written at
// the latest by a flush, so the order may be another.
func TestEvents(t *testing.T) {
	for _, c := range eventCases {
		t.Run(c.name, func(t *testing.T) {
			image := eventImage(t, c.driver, c.options, c.backing, c.packed)
			for i, s := range c.steps {
				want, got := strings.Fields(s.events+" "+s.also), eventsOf(t, c.driver, image, s)
				slices.Sort(want)
				slices.Sort(got)
				if !slices.Equal(want, got) {
					t.Errorf("step %d, %s: %q, want %q", i, s.request, got, want)
				}
			}
		})
	}
}

// TestEventsOfQEMU has qemu-io stop at each event in turn. It would stop for ever at one
// that the table does not have, and wait for ever for one that does not come.
func TestEventsOfQEMU(t *testing.T) {
	peer.Need(t, "qemu-io")
	for _, c := range eventCases {
		t.Run(c.name, func(t *testing.T) {
			image := eventImage(t, c.driver, c.options, c.backing, c.packed)
			for i, s := range c.steps {
				var args []string
				add := func(format string, v ...any) { args = append(args, "-c", fmt.Sprintf(format, v...)) }
				for _, e := range raised {
					add("break %s %s", e, e)
				}
				add("aio_%s %d %d", s.request, s.off, s.n)
				for _, e := range strings.Fields(s.events) {
					add("wait_break %s", e)
					add("resume %s", e)
				}
				add("aio_flush")
				for _, e := range raised {
					if !slices.Contains(strings.Fields(s.events), string(e)) {
						add("remove_break %s", e)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				out, err := exec.CommandContext(ctx, "qemu-io", append(args, "--image-opts",
					"driver="+c.driver+",file.driver=blkdebug,file.image.driver=file,file.image.filename="+image)...).CombinedOutput()
				cancel()
				if err != nil || bytes.Contains(out, []byte("failed")) {
					t.Errorf("step %d, %s: %v\n%s", i, s.request, err, out)
				}
			}
		})
	}
}

// eventImage makes an image: empty, over a full one, or packed.
func eventImage(t *testing.T, driver, options string, backing, packed bool) string {
	t.Helper()
	dir := t.TempDir()
	full := img.Source{Filename: filepath.Join(dir, "full"), Format: "raw"}
	if err := os.WriteFile(full.Filename, bytes.Repeat([]byte{3}, eventsSize), 0o600); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "image")
	o := img.CreateOptions{Session: session, Filename: image, Format: driver, Options: blockdev.Options{}}
	switch {
	case packed:
		err := img.Convert(t.Context(), img.ConvertOptions{Session: session, Sources: []img.Source{full},
			Target: img.Source{Filename: image, Format: driver}, Create: optionsOf(options), Compress: true})
		if err != nil {
			t.Fatal(err)
		}
		return image
	case backing:
		base := full
		if driver == "vmdk" { // takes no other below it
			base = img.Source{Filename: filepath.Join(dir, "base"), Format: "vmdk"}
			convert(t, full, base, "")
		}
		o.Backing, o.BackingFormat = base.Filename, base.Format
	}
	o.Options = optionsOf(options)
	size := int64(eventsSize)
	o.Size = &size
	if err := img.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return image
}

// listener is a file that notes the events of whoever is above.
type listener struct {
	blockdev.Node
	mu     sync.Mutex
	events []string
}

func (l *listener) Resize(n int64, o blockdev.ResizeOptions) error {
	return blockdev.Resize(l.Node, n, o)
}

func (l *listener) Receive(e blockdev.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(raised, e) && !slices.Contains(l.events, string(e)) {
		l.events = append(l.events, string(e))
	}
}

func eventsOf(t *testing.T, driver, image string, s eventStep) []string {
	t.Helper()
	var g blockdev.Graph
	open := blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}, Gate: blockdev.FollowGate{}}
	file, err := g.OpenDescription(t.Context(), blockdev.Options{"driver": "file", "filename": image}, open)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Node: file.Node}
	heard, err := g.Add(l, "listener", open.Mode)
	if err != nil {
		t.Fatal(err)
	}
	v, err := g.OpenDescription(t.Context(), blockdev.Options{"driver": driver, "file": "listener"}, open)
	if err != nil {
		t.Fatal(err)
	}
	switch buf := make([]byte, s.n); s.request {
	case "read":
		_, err = v.Node.ReadAt(buf, s.off)
	case "write":
		_, err = v.Node.WriteAt(buf, s.off)
	default:
		err = blockdev.WriteZeroes(v.Node, s.off, s.n, 0)
	}
	if err == nil {
		err = v.Node.Flush()
	}
	if err != nil {
		t.Error(err)
	}
	events := slices.Clone(l.events)
	if err := errors.Join(v.Unref(), heard.Unref()); err != nil {
		t.Error(err)
	}
	return events
}
