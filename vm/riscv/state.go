package riscv

import "github.com/qmon/qmon/vm"

// States implements vm.CPU.
func (h *Hart) States() []vm.State { return nil }
