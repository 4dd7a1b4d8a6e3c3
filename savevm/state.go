package savevm

import (
	"bytes"
	"context"
	"io"
	"slices"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
)

// globalState is the section "globalstate": the run state when the machine was saved. A
// loaded machine keeps its own; the name only has to be a known one.
type globalState struct{ state vm.RunState }

type globalStateFields struct {
	Size uint32    `vmstate:"size"` // with the NUL behind it
	Name [100]byte `vmstate:"runstate,buffer"`
}

func (g globalState) Section() vm.Section {
	return vm.Section{Name: "globalstate", Version: 1, MinVersion: 1}
}

func (g globalState) Save() (any, error) {
	f := &globalStateFields{Size: uint32(len(g.state) + 1)}
	copy(f.Name[:], g.state)
	return f, nil
}

func (g globalState) New() any { return &globalStateFields{} }

func (g globalState) Check(state any, _ uint32) error {
	f := state.(*globalStateFields)
	name, _, _ := bytes.Cut(f.Name[:], []byte{0})
	if !slices.Contains(vm.RunStates, vm.RunState(name)) {
		return blockdev.Errorf(blockdev.ErrCorrupt, "", "", "invalid parameter value: %s", name)
	}
	return nil
}

func (g globalState) Load(any, uint32) error { return nil }

// states are the sections of a machine's stream, in order.
func states(m *vm.Machine, was vm.RunState) []vm.State {
	return append(slices.Clone(m.States()), globalState{was})
}

// blocks are the machine's RAM and ROM as they are in the stream. A stream without the ROMs
// can be loaded: they are what the machine was started with.
func blocks(m *vm.Machine) []vmstate.Block {
	var out []vmstate.Block
	for _, r := range m.Memory().Regions() {
		if r.Data == nil {
			continue
		}
		out = append(out, vmstate.Block{
			Name: r.Name, Data: r.Data, Wrote: r.Wrote, Optional: r.Kind == vm.RegionROM,
		})
	}
	return out
}

// contents collects what is to be saved. On the machine's goroutine.
func contents(m *vm.Machine, was vm.RunState) (vmstate.Contents, error) {
	c := vmstate.Contents{Machine: m.Config().Type, RAM: blocks(m)}
	var err error
	if c.Media, err = media(m); err != nil {
		return c, err
	}
	for _, s := range states(m, was) {
		fields, err := s.Save()
		if err != nil {
			return c, err
		}
		sec := s.Section()
		c.Sections = append(c.Sections, vmstate.Section{
			Name: sec.Name, Instance: sec.Instance, Version: sec.Version, State: fields,
		})
	}
	return c, nil
}

// target describes the machine as one to be loaded. The functions returned are to be
// called on the machine's goroutine; section i of it is state i.
func target(m *vm.Machine, all []vm.State) vmstate.Target {
	t := vmstate.Target{Machine: m.Config().Type, RAM: blocks(m), Skips: m.SkipsSection}
	for _, s := range all {
		sec := s.Section()
		t.Sections = append(t.Sections, vmstate.Expected{
			Name: sec.Name, Instance: sec.Instance, Version: sec.Version, MinVersion: sec.MinVersion,
			New: s.New, Check: s.Check,
		})
	}
	return t
}

// stateWriter appends to the VM state area of a disk.
type stateWriter struct {
	ctx   context.Context
	store blockdev.VMStateStore
	off   int64
}

func (w *stateWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.store.WriteVMState(p, w.off)
	w.off += int64(n)
	return n, err
}

// stateReader reads the VM state area of a disk.
type stateReader struct{ store blockdev.VMStateStore }

func (r stateReader) ReadAt(p []byte, off int64) (int, error) { return r.store.ReadVMState(p, off) }

var (
	_ io.Writer   = (*stateWriter)(nil)
	_ io.ReaderAt = stateReader{}
	_ vm.State    = globalState{}
)

type progressKey struct{}

// WithProgress has Save and Load tell fn, on the machine's goroutine, how many bytes of
// RAM are done.
func WithProgress(ctx context.Context, fn func(done, total int64)) context.Context {
	return context.WithValue(ctx, progressKey{}, vmstate.Progress(fn))
}

func progressOf(ctx context.Context) vmstate.Progress {
	fn, _ := ctx.Value(progressKey{}).(vmstate.Progress)
	return fn
}
