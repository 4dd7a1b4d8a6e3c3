package riscv

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/vm"
)

// States implements vm.CPU: the two sections of QEMU 7.2's stream that are about a
// processor.
func (h *Hart) States() []vm.State { return []vm.State{commonState{h}, hartState{h}} }

// section gives the place of a section of this hart.
func (h *Hart) section(name string, version uint32) vm.Section {
	return vm.Section{Name: name, Instance: uint32(h.config.ID), Version: version, MinVersion: version}
}

// commonState is the section cpu_common: what all kinds of processors have.
type commonState struct{ hart *Hart }

type commonFields struct {
	Halted           uint32 `vmstate:"halted"`
	InterruptRequest uint32 `vmstate:"interrupt_request"`
}

// interruptHard is the bit of interrupt_request that QEMU sets while mip is not 0.
const interruptHard = 2

func (s commonState) Section() vm.Section { return s.hart.section("cpu_common", 1) }

func (s commonState) Save() (any, error) {
	f := &commonFields{Halted: uint32(bit(s.hart.halted))}
	if s.hart.csrs.mip() != 0 {
		f.InterruptRequest = interruptHard
	}
	return f, nil
}

func (s commonState) New() any { return &commonFields{} }

func (s commonState) Check(any, uint32) error { return nil }

func (s commonState) Load(state any, _ uint32) error {
	s.hart.halted = state.(*commonFields).Halted != 0
	return nil
}

// hartState is the section cpu.
type hartState struct{ hart *Hart }

func (s hartState) Section() vm.Section { return s.hart.section("cpu", 5) }

func (s hartState) New() any {
	return &hartFields{PMP: &pmpSection{}, Hyper: &hyperFields{}, EnvCfg: &envCfgFields{}, Debug: &debugFields{}}
}

func (s hartState) Save() (any, error) {
	h, c := s.hart, &s.hart.csrs
	f := h.foreign // what QEMU has and this hart does not goes out as it came in
	copy(f.GPR[:], h.x[:32])
	copy(f.FPR[:], h.f[:32])
	f.PC, f.Priv, f.ResetVec, f.HartID = h.pc, uint64(h.priv), h.config.ResetPC, h.config.ID
	f.LoadRes = noReservation
	if h.reserved.valid {
		f.LoadRes, f.LoadVal = h.reserved.addr, h.reserved.value
	}
	f.FRM = uint64(c.frm)
	f.ToHost = uint64(c.fflags) | c.soft&bitSEI
	f.MStatus, f.MIP, f.MIE = c.status(), c.mip(), c.mie
	f.MIDeleg, f.MEDeleg, f.SATP = c.mideleg, c.medeleg, c.satp
	f.STVal, f.STVec, f.SEPC, f.SCause = c.stval, c.stvec, c.sepc, c.scause
	f.MTVal, f.MTVec, f.MEPC, f.MCause = c.mtval, c.mtvec, c.mepc, c.mcause
	f.SScratch, f.MScratch = c.sscratch, c.mscratch
	f.SCounterEn, f.MCounterEn = c.scounteren, c.mcounteren
	f.MCountInhibit = bit(c.cycle.stopped) | bit(c.instret.stopped)<<2
	f.PMUCtrs[0] = pmuFields{Value: c.cycle.value(h.executed)}
	f.PMUCtrs[2] = pmuFields{Value: c.instret.value(h.executed)}
	f.PMP = &pmpSection{}
	for i := range f.PMP.Entries {
		f.PMP.Entries[i] = pmpEntryFields{h.pmp.addr[i], h.pmp.cfg[i]}
	}
	f.EnvCfg = &envCfgFields{MEnvCfg: c.menvcfg, SEnvCfg: c.senvcfg}
	return &f, nil
}

// Errors of Check: states of QEMU's hart that this one cannot go on from.
var (
	errVirtual   = errors.New("the hart runs a virtual machine (V=1)")
	errMode      = errors.New("the privilege mode does not exist")
	errWidth     = errors.New("the hart is not a 64-bit one")
	errVector    = errors.New("the vector extension is in use")
	errPaging    = errors.New("the paging mode in satp is not supported")
	errTimer     = errors.New("the guest waits for an Sstc timer")
	errNoPMP     = errors.New("subsection cpu/pmp is missing")
	errReadWrite = errors.New("a PMP entry has the reserved combination of write without read")
)

