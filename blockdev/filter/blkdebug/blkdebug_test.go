package blkdebug_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/blockdev/file" // images of the tests
	"github.com/qmon/qmon/blockdev/filter/blkdebug"
)

// over opens the filter over a node. Options are written as "key=value".
func over(t *testing.T, image blockdev.Node, options ...string) (*blkdebug.Node, error) {
	t.Helper()
	var g blockdev.Graph
	below, err := g.Add(image, "image", blockdev.Mode{Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	o := blockdev.Options{"driver": "blkdebug", "image": below.Name}
	for _, option := range options {
		k, v, _ := strings.Cut(option, "=")
		o[k] = v
	}
	v, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = v.Unref() })
	return v.Node.(*blkdebug.Node), nil
}

func mustOver(t *testing.T, options ...string) *blkdebug.Node {
	t.Helper()
	n, err := over(t, blocktest.NewMemory(make([]byte, 1<<20)), options...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func read(n blockdev.Node, off, length int64) error {
	_, err := n.ReadAt(make([]byte, length), off)
	return err
}

func TestAnErrorWaitsForItsEvent(t *testing.T) {
	n := mustOver(t, "inject-error.0.event=l2_load", "inject-error.0.errno=28", "inject-error.0.once=on")
	if err := read(n, 0, 1); err != nil {
		t.Errorf("before the event: %v", err)
	}
	n.Receive(blockdev.EventL2Update)
	if err := read(n, 0, 1); err != nil {
		t.Errorf("after another event: %v", err)
	}
	n.Receive(blockdev.EventL2Load)
	if err := read(n, 0, 1); !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("after the event: %v", err)
	}
	n.Receive(blockdev.EventL2Load)
	if err := read(n, 0, 1); err != nil {
		t.Errorf("once means once: %v", err)
	}
}

// flushNew flushes after a write. A rule for all kinds makes the write fail already.
func flushNew(n blockdev.Node) error {
	if _, err := n.WriteAt(make([]byte, 512), 1<<19); err != nil {
		return err
	}
	return n.Flush()
}

func TestWhichRequestsFail(t *testing.T) {
	requests := map[string]func(blockdev.Node) error{
		"read":         func(n blockdev.Node) error { return read(n, 512, 512) },
		"write":        func(n blockdev.Node) error { _, err := n.WriteAt(make([]byte, 512), 512); return err },
		"write-zeroes": func(n blockdev.Node) error { return blockdev.WriteZeroes(n, 512, 512, 0) },
		"discard":      func(n blockdev.Node) error { return blockdev.Discard(n, 512, 512) },
		"flush":        flushNew,
		"block-status": func(n blockdev.Node) error { _, err := n.Map(512, 512); return err },
	}
	for _, c := range []struct{ rule, fails string }{
		{"", "read write write-zeroes discard flush"},
		{"iotype=read", "read"},
		{"iotype=flush", "flush"},
		{"iotype=block-status", "block-status"},
		{"iotype=write", "write flush"},
		{"sector=1", "read write write-zeroes discard"},
		{"sector=2", ""},
		{"state=2", ""},
	} {
		for name, do := range requests {
			options := []string{"inject-error.0.event=none"}
			if c.rule != "" {
				options = append(options, "inject-error.0."+c.rule)
			}
			err := do(mustOver(t, options...))
			want := strings.Contains(" "+c.fails+" ", " "+name+" ")
			if want != errors.Is(err, syscall.EIO) {
				t.Errorf("rule %q, %s: %v", c.rule, name, err)
			}
		}
	}
}

func TestStatesCountEvents(t *testing.T) {
	config := filepath.Join(t.TempDir(), "rules")
	rules := "# the second write fails\n\n[set-state]\nevent = \"write_aio\"\nstate = \"1\"\nnew_state = \"2\"\n" +
		"[inject-error \"x\"]\n event = \"write_aio\"\nstate = \"2\"\n"
	if err := os.WriteFile(config, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	n := mustOver(t, "config="+config)
	for i, fails := range []bool{false, true, true} {
		n.Receive(blockdev.EventWriteAIO)
		if _, err := n.WriteAt([]byte{1}, 0); (err != nil) != fails {
			t.Errorf("write %d: %v", i+1, err)
		}
	}
}

func TestABreakpointHoldsOneRequest(t *testing.T) {
	n := mustOver(t)
	var lines []string
	n.Announce(func(line string) { lines = append(lines, line) })
	if err := n.SetBreakpoint("pwritev", "A"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := n.WriteAt([]byte("x"), 0)
		done <- err
	}()
	if err := n.WaitSuspended(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.WriteAt([]byte("y"), 1); err != nil { // does not wait: the breakpoint is used up
		t.Fatal(err)
	}
	select {
	case <-done:
		t.Fatal("the request went on")
	case <-time.After(10 * time.Millisecond):
	}
	if err := n.Resume("A"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := "blkdebug: Suspended request 'A'\nblkdebug: Resuming request 'A'"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("announced %q", got)
	}
	for _, err := range []error{n.Resume("A"), n.RemoveBreakpoint("A"), n.SetBreakpoint("nonsense", "B")} {
		if !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%v", err)
		}
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := mustOver(t).WaitSuspended(ctx, "A"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// strict is a node that refuses what the filter should have kept from it.
type strict struct {
	*blocktest.Memory
	t          *rapid.T
	align, max int64
}

func (s strict) check(off, n int64) {
	if off%s.align != 0 || n%s.align != 0 || n > s.max {
		s.t.Fatalf("request of %d at %d", n, off)
	}
}

func (s strict) ReadAt(p []byte, off int64) (int, error) {
	s.check(off, int64(len(p)))
	return s.Memory.ReadAt(p, off)
}

func (s strict) WriteAt(p []byte, off int64) (int, error) {
	s.check(off, int64(len(p)))
	return s.Memory.WriteAt(p, off)
}

// TestLimitsHideTheImage: whatever is asked for, the image sees whole blocks that are not too
// long, and who asked sees a disk without limits.
func TestLimitsHideTheImage(t *testing.T) {
	const size, align, longest = 64 << 10, 512, 4096
	rapid.Check(t, func(r *rapid.T) {
		n, err := over(t, strict{blocktest.NewMemory(make([]byte, size)), r, align, longest}, "align=512", "max-transfer=4096",
			"opt-write-zero=1024", "max-write-zero=2048", "opt-discard=1024", "max-discard=2048")
		if err != nil {
			r.Fatal(err)
		}
		model := make([]byte, size)
		for i := range rapid.IntRange(1, 20).Draw(r, "requests") {
			off := rapid.Int64Range(0, size-1).Draw(r, "off")
			length := rapid.Int64Range(1, min(size-off, 3*longest)).Draw(r, "length")
			part := model[off : off+length]
			switch rapid.IntRange(0, 2).Draw(r, "kind") {
			case 0:
				copy(part, bytes.Repeat([]byte{byte(i + 1)}, len(part)))
				if _, err := n.WriteAt(part, off); err != nil {
					r.Fatal(err)
				}
			case 1:
				clear(part)
				if err := n.WriteZeroes(off, length, 0); err != nil {
					r.Fatal(err)
				}
			}
			got := make([]byte, length)
			if _, err := n.ReadAt(got, off); err != nil || !bytes.Equal(got, part) {
				r.Fatalf("read of %d at %d differs: %v", length, off, err)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	for options, want := range map[string]string{
		"align=3":                                           "Cannot meet constraints with align 3",
		"align=4k max-transfer=5000":                        "Cannot meet constraints with max-transfer 5000",
		"align=512 opt-write-zero=1000":                     "Cannot meet constraints with opt-write-zero 1000",
		"max-discard=5G":                                    "Cannot meet constraints with max-discard 5368709120",
		"inject-error.event=foo":                            "invalid parameter value: foo",
		"inject-error.0.errno=5":                            "Missing event name for rule",
		"inject-error.1.event=none":                         "Unused option '1.event' for [inject-error]",
		"inject-error.0.event=none inject-error.0.state=x":  "Parameter 'state' expects a number",
		"inject-error.0.event=none inject-error.0.iotype=x": "invalid parameter value: x",
		"set-state.0.event=none set-state.0.foo=1":          "[set-state] section doesn't support the option 'foo'",
		"config=/nonexistent":                               "Could not read blkdebug config file: No such file or directory",
	} {
		_, err := over(t, blocktest.NewMemory(make([]byte, 1<<20)), strings.Fields(options)...)
		if blockdev.Message(err) != want {
			t.Errorf("%s: %q, want %q", options, blockdev.Message(err), want)
		}
	}
}

func TestNamesThatOpenTheFilter(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.raw")
	if err := os.WriteFile(image, make([]byte, 1024), 0o600); err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(dir, "rules")
	if err := os.WriteFile(rules, []byte("[inject-error]\nevent = \"none\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"blkdebug::" + image, "blkdebug:" + rules + ":" + image} {
		var g blockdev.Graph
		v, err := g.Open(t.Context(), name, blockdev.OpenOptions{Driver: "blkdebug"})
		if err != nil {
			t.Fatal(err)
		}
		if v.Filename != name {
			t.Errorf("%s calls itself %s", name, v.Filename)
		}
		if fails := read(v.Node, 0, 1) != nil; fails != strings.Contains(name, rules) {
			t.Errorf("%s: fails=%v", name, fails)
		}
		if err := v.Unref(); err != nil && !strings.Contains(name, rules) {
			t.Error(err)
		}
	}
}

// noted notes the requests that it gets.
type noted struct {
	*blocktest.Memory
	requests []string
}

func (n *noted) note(what string, off, length int64) {
	n.requests = append(n.requests, fmt.Sprintf("%s %d+%d", what, off, length))
}

func (n *noted) WriteAt(p []byte, off int64) (int, error) {
	n.note("write", off, int64(len(p)))
	return n.Memory.WriteAt(p, off)
}

func (n *noted) WriteZeroes(off, length int64, _ blockdev.ZeroFlags) error {
	n.note("zero", off, length)
	return nil
}

func (n *noted) Discard(off, length int64) error {
	n.note("discard", off, length)
	return nil
}

// TestPreferredAlignmentCutsRequests into what is before, the whole units and what is
// behind. As in QEMU, which iotest 204 shows, zeroes of less than a unit are written and
// discards of whole blocks all go on.
func TestPreferredAlignmentCutsRequests(t *testing.T) {
	for _, c := range []struct {
		run  func(n blockdev.Node) error
		want string
	}{
		{func(n blockdev.Node) error { return blockdev.WriteZeroes(n, 1024, 6144, 0) }, "write 1024+512, zero 1536+3072, zero 4608+1536, write 6144+1024"},
		{func(n blockdev.Node) error { return blockdev.Discard(n, 1000, 6144) }, "discard 1024+512, discard 1536+3072, discard 4608+1536, discard 6144+512"},
	} {
		image := &noted{Memory: blocktest.NewMemory(make([]byte, 1<<20))}
		n, err := over(t, image, "align=512", "opt-write-zero=1536", "max-write-zero=3072", "opt-discard=1536", "max-discard=3072")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.run(n); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(image.requests, ", "); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
