package blocktest

import (
	"sync"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// Op is a set of kinds of requests.
type Op uint8

const (
	OpRead Op = 1 << iota
	OpWrite
	OpZero
	OpDiscard
	OpResize
	OpFlush
	OpMap
	OpAny Op = 1<<iota - 1
)

// Fault says which requests fail.
type Fault struct {
	Op Op // the kinds that count; 0 for OpAny
	// Off and Len: only requests that touch this range count. Len 0 is everywhere.
	Off, Len int64
	// Nth of the requests that count fails, 1 the first; 0: each of them does.
	Nth int
	// Forever lets every one behind the Nth fail, too.
	Forever bool
	// Err is the error; nil for EIO.
	Err error
}

// Faulty passes requests on to a node, but for those that Faults say.
type Faulty struct {
	node blockdev.Node

	mu     sync.Mutex
	faults []*countedFault
	counts map[Op]int
}

type countedFault struct {
	Fault
	seen int
}

var (
	_ blockdev.Node       = (*Faulty)(nil)
	_ blockdev.ZeroWriter = (*Faulty)(nil)
	_ blockdev.Discarder  = (*Faulty)(nil)
	_ blockdev.Resizer    = (*Faulty)(nil)
	_ blockdev.Reopener   = (*Faulty)(nil)
)

// NewFaulty puts faults into n.
func NewFaulty(n blockdev.Node, faults ...Fault) *Faulty {
	f := &Faulty{node: n, counts: map[Op]int{}}
	for _, x := range faults {
		f.Inject(x)
	}
	return f
}

// Inject adds a fault, which counts from now on.
func (f *Faulty) Inject(x Fault) {
	if x.Op == 0 {
		x.Op = OpAny
	}
	if x.Err == nil {
		x.Err = syscall.EIO
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &countedFault{Fault: x})
}

// Clear takes all faults out.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Count is how many requests of the kinds there were.
func (f *Faulty) Count(kinds Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := 0
	for op, n := range f.counts {
		if op&kinds != 0 {
			sum += n
		}
	}
	return sum
}

// enter counts a request and tells if it fails.
func (f *Faulty) enter(op Op, off, n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[op]++
	for _, x := range f.faults {
		if x.hits(op, off, n) {
			return &blockdev.Error{Op: "fault", Offset: off, Err: x.Err}
		}
	}
	return nil
}

func (x *countedFault) hits(op Op, off, n int64) bool {
	if x.Op&op == 0 || x.Len > 0 && (off >= x.Off+x.Len || off+n <= x.Off) {
		return false
	}
	x.seen++
	return x.Nth == 0 || x.seen == x.Nth || x.Forever && x.seen > x.Nth
}

// ReadAt passes on.
func (f *Faulty) ReadAt(p []byte, off int64) (int, error) {
	if err := f.enter(OpRead, off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.node.ReadAt(p, off)
}

// WriteAt passes on.
func (f *Faulty) WriteAt(p []byte, off int64) (int, error) {
	if err := f.enter(OpWrite, off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.node.WriteAt(p, off)
}

// WriteZeroes passes on.
func (f *Faulty) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if err := f.enter(OpZero, off, n); err != nil {
		return err
	}
	return blockdev.WriteZeroes(f.node, off, n, flags)
}

// Discard passes on.
func (f *Faulty) Discard(off, n int64) error {
	if err := f.enter(OpDiscard, off, n); err != nil {
		return err
	}
	return blockdev.Discard(f.node, off, n)
}

// Resize passes on.
func (f *Faulty) Resize(size int64, o blockdev.ResizeOptions) error {
	if err := f.enter(OpResize, size, 0); err != nil {
		return err
	}
	return blockdev.Resize(f.node, size, o)
}

// Map passes on; data of the node itself is to be read through the Faulty.
func (f *Faulty) Map(off, n int64) (blockdev.Extent, error) {
	if err := f.enter(OpMap, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	e, err := f.node.Map(off, n)
	if e.Node == f.node {
		e.Node = f
	}
	return e, err
}

// Flush passes on.
func (f *Faulty) Flush() error {
	if err := f.enter(OpFlush, 0, 0); err != nil {
		return err
	}
	return f.node.Flush()
}

// Size is the node's.
func (f *Faulty) Size() int64 { return f.node.Size() }

// ReopenWritable passes on.
func (f *Faulty) ReopenWritable(writable bool) error {
	if r, ok := f.node.(blockdev.Reopener); ok {
		return r.ReopenWritable(writable)
	}
	return nil
}

// Close passes on.
func (f *Faulty) Close() error { return f.node.Close() }
