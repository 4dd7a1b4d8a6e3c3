package savevm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

// toyCPU counts: every instruction adds one to a register.
type toyCPU struct {
	kicked chan struct{}
	regs   toyRegs
}

type toyRegs struct {
	PC    uint64 `vmstate:"pc"`
	Count uint64 `vmstate:"count"`
}

func newToyCPU() *toyCPU { return &toyCPU{kicked: make(chan struct{}, 1)} }

func (c *toyCPU) Run(budget int64) (int64, vm.Exit) {
	select {
	case <-c.kicked:
		return 0, vm.ExitKick
	default:
	}
	n := min(budget, 1000)
	c.regs.Count += uint64(n)
	c.regs.PC += 4 * uint64(n)
	return n, vm.ExitBudget
}

func (c *toyCPU) Kick() {
	select {
	case c.kicked <- struct{}{}:
	default:
	}
}

func (c *toyCPU) Halted() bool       { return false }
func (c *toyCPU) Reset()             { c.regs = toyRegs{} }
func (c *toyCPU) PC() uint64         { return c.regs.PC }
func (c *toyCPU) States() []vm.State { return []vm.State{cpuState{c}} }

type cpuState struct{ c *toyCPU }

func (s cpuState) Section() vm.Section {
	return vm.Section{Name: "toycpu", Version: 1, MinVersion: 1}
}
func (s cpuState) Save() (any, error)      { regs := s.c.regs; return &regs, nil }
func (s cpuState) New() any                { return &toyRegs{} }
func (s cpuState) Check(any, uint32) error { return nil }
func (s cpuState) Load(state any, _ uint32) error {
	s.c.regs = *state.(*toyRegs)
	return nil
}

// toyTimer is a device with one register, which must be below 1000.
type toyTimer struct{ compare uint32 }

type toyTimerFields struct {
	Compare uint32 `vmstate:"compare"`
}

func (d *toyTimer) Name() string       { return "toytimer" }
func (d *toyTimer) Reset()             { d.compare = 0 }
func (d *toyTimer) States() []vm.State { return []vm.State{timerState{d}} }

type timerState struct{ d *toyTimer }

func (s timerState) Section() vm.Section {
	return vm.Section{Name: "bus@0/toytimer", Version: 2, MinVersion: 1}
}
func (s timerState) Save() (any, error) { return &toyTimerFields{s.d.compare}, nil }
func (s timerState) New() any           { return &toyTimerFields{} }
func (s timerState) Check(state any, _ uint32) error {
	if state.(*toyTimerFields).Compare >= 1000 {
		return errors.New("compare value out of range")
	}
	return nil
}
func (s timerState) Load(state any, _ uint32) error {
	s.d.compare = state.(*toyTimerFields).Compare
	return nil
}

// toy is a machine with all its parts at hand.
type toy struct {
	*vm.Machine
	t     testing.TB
	cpu   *toyCPU
	timer *toyTimer
	ram   *vm.Region
	graph *blockdev.Graph
}

type toyConfig struct {
	kind    string // type of the machine, "" for "toy"
	ramSize uint64 // 0 for a quarter of a mebibyte
	clock   *vm.Clock
}

// newToy makes a machine whose goroutine runs until the end of the test.
func newToy(t testing.TB, c toyConfig) *toy {
	t.Helper()
	m, end := startToy(t, c)
	t.Cleanup(end)
	return m
}

// startToy makes a machine whose goroutine runs until end is called.
func startToy(t testing.TB, c toyConfig) (m *toy, end func()) {
	t.Helper()
	if c.kind == "" {
		c.kind = "toy"
	}
	if c.ramSize == 0 {
		c.ramSize = 256 << 10
	}
	m = &toy{
		Machine: vm.New(vm.Config{Type: c.kind, Clock: c.clock}),
		t:       t, cpu: newToyCPU(), timer: &toyTimer{}, graph: &blockdev.Graph{},
	}
	var err error
	if m.ram, err = m.Memory().AddRAM("toy.ram", 0, c.ramSize); err != nil {
		t.Fatal(err)
	}
	rom, err := m.Memory().AddROM("toy.rom", 1<<40, 100)
	if err != nil {
		t.Fatal(err)
	}
	m.OnReset(func() { rom.Data[0] = 0xee })
	m.AddCPU(m.cpu)
	m.AddDevice(m.timer)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = m.Run(ctx)
	}()
	return m, func() {
		cancel()
		<-ended
		if err := m.Drives().Close(); err != nil {
			t.Error(err)
		}
	}
}

// drive adds a drive with a medium.
func (m *toy) drive(c blockdev.DriveConfig, filename string, o blockdev.OpenOptions) *blockdev.Drive {
	m.t.Helper()
	d := blockdev.NewDrive(c)
	if filename != "" {
		o.Mode.Writable = !c.ReadOnly
		v, err := m.graph.Open(context.Background(), filename, o)
		if err != nil {
			m.t.Fatal(err)
		}
		if err := d.Insert(v); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := m.Drives().Add(d); err != nil {
		m.t.Fatal(err)
	}
	return d
}

// disk adds a drive with a memory disk.
func (m *toy) disk(name string, n blockdev.Node) *blockdev.Drive {
	m.t.Helper()
	return m.drive(blockdev.DriveConfig{Name: name}, putDisk(n), blockdev.OpenOptions{Driver: "memdisk"})
}

// do works on the machine's goroutine.
func (m *toy) do(fn func()) {
	m.t.Helper()
	if err := m.Do(fn); err != nil {
		m.t.Fatal(err)
	}
}

// set gives the machine's RAM, device and processor contents that v tells apart.
func (m *toy) set(v byte) {
	m.t.Helper()
	m.do(func() {
		m.timer.compare = uint32(v)
		m.cpu.regs = toyRegs{PC: uint64(v), Count: uint64(v)}
		m.ram.Data[0], m.ram.Data[len(m.ram.Data)-1] = v, v
	})
}

// expect fails unless RAM, device and processor are what set(v) made them.
func (m *toy) expect(v byte) {
	m.t.Helper()
	m.do(func() {
		got := []uint64{uint64(m.ram.Data[0]), uint64(m.ram.Data[len(m.ram.Data)-1]), uint64(m.timer.compare), m.cpu.regs.PC}
		for _, g := range got {
			if g != uint64(v) {
				m.t.Errorf("RAM, timer, PC are %v, want all %d", got, v)
				return
			}
		}
	})
}

// diskRegistry holds the memory disks by file name, for the driver "memdisk".
var diskRegistry sync.Map

var diskCount atomic.Int64

func putDisk(n blockdev.Node) string {
	name := fmt.Sprintf("memdisk:%d", diskCount.Add(1))
	diskRegistry.Store(name, n)
	return name
}

func init() {
	blockdev.Register(blockdev.Driver{
		Name: "memdisk", Protocol: true, Prefixes: []string{"memdisk"},
		OpenOptions: blockdev.OptionTable{{Name: "filename", Type: blockdev.OptString}},
		Open: func(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
			n, ok := diskRegistry.Load(r.Filename)
			if !ok {
				return nil, blockdev.Errorf(blockdev.ErrNotFound, "open", r.Filename, "no such disk")
			}
			return n.(blockdev.Node), nil
		},
	})
}
