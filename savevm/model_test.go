package savevm_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm"
)

// world is a machine and what it should be.
type world struct {
	m        *toy
	disks    []*blockdev.Drive
	present  byte
	contents map[string]byte // by tag
	order    []string        // tags, oldest first
}

func (w *world) set(v byte) {
	w.present = v
	w.m.set(v)
	for _, d := range w.disks {
		fill(w.m.t.(*testing.T), d, v)
	}
}

func (w *world) save(tag string) {
	w.m.save(tag)
	w.forget(tag)
	w.contents[tag] = w.present
	w.order = append(w.order, tag)
}

func (w *world) forget(tag string) {
	delete(w.contents, tag)
	w.order = slices.DeleteFunc(w.order, func(s string) bool { return s == tag })
}

func (w *world) delete(r *rapid.T, tag string) {
	if err := savevm.Delete(background, w.m.Machine, tag); err != nil {
		r.Fatal(err)
	}
	w.forget(tag)
}

func (w *world) load(r *rapid.T, tag string) {
	err := savevm.Load(background, w.m.Machine, tag)
	v, ok := w.contents[tag]
	if ok != (err == nil) {
		r.Fatalf("loadvm %s: %v", tag, err)
	}
	if ok {
		w.present = v
	}
}

// step does a command that rapid chooses.
func (w *world) step(r *rapid.T) {
	tags := rapid.SampledFrom([]string{"a", "b", "1", "2"})
	switch rapid.SampledFrom([]string{"set", "savevm", "savevm", "loadvm", "delvm"}).Draw(r, "command") {
	case "set":
		w.set(rapid.Byte().Draw(r, "value"))
	case "savevm":
		w.save(tags.Draw(r, "tag"))
	case "loadvm":
		w.load(r, tags.Draw(r, "tag"))
	case "delvm":
		w.delete(r, tags.Draw(r, "tag"))
	}
}

// Any sequence of commands on two qcow2 images does what it says, and leaves no leak.
func TestAnySequence(t *testing.T) {
	empty := emptyImage(t)
	rapid.Check(t, func(r *rapid.T) {
		m, end := startToy(t, toyConfig{ramSize: 64 << 10})
		defer end()
		w := &world{m: m, contents: map[string]byte{}}
		for _, name := range []string{"d0", "d1"} {
			w.disks = append(w.disks, m.file(name, &memFile{data: bytes.Clone(empty)}))
		}
		w.set(0)
		for range rapid.IntRange(1, 8).Draw(r, "commands") {
			w.step(r)
			m.expect(w.present)
			for _, d := range w.disks {
				wantFilled(t, d, w.present)
				check(t, d)
			}
			if got := m.tags(); got != strings.Join(w.order, " ") {
				r.Fatalf("snapshots %q, want %q", got, w.order)
			}
			if t.Failed() {
				r.FailNow()
			}
		}
	})
}
