package virt

import "github.com/qmon/qmon/vm"

// swi is the ACLINT's machine-level software interrupt device: one msip word a hart.
// The bit itself is the hart's mip.MSIP, which the hart saves.
type swi struct {
	line    vm.IRQ      // MSIP
	pending func() bool // mip.MSIP
}

var (
	_ vm.Device    = (*swi)(nil)
	_ vm.MMIO      = (*swi)(nil)
	_ vm.Described = (*swi)(nil)
)

func (s *swi) Name() string       { return "riscv.aclint.swi" }
func (s *swi) Reset()             { s.line(false) }
func (s *swi) States() []vm.State { return nil }

func (s *swi) ReadMMIO(off uint64, size int) (uint64, error) {
	if size != 4 {
		return 0, errAccess
	}
	if off == 0 && s.pending() {
		return 1, nil
	}
	return 0, nil
}

func (s *swi) WriteMMIO(off uint64, size int, v uint64) error {
	if size != 4 {
		return errAccess
	}
	if off == 0 {
		s.line(v&1 != 0)
	}
	return nil
}

func (s *swi) Describe() vm.Description {
	return vm.Description{
		Type: "riscv.aclint.swi",
		GPIO: []vm.GPIO{{Out: true, Lines: 1}},
		Properties: []vm.Property{
			vm.Number("hartid-base", 0),
			vm.Number("num-harts", 1),
			vm.Number("sswi", 0),
		},
		MMIO: []vm.MMIORange{{Base: swiBase, Size: swiSize}},
	}
}
