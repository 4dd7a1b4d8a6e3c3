package quorum_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/blockdev/filter/quorum"
)

// over opens a quorum over disks of these contents. Options are written as "key=value".
func over(t *testing.T, options string, contents ...string) (blockdev.Node, []*blocktest.Memory, error) {
	t.Helper()
	var disks []*blocktest.Memory
	var children []blockdev.Node
	for _, text := range contents {
		m := blocktest.NewMemory([]byte(text))
		disks, children = append(disks, m), append(children, m)
	}
	n, err := overNodes(t, options, children...)
	return n, disks, err
}

func overNodes(t *testing.T, options string, children ...blockdev.Node) (blockdev.Node, error) {
	t.Helper()
	var g blockdev.Graph
	o := blockdev.Options{"driver": "quorum"}
	for i, c := range children {
		v, err := g.Add(c, "", blockdev.Mode{Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		o[fmt.Sprintf("children.%d", i)] = v.Name
	}
	for _, option := range strings.Fields(options) {
		k, v, _ := strings.Cut(option, "=")
		o[k] = v
	}
	v, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = v.Unref() })
	return v.Node, nil
}

func TestVotes(t *testing.T) {
	for _, c := range []struct {
		options, contents string
		want              string // "" for no majority
	}{
		{"vote-threshold=2", "aaa aaa bbb", "aaa"},
		{"vote-threshold=2", "bbb aaa aaa", "aaa"},
		{"vote-threshold=2", "aaa bbb ccc", ""},
		{"vote-threshold=3", "aaa aaa bbb", ""},
		{"vote-threshold=2 read-pattern=fifo", "bbb aaa aaa", "bbb"},
		{"vote-threshold=2 blkverify=on", "aaa aaa", "aaa"},
		{"vote-threshold=2 blkverify=on", "aaa aab", ""},
	} {
		n, _, err := over(t, c.options, strings.Fields(c.contents)...)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 3)
		_, err = n.ReadAt(got, 0)
		switch {
		case c.want != "" && (err != nil || string(got) != c.want):
			t.Errorf("%s of %s: %q, %v", c.options, c.contents, got, err)
		case c.want == "" && err == nil:
			t.Errorf("%s of %s: %q", c.options, c.contents, got)
		}
	}
}

func TestLosersAreRewritten(t *testing.T) {
	n, disks, err := over(t, "vote-threshold=2 rewrite-corrupted=on", "right", "right", "wrong")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.ReadAt(make([]byte, 5), 0); err != nil {
		t.Fatal(err)
	}
	if got := disks[2].Bytes(); string(got) != "right" {
		t.Errorf("the loser holds %q", got)
	}
}

func TestMismatchSaysWhere(t *testing.T) {
	n, _, err := over(t, "vote-threshold=2 blkverify=on", "abcd", "abxd")
	if err != nil {
		t.Fatal(err)
	}
	_, err = n.ReadAt(make([]byte, 3), 1)
	if want := "quorum: offset=1 bytes=3 contents mismatch at offset 2"; !errors.Is(err, blockdev.ErrMismatch) || blockdev.Message(err) != want {
		t.Errorf("%v", err)
	}
}

func TestWritesReachAllAndMayFailOnSome(t *testing.T) {
	n, disks, err := over(t, "vote-threshold=2", "....", "....", "....")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.WriteAt([]byte("ab"), 1); err != nil {
		t.Fatal(err)
	}
	if err := blockdev.WriteZeroes(n, 3, 1, 0); err != nil {
		t.Fatal(err)
	}
	for i, d := range disks {
		if !bytes.Equal(d.Bytes(), []byte(".ab\x00")) {
			t.Errorf("child %d holds %q", i, d.Bytes())
		}
	}
}

// TestChildrenThatFail are not heard, and may be as many as the threshold leaves over.
func TestChildrenThatFail(t *testing.T) {
	const all = blocktest.OpRead | blocktest.OpWrite | blocktest.OpZero | blocktest.OpDiscard | blocktest.OpFlush
	requests := map[string]func(n blockdev.Node) error{
		"read":    func(n blockdev.Node) error { return readAll(n, "same") },
		"write":   func(n blockdev.Node) error { _, err := n.WriteAt([]byte("same"), 0); return err },
		"zeroes":  func(n blockdev.Node) error { return blockdev.WriteZeroes(n, 0, 4, 0) },
		"discard": func(n blockdev.Node) error { return blockdev.Discard(n, 0, 4) },
		"flush":   blockdev.Node.Flush,
	}
	for _, c := range []struct {
		options string
		errs    []error // of each child, nil for none
		want    error
	}{
		{"vote-threshold=2", []error{nil, syscall.ENOSPC, nil}, nil},
		{"vote-threshold=3", []error{nil, syscall.ENOSPC, nil}, syscall.ENOSPC},
		{"vote-threshold=1", []error{syscall.EIO, nil, syscall.ENOSPC}, nil},
		{"vote-threshold=2", []error{nil, syscall.ENOSPC, syscall.EIO, syscall.EIO}, syscall.EIO}, // what most say
		{"vote-threshold=1", []error{syscall.EIO, syscall.ENOSPC, syscall.ENOSPC}, syscall.ENOSPC},
	} {
		for name, do := range requests {
			var children []blockdev.Node
			for _, err := range c.errs {
				child := blocktest.NewFaulty(blocktest.NewMemory([]byte("same")))
				if err != nil {
					child.Inject(blocktest.Fault{Op: all, Err: err})
				}
				children = append(children, child)
			}
			n, err := overNodes(t, c.options, children...)
			if err != nil {
				t.Fatal(err)
			}
			if err := do(n); !errors.Is(err, c.want) {
				t.Errorf("%s, %s, children fail with %v: %v", name, c.options, c.errs, err)
			}
		}
	}
}

func readAll(n blockdev.Node, want string) error {
	p := make([]byte, len(want))
	if _, err := n.ReadAt(p, 0); err != nil {
		return err
	}
	if string(p) != want {
		return fmt.Errorf("read %q", p)
	}
	return nil
}

// TestFIFOGoesOn to the next child where one cannot be read.
func TestFIFOGoesOn(t *testing.T) {
	bad := blocktest.NewFaulty(blocktest.NewMemory([]byte("bad")), blocktest.Fault{Op: blocktest.OpRead})
	n, err := overNodes(t, "vote-threshold=1 read-pattern=fifo", bad, blocktest.NewMemory([]byte("one")), blocktest.NewMemory([]byte("two")))
	if err != nil {
		t.Fatal(err)
	}
	if err := readAll(n, "one"); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ options, contents, want string }{
		{"vote-threshold=1", "", "Number of provided children must be 1 or more"},
		{"vote-threshold=1 children.7=x", "a", "Option children is not a valid array"},
		{"", "a", "Parameter 'vote-threshold' expects a value >= 1"},
		{"vote-threshold=2", "a", "threshold may not exceed children count"},
		{"vote-threshold=1 read-pattern=x", "a", "Please set read-pattern as fifo or quorum"},
		{"vote-threshold=1 blkverify=on", "a b", "blkverify=on can only be set if there are exactly two files and vote-threshold is 2"},
		{"vote-threshold=1", "a bb", "Could not refresh total sector count: " + blockdev.Message(syscall.EIO)},
	} {
		_, _, err := over(t, c.options, strings.Fields(c.contents)...)
		if blockdev.Message(err) != c.want {
			t.Errorf("%s of %q: %q, want %q", c.options, c.contents, blockdev.Message(err), c.want)
		}
	}
}
