package riscv

// The contents of section cpu, version 5, as QEMU 7.2 writes it. What this hart does not
// have (hypervisor state, triggers, interrupt priorities of AIA) is kept as it was loaded,
// or has the values of a QEMU hart after reset.
//
// fflags are nowhere in that section. Ours travel in the field mtohost, a register of old
// simulators that nothing on this machine uses, where real QEMU takes and ignores them;
// bit 9 of it is mip.SEIP as software has set it, which QEMU's mip does not tell from the
// interrupt line.

const (
	noReservation = ^uint64(0) // load_res

	misaMXL64  = 2
	misaV      = 1 << 21
	mstatusVS  = 3 << 9
	envcfgSTCE = 1 << 63

	// QEMU's own enumerations, as a QEMU hart has them.
	privVersion1_12 = 2
	featuresOfRV64  = 0x13
	resetMIClaim    = 0x1000
)

type hartFields struct {
	GPR           [32]uint64    `vmstate:"env.gpr"`
	FPR           [32]uint64    `vmstate:"env.fpr"`
	MIPrio        [64]uint8     `vmstate:"env.miprio"`
	SIPrio        [64]uint8     `vmstate:"env.siprio"`
	PC            uint64        `vmstate:"env.pc"`
	LoadRes       uint64        `vmstate:"env.load_res"`
	LoadVal       uint64        `vmstate:"env.load_val"`
	FRM           uint64        `vmstate:"env.frm"`
	BadAddr       uint64        `vmstate:"env.badaddr"`
	GuestFault    uint64        `vmstate:"env.guest_phys_fault_addr"`
	PrivVer       uint64        `vmstate:"env.priv_ver"`
	VExtVer       uint64        `vmstate:"env.vext_ver"`
	MisaMXL       uint32        `vmstate:"env.misa_mxl"`
	MisaExt       uint32        `vmstate:"env.misa_ext"`
	MisaMXLMax    uint32        `vmstate:"env.misa_mxl_max"`
	MisaExtMask   uint32        `vmstate:"env.misa_ext_mask"`
	Features      uint32        `vmstate:"env.features"`
	Priv          uint64        `vmstate:"env.priv"`
	Virt          uint64        `vmstate:"env.virt"`
	ResetVec      uint64        `vmstate:"env.resetvec"`
	HartID        uint64        `vmstate:"env.mhartid"`
	MStatus       uint64        `vmstate:"env.mstatus"`
	MIP           uint64        `vmstate:"env.mip"`
	MIClaim       uint64        `vmstate:"env.miclaim"`
	MIE           uint64        `vmstate:"env.mie"`
	MIDeleg       uint64        `vmstate:"env.mideleg"`
	SATP          uint64        `vmstate:"env.satp"`
	STVal         uint64        `vmstate:"env.stval"`
	MEDeleg       uint64        `vmstate:"env.medeleg"`
	STVec         uint64        `vmstate:"env.stvec"`
	SEPC          uint64        `vmstate:"env.sepc"`
	SCause        uint64        `vmstate:"env.scause"`
	MTVec         uint64        `vmstate:"env.mtvec"`
	MEPC          uint64        `vmstate:"env.mepc"`
	MCause        uint64        `vmstate:"env.mcause"`
	MTVal         uint64        `vmstate:"env.mtval"`
	MISelect      uint64        `vmstate:"env.miselect"`
	SISelect      uint64        `vmstate:"env.siselect"`
	SCounterEn    uint64        `vmstate:"env.scounteren"`
	MCounterEn    uint64        `vmstate:"env.mcounteren"`
	MCountInhibit uint64        `vmstate:"env.mcountinhibit"`
	PMUCtrs       [32]pmuFields `vmstate:"env.pmu_ctrs,struct=cpu/pmu,version=1"`
	HPMEvent      [32]uint64    `vmstate:"env.mhpmevent_val"`
	HPMEventH     [32]uint64    `vmstate:"env.mhpmeventh_val"`
	SScratch      uint64        `vmstate:"env.sscratch"`
	MScratch      uint64        `vmstate:"env.mscratch"`
	FromHost      uint64        `vmstate:"env.mfromhost"`
	ToHost        uint64        `vmstate:"env.mtohost"`
	STimeCmp      uint64        `vmstate:"env.stimecmp"`
	PMP           *pmpSection   `vmstate:"cpu/pmp,subsection=1"`
	Hyper         *hyperFields  `vmstate:"cpu/hyper,subsection=2"`
	EnvCfg        *envCfgFields `vmstate:"cpu/envcfg,subsection=1"`
	Debug         *debugFields  `vmstate:"cpu/debug,subsection=2"`
}

// pmuFields is a counter. QEMU's counts from Prev, a number of host ticks; ours is Value.
type pmuFields struct {
	Value   uint64 `vmstate:"mhpmcounter_val"`
	ValueH  uint64 `vmstate:"mhpmcounterh_val"`
	Prev    uint64 `vmstate:"mhpmcounter_prev"`
	PrevH   uint64 `vmstate:"mhpmcounterh_prev"`
	Started bool   `vmstate:"started"`
}

