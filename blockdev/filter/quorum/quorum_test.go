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
	var g blockdev.Graph
	o := blockdev.Options{"driver": "quorum"}
	var disks []*blocktest.Memory
	for i, text := range contents {
		m := blocktest.NewMemory([]byte(text))
		disks = append(disks, m)
		v, err := g.Add(m, "", blockdev.Mode{Writable: true})
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
		return nil, nil, err
	}
	t.Cleanup(func() { _ = v.Unref() })
	return v.Node, disks, nil
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
			var g blockdev.Graph
			o := blockdev.Options{"driver": "quorum"}
			k, v, _ := strings.Cut(c.options, "=")
			o[k] = v
			for i, err := range c.errs {
				child := blocktest.NewFaulty(blocktest.NewMemory([]byte("same")))
				if err != nil {
					child.Inject(blocktest.Fault{Op: all, Err: err})
				}
				v, err := g.Add(child, "", blockdev.Mode{Writable: true})
				if err != nil {
					t.Fatal(err)
				}
				o[fmt.Sprintf("children.%d", i)] = v.Name
			}
			q, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
			if err != nil {
				t.Fatal(err)
			}
			if err := do(q.Node); !errors.Is(err, c.want) {
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
	var g blockdev.Graph
	o := blockdev.Options{"driver": "quorum", "vote-threshold": "1", "read-pattern": "fifo"}
	for i, text := range []string{"bad", "one", "two"} {
		child := blocktest.NewFaulty(blocktest.NewMemory([]byte(text)))
		if text == "bad" {
			child.Inject(blocktest.Fault{Op: blocktest.OpRead})
		}
		v, err := g.Add(child, "", blockdev.Mode{Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		o[fmt.Sprintf("children.%d", i)] = v.Name
	}
	q, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := readAll(q.Node, "one"); err != nil {
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