func (s hartState) Check(state any, _ uint32) error {
	f := state.(*hartFields)
	switch mode := f.SATP >> satpModeShift; {
	case f.MisaMXL != misaMXL64:
		return errWidth
	case f.MisaExt&misaExt != misaExt:
		return fmt.Errorf("the instruction set in misa (%#x) lacks some of %s", f.MisaExt, ISA)
	case f.MisaExt&misaV != 0 && f.MStatus&mstatusVS != 0:
		return errVector
	case f.Virt&1 != 0:
		return errVirtual
	case f.Priv > modeM || f.Priv == 2:
		return errMode
	case mode != satpBare && mode != satpSv39 && mode != satpSv48:
		return errPaging
	case f.HartID != s.hart.config.ID:
		return fmt.Errorf("state is of hart %d, this is hart %d", f.HartID, s.hart.config.ID)
	case f.EnvCfg != nil && f.EnvCfg.MEnvCfg&envcfgSTCE != 0 && f.MIE&bitSTI != 0:
		return errTimer
	case f.PMP == nil:
		return errNoPMP
	}
	for _, e := range f.PMP.Entries {
		if e.Cfg&(pmpR|pmpW) == pmpW {
			return errReadWrite
		}
	}
	return nil
}

func (s hartState) Load(state any, _ uint32) error {
	h, f := s.hart, state.(*hartFields)
	h.foreign = *f
	h.foreign.setOwn()
	copy(h.x[1:32], f.GPR[1:])
	copy(h.f[:32], f.FPR[:])
	h.pc, h.priv = f.PC&^1, uint8(f.Priv)
	h.reserved = reservation{f.LoadRes != noReservation, f.LoadRes, f.LoadVal}
	h.csrs = f.csrs(h.executed)
	h.pmp = pmp{}
	for i, e := range f.PMP.Entries {
		h.pmp.addr[i], h.pmp.cfg[i] = e.Addr&pmpAddrMask, e.Cfg&pmpFields
	}
	h.pmp.update()
	h.code.forget()
	h.flushTLB()
	h.updateContext()
	return nil
}

// csrs gives the registers a stream holds, cut to what this hart has.
func (f *hartFields) csrs(executed int64) csrState {
	soft := f.MIP&(bitSSI|bitSTI) | f.ToHost&bitSEI
	c := csrState{
		mstatus: f.MStatus & mstatusWritable,
		mtvec:   f.MTVec &^ 2, stvec: f.STVec &^ 2,
		mepc: f.MEPC &^ 1, sepc: f.SEPC &^ 1,
		mcause: f.MCause, scause: f.SCause,
		mtval: f.MTVal, stval: f.STVal,
		mscratch: f.MScratch, sscratch: f.SScratch,
		medeleg: f.MEDeleg & delegable, mideleg: f.MIDeleg & supervisorBits,
		mie:  f.MIE & interruptBits,
		soft: soft, lines: f.MIP & lineBits &^ (soft & bitSEI),
		satp:       f.SATP,
		mcounteren: f.MCounterEn & (1<<32 - 1), scounteren: f.SCounterEn & (1<<32 - 1),
		fflags: uint8(f.ToHost & 0x1f), frm: uint8(f.FRM & 7),
	}
	if f.MStatus&mstatusMPP == 2<<mppShift {
		c.mstatus &^= mstatusMPP
	}
	if f.EnvCfg != nil {
		c.menvcfg, c.senvcfg = f.EnvCfg.MEnvCfg&envcfgFIOM, f.EnvCfg.SEnvCfg&envcfgFIOM
	}
	c.cycle.set(f.PMUCtrs[0].Value, executed)
	c.instret.set(f.PMUCtrs[2].Value, executed)
	c.cycle.stopped, c.instret.stopped = f.MCountInhibit&1 != 0, f.MCountInhibit&4 != 0
	return c
}
