package virt

import "github.com/qmon/qmon/vm"

// Commands of the test finisher, the low half of what is written to it.
const (
	finisherFail  = 0x3333
	finisherPass  = 0x5555
	finisherReset = 0x7777
)

// finisher is SiFive's test finisher: how a guest powers the machine off and resets it.
type finisher struct{ machine *vm.Machine }

var (
	_ vm.Device    = (*finisher)(nil)
	_ vm.MMIO      = (*finisher)(nil)
	_ vm.Described = (*finisher)(nil)
)

func (f *finisher) Name() string       { return "riscv.sifive.test" }
func (f *finisher) Reset()             {}
func (f *finisher) States() []vm.State { return nil }

func (f *finisher) ReadMMIO(uint64, int) (uint64, error) { return 0, nil }

func (f *finisher) WriteMMIO(off uint64, size int, v uint64) error {
	if off != 0 || size < 2 {
		return nil
	}
	switch v & 0xffff {
	case finisherPass:
		f.machine.RequestShutdown(vm.ReasonGuestShutdown)
	case finisherFail:
		code := int(v >> 16 & 0xffff)
		f.machine.Post(func() { f.machine.Quit(code, vm.ReasonGuestShutdown) })
	case finisherReset:
		f.machine.RequestReset(vm.ReasonGuestReset)
	}
	return nil
}

func (f *finisher) Describe() vm.Description {
	return vm.Description{
		Type: "riscv.sifive.test",
		MMIO: []vm.MMIORange{{Base: finisherBase, Size: finisherSize}},
	}
}
