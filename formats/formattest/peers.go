package formattest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "github.com/qmon/qmon/blockdev/file" // images lie in files, for QEMU to see them

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
)

// RunWithQEMU lets qemu-img and qemu-io make images of a format, with each of the lists of
// options in turn ("" for none), and compares what they and we read; we then go on writing
// to them. And the other way about: they read and check what we made.
func RunWithQEMU(t *testing.T, f Format, createOptions ...string) {
	peer.Need(t, "qemu-img", "qemu-io")
	if f.Size == 0 {
		f.Size = defaultSize
	}
	for i, o := range createOptions {
		t.Run("theirs,"+o, func(t *testing.T) {
			q := newQEMUTest(t, f, i)
			args := []string{"create", "-q", "-f", f.Driver}
			if o != "" {
				args = append(args, "-o", o)
			}
			peer.Run(t, "qemu-img", append(args, q.path, strconv.FormatInt(f.Size, 10))...)
			q.theyWrite()
			q.weCompare()
			q.weWrite()
			q.theyCheck()
			q.theyWrite()
			q.weCompare()
		})
		t.Run("ours,"+o, func(t *testing.T) {
			q := newQEMUTest(t, f, 100+i)
			q.weCreate(o)
			q.weWrite()
			q.theyCheck()
			q.theyWrite()
			q.weCompare()
		})
	}
}

// qemuTest is one image on its way between QEMU and us.
type qemuTest struct {
	t     *testing.T
	f     Format
	graph *blockdev.Graph
	path  string
	rng   *rand.Rand
}

func newQEMUTest(t *testing.T, f Format, seed int) *qemuTest {
	return &qemuTest{t: t, f: f, graph: &blockdev.Graph{}, path: filepath.Join(t.TempDir(), "image"),
		rng: rand.New(rand.NewPCG(uint64(seed), 7))}
}

func (q *qemuTest) weCreate(options string) {
	q.t.Helper()
	o := blockdev.Options{}
	for pair := range strings.SplitSeq(options, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			o[k] = v
		}
	}
	if err := q.graph.Create(context.Background(), q.f.Driver, q.path, q.f.Size, o, blockdev.Reference{}); err != nil {
		q.t.Fatal(err)
	}
}

// open opens the image as ours.
func (q *qemuTest) open(writable bool) *image {
	q.t.Helper()
	v, err := q.graph.Open(context.Background(), q.path, blockdev.OpenOptions{Driver: q.f.Driver, Options: q.f.OpenOptions,
		Gate: blockdev.FollowGate{}, Mode: blockdev.Mode{Writable: writable, Unmap: true}})
	if err != nil {
		q.t.Fatal(err)
	}
	m := &image{t: q.t, format: q.f, vertex: v, model: make([]byte, v.Node.Size()), rng: q.rng}
	if _, err := v.Node.ReadAt(m.model, 0); err != nil {
		q.t.Fatal(err)
	}
	return m
}

// weWrite writes at random, and reads it back.
func (q *qemuTest) weWrite() {
	q.t.Helper()
	m := q.open(true)
	for i := range 12 {
		m.write()
		off, n := m.somewhere()
		if err := blockdev.WriteZeroes(m.node(), off, n, blockdev.ZeroFlags(i%2)); err != nil {
			q.t.Fatal(err)
		}
		clear(m.model[off : off+n])
	}
	m.verify()
	m.close()
	q.compareWith(m.model)
}

// theyWrite has qemu-io write at random.
func (q *qemuTest) theyWrite() {
	q.t.Helper()
	args := []string{"-f", q.f.Driver}
	for range 12 {
		off := q.rng.Int64N(q.f.Size)
		n := min(1+q.rng.Int64N(200<<10), q.f.Size-off)
		if q.rng.IntN(2) == 0 {
			off, n = off&^511, min((n+511)&^511, q.f.Size-off&^511)
		}
		command := fmt.Sprintf("write -P %d %d %d", q.rng.IntN(256), off, n)
		if q.rng.IntN(4) == 0 {
			command = fmt.Sprintf("write -z %d %d", off, n)
		}
		args = append(args, "-c", command)
	}
	peer.Run(q.t, "qemu-io", append(args, q.path)...)
}

// weCompare reads what QEMU wrote and compares it with what qemu-img reads.
func (q *qemuTest) weCompare() {
	q.t.Helper()
	m := q.open(false)
	m.check()
	m.close()
	q.compareWith(m.model)
}

// compareWith has qemu-img compare the image with a model.
func (q *qemuTest) compareWith(model []byte) {
	q.t.Helper()
	raw := q.path + ".raw"
	if err := os.WriteFile(raw, model, 0o600); err != nil {
		q.t.Fatal(err)
	}
	out := peer.Run(q.t, "qemu-img", "compare", "-f", q.f.Driver, "-F", "raw", q.path, raw)
	if strings.Contains(out, "Warning") {
		q.t.Errorf("qemu-img compare: %s", out)
	}
}

// SameAsQEMU compares an image, as we read it and as qemu-img does, with what it should hold.
func SameAsQEMU(t *testing.T, driver string, image, want []byte) {
	t.Helper()
	q := newQEMUTest(t, Format{Driver: driver}, 0)
	if err := os.WriteFile(q.path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	m := q.open(false)
	defer m.close()
	if at := firstDifference(m.model, want); at >= 0 {
		t.Errorf("byte %d of %d is another", at, len(m.model))
	}
	peer.Need(t, "qemu-img")
	q.compareWith(want)
}

// cannotCheck is qemu-img check's exit status for formats without a check.
const cannotCheck = 63

// theyCheck lets qemu-img check what we wrote.
func (q *qemuTest) theyCheck() {
	q.t.Helper()
	cmd := exec.Command("qemu-img", "check", "-f", q.f.Driver, q.path)
	if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != cannotCheck {
		q.t.Errorf("qemu-img check: %v\n%s", err, out)
	}
}