type pmpSection struct {
	Entries [pmpCount]pmpEntryFields `vmstate:"env.pmp_state.pmp,struct=cpu/pmp/entry,version=1"`
}

type pmpEntryFields struct {
	Addr uint64 `vmstate:"addr_reg"`
	Cfg  uint8  `vmstate:"cfg_reg"`
}

type envCfgFields struct {
	MEnvCfg uint64 `vmstate:"env.menvcfg"`
	SEnvCfg uint64 `vmstate:"env.senvcfg"`
	HEnvCfg uint64 `vmstate:"env.henvcfg"`
}

type debugFields struct {
	TriggerCur uint64    `vmstate:"env.trigger_cur"`
	TData1     [2]uint64 `vmstate:"env.tdata1"`
	TData2     [2]uint64 `vmstate:"env.tdata2"`
	TData3     [2]uint64 `vmstate:"env.tdata3"`
}

type hyperFields struct {
	HStatus    uint64    `vmstate:"env.hstatus"`
	HEDeleg    uint64    `vmstate:"env.hedeleg"`
	HIDeleg    uint64    `vmstate:"env.hideleg"`
	HCounterEn uint64    `vmstate:"env.hcounteren"`
	HTVal      uint64    `vmstate:"env.htval"`
	HTInst     uint64    `vmstate:"env.htinst"`
	HGATP      uint64    `vmstate:"env.hgatp"`
	HGEIE      uint64    `vmstate:"env.hgeie"`
	HGEIP      uint64    `vmstate:"env.hgeip"`
	HTimeDelta uint64    `vmstate:"env.htimedelta"`
	VSTimeCmp  uint64    `vmstate:"env.vstimecmp"`
	HVICtl     uint64    `vmstate:"env.hvictl"`
	HVIPrio    [64]uint8 `vmstate:"env.hviprio"`
	VSStatus   uint64    `vmstate:"env.vsstatus"`
	VSTVec     uint64    `vmstate:"env.vstvec"`
	VSScratch  uint64    `vmstate:"env.vsscratch"`
	VSEPC      uint64    `vmstate:"env.vsepc"`
	VSCause    uint64    `vmstate:"env.vscause"`
	VSTVal     uint64    `vmstate:"env.vstval"`
	VSATP      uint64    `vmstate:"env.vsatp"`
	VSISelect  uint64    `vmstate:"env.vsiselect"`
	MTVal2     uint64    `vmstate:"env.mtval2"`
	MTInst     uint64    `vmstate:"env.mtinst"`
	STVecHS    uint64    `vmstate:"env.stvec_hs"`
	SScratchHS uint64    `vmstate:"env.sscratch_hs"`
	SEPCHS     uint64    `vmstate:"env.sepc_hs"`
	SCauseHS   uint64    `vmstate:"env.scause_hs"`
	STValHS    uint64    `vmstate:"env.stval_hs"`
	SATPHS     uint64    `vmstate:"env.satp_hs"`
	MStatusHS  uint64    `vmstate:"env.mstatus_hs"`
}

// The priority tables of AIA as QEMU resets them; they matter to no hart without AIA.
var (
	resetMIPrio = [64]uint8{
		0xff, 0x14, 0x18, 0x11, 0xff, 0x15, 0x19, 0x12, 0xff, 0x13, 0x17, 0x00, 0x16, 0xff, 0xff, 0xff,
		0x24, 0x21, 0x1e, 0x1b, 0x0e, 0x0b, 0x08, 0x05, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0x25, 0x23, 0x22, 0x20, 0x1f, 0x1d, 0x1c, 0x1a, 0x0f, 0x0d, 0x0c, 0x0a, 0x09, 0x07, 0x06, 0x04,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	}
	resetSIPrio = func() [64]uint8 {
		p := resetMIPrio
		p[9], p[11] = 0x00, 0x10
		return p
	}()
	resetHVIPrio = [64]uint8{
		1: 0x14, 5: 0x15, 13: 0xff, 14: 0xff, 15: 0xff,
		16: 0x24, 17: 0x21, 18: 0x1e, 19: 0x1b, 20: 0x0e, 21: 0x0b, 22: 0x08, 23: 0x05,
	}
)

// resetForeign is what a QEMU hart after reset says in the fields this hart has not.
func resetForeign() hartFields {
	f := hartFields{
		MIPrio: resetMIPrio, SIPrio: resetSIPrio, MIClaim: resetMIClaim,
		Hyper: &hyperFields{
			HVIPrio: resetHVIPrio, VSStatus: mstatusUXL | mstatusSXL, MStatusHS: mstatusUXL | mstatusSXL,
		},
		Debug: &debugFields{TData1: [2]uint64{2 << 60, 2 << 60}},
	}
	f.setOwn()
	return f
}

// setOwn sets what this hart is, whatever a stream said.
func (f *hartFields) setOwn() {
	f.PrivVer, f.VExtVer, f.Features = privVersion1_12, 0, featuresOfRV64
	f.MisaMXL, f.MisaMXLMax, f.MisaExt, f.MisaExtMask = misaMXL64, misaMXL64, misaExt, misaExt
}
