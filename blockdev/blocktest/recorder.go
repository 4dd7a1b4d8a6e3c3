package blocktest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/qmon/qmon/blockdev"
)

// sectorSize is what a disk writes whole or not at all.
const sectorSize = 512

// Recorder is a Memory that logs every change and every flush. Replay rebuilds what a
// crash could have left of the file.
//
//	log:   w w w F w w z w F w w
//	             |         |
//	             |         +-- crash here: all before the second F is there ...
//	             +------------ ... of what follows, any part
//
// Safe for concurrent use; requests are logged in the order in which they take effect.
type Recorder struct {
	Memory

	mu    sync.Mutex
	start *Memory // contents when recording began
	log   []operation
}

// operation is one entry of the log.
type operation struct {
	kind operationKind
	off  int64
	n    int64
	data []byte
	keep blockdev.ZeroFlags
}

type operationKind uint8

const (
	opWrite operationKind = iota
	opZero
	opDiscard
	opResize
	opFlush
)

var _ blockdev.Node = (*Recorder)(nil)

// NewRecorder records what happens to a file that holds data at first.
func NewRecorder(data []byte) *Recorder {
	r := &Recorder{start: NewMemory(data)}
	r.Memory.write(data, 0)
	return r
}

// Position is how many operations are in the log. A test notes it, after a flush, together
// with what must survive from there on.
func (r *Recorder) Position() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.log)
}

// record does an operation and logs it, as one step.
func (r *Recorder) record(op operation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := op.apply(&r.Memory)
	if err == nil {
		r.log = append(r.log, op)
	}
	return err
}

// Map is the Memory's; data is read through the Recorder.
func (r *Recorder) Map(off, n int64) (blockdev.Extent, error) {
	e, err := r.Memory.Map(off, n)
	if e.Node != nil {
		e.Node = r
	}
	return e, err
}

// WriteAt logs and writes.
func (r *Recorder) WriteAt(p []byte, off int64) (int, error) {
	if err := r.record(operation{kind: opWrite, off: off, n: int64(len(p)), data: slices.Clone(p)}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteZeroes logs and zeroes.
func (r *Recorder) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	return r.record(operation{kind: opZero, off: off, n: n, keep: flags})
}

// Discard logs and discards.
func (r *Recorder) Discard(off, n int64) error {
	return r.record(operation{kind: opDiscard, off: off, n: n})
}

// Resize logs and resizes.
func (r *Recorder) Resize(size int64, _ blockdev.ResizeOptions) error {
	return r.record(operation{kind: opResize, n: size})
}

// Flush logs: everything before is safe.
func (r *Recorder) Flush() error { return r.record(operation{kind: opFlush}) }

// Close leaves log and contents in place.
func (r *Recorder) Close() error { return nil }

// apply does the operation to m.
func (o operation) apply(m *Memory) error {
	switch o.kind {
	case opWrite:
		_, err := m.WriteAt(o.data, o.off)
		return err
	case opZero:
		return m.WriteZeroes(o.off, o.n, o.keep)
	case opDiscard:
		// What lay past the end by the time of a crash needs no discarding.
		return m.Discard(o.off, max(0, min(o.n, m.Size()-o.off)))
	case opResize:
		return m.Resize(o.n, blockdev.ResizeOptions{Shrink: true})
	}
	return nil
}

// torn is the operation as a crash in the middle of it leaves it: some of its sectors.
func (o operation) torn(rng *rand.Rand) []operation {
	if o.kind != opWrite || o.n <= sectorSize {
		return nil
	}
	var out []operation
	for at := int64(0); at < o.n; {
		k := min(o.n-at, sectorSize-(o.off+at)%sectorSize)
		if rng.IntN(2) == 0 {
			out = append(out, operation{kind: opWrite, off: o.off + at, n: k, data: o.data[at : at+k]})
		}
		at += k
	}
	return out
}

// ReplayOptions steer Replay.
type ReplayOptions struct {
	// Subsets is how many random subsets are tried between two flushes; 0 for 8.
	Subsets int
	// Seed of what is random.
	Seed uint64
}

// Replay calls fn with every file that Crashes makes. It ends at the first error, which it
// returns with a description of the crash.
//
// For each flush, and for the beginning, it builds what is safe there, and then of the
// operations up to the next flush: every beginning, whole and with its last write torn,
// and random subsets, which is what a disk that reorders leaves. durable is how many
// operations of the log (see Position) the file certainly holds.
func (r *Recorder) Replay(o ReplayOptions, fn func(file *Memory, durable int) error) error {
	if o.Subsets == 0 {
		o.Subsets = 8
	}
	r.mu.Lock()
	log := slices.Clone(r.log)
	r.mu.Unlock()
	p := replay{log: log, rng: rand.New(rand.NewPCG(o.Seed, 0)), fn: fn}
	safe := r.start.Clone()
	for begin := 0; ; {
		end := begin
		for end < len(log) && log[end].kind != opFlush {
			end++
		}
		if err := p.window(safe, begin, end, o.Subsets); err != nil {
			return err
		}
		if err := applyAll(safe, log[begin:end]); err != nil {
			return err
		}
		if end == len(log) {
			return nil
		}
		begin = end + 1
	}
}

type replay struct {
	log []operation
	rng *rand.Rand
	fn  func(*Memory, int) error
}

// window tries the crashes between two flushes, after which begin operations are safe.
func (p *replay) window(safe *Memory, begin, end, subsets int) error {
	ops := p.log[begin:end]
	for n := range len(ops) + 1 {
		if err := p.crash(safe, begin, ops[:n], fmt.Sprintf("after operation %d", begin+n)); err != nil {
			return err
		}
		if n == len(ops) {
			break
		}
		if torn := ops[n].torn(p.rng); len(torn) > 0 {
			what := fmt.Sprintf("in the middle of operation %d", begin+n)
			if err := p.crash(safe, begin, append(slices.Clone(ops[:n]), torn...), what); err != nil {
				return err
			}
		}
	}
	if len(ops) < 2 {
		return nil
	}
	for i := range subsets {
		what := fmt.Sprintf("with subset %d of operations %d to %d", i, begin, end-1)
		if err := p.crash(safe, begin, p.subset(ops), what); err != nil {
			return err
		}
	}
	return nil
}

// subset picks some of ops, some of those torn.
func (p *replay) subset(ops []operation) []operation {
	var out []operation
	for _, o := range ops {
		switch p.rng.IntN(5) {
		case 0, 1:
		case 2:
			out = append(out, o.torn(p.rng)...)
		default:
			out = append(out, o)
		}
	}
	return out
}

// crash hands one file to the test.
func (p *replay) crash(safe *Memory, durable int, ops []operation, what string) error {
	file := safe.Clone()
	if err := applyAll(file, ops); err != nil {
		return err
	}
	if err := p.fn(file, durable); err != nil {
		return fmt.Errorf("crash %s (%d are safe): %w", what, durable, err)
	}
	return nil
}

func applyAll(m *Memory, ops []operation) error {
	for _, o := range ops {
		if err := o.apply(m); err != nil {
			return err
		}
	}
	return nil
}
