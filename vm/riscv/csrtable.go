package riscv

import "fmt"

// Numbers of registers that code looks at.
const (
	csrFFLAGS = 0x001
	csrFRM    = 0x002
	csrFCSR   = 0x003
	csrMIP    = 0x344
)

// csrTable has the registers by number; what is not there is illegal.
var csrTable = func() (t [4096]*csr) {
	for n, r := range csrNamed {
		t[n] = &r
	}
	addCounters(&t)
	addPMP(&t)
	return t
}()

// zero is the read function of registers that are hard-wired to zero, as the
// specification allows for the identification registers and event counters.
func zero(*Hart) uint64 { return 0 }

// plain is a register that holds whatever is written.
func plain(name string, at func(*csrState) *uint64) csr {
	return masked(name, at, ^uint64(0))
}

// masked is a register of which only some bits can be written; the others are zero.
func masked(name string, at func(*csrState) *uint64, mask uint64) csr {
	return csr{
		name:  name,
		read:  func(h *Hart) uint64 { return *at(&h.csrs) },
		write: func(h *Hart, v uint64) { *at(&h.csrs) = v & mask },
	}
}

// tvec is a trap vector register.
func tvec(name string, at func(*csrState) *uint64) csr {
	r := plain(name, at)
	r.write = func(h *Hart, v uint64) { setTVEC(at(&h.csrs), v) }
	return r
}

// csrNamed has the registers that are not one of a row (privileged specification, 2.2).
var csrNamed = map[uint16]csr{
	csrFFLAGS: {
		name: "fflags", guard: floatEnabled,
		read:  func(h *Hart) uint64 { return uint64(h.csrs.fflags) },
		write: func(h *Hart, v uint64) { h.setFCSR(v&0x1f | uint64(h.csrs.frm)<<5) },
	},
	csrFRM: {
		name: "frm", guard: floatEnabled,
		read:  func(h *Hart) uint64 { return uint64(h.csrs.frm) },
		write: func(h *Hart, v uint64) { h.setFCSR(uint64(h.csrs.fflags) | v&7<<5) },
	},
	csrFCSR: {
		name: "fcsr", guard: floatEnabled,
		read:  func(h *Hart) uint64 { return uint64(h.csrs.frm)<<5 | uint64(h.csrs.fflags) },
		write: func(h *Hart, v uint64) { h.setFCSR(v) },
	},
	0xc01: {
		name: "time", guard: counterEnabled(1),
		read: func(h *Hart) uint64 { return h.config.Time() },
	},

	0x100: {
		name:  "sstatus",
		read:  func(h *Hart) uint64 { return h.csrs.status() & sstatusVisible },
		write: func(h *Hart, v uint64) { h.setStatus(v, sstatusWritable) },
	},
	0x104: {
		name:  "sie",
		read:  func(h *Hart) uint64 { return h.csrs.mie & h.csrs.mideleg },
		write: func(h *Hart, v uint64) { h.csrs.mie = h.csrs.mie&^h.csrs.mideleg | v&h.csrs.mideleg },
	},
	0x105: tvec("stvec", func(c *csrState) *uint64 { return &c.stvec }),
	0x106: masked("scounteren", func(c *csrState) *uint64 { return &c.scounteren }, 1<<32-1),
	0x10a: masked("senvcfg", func(c *csrState) *uint64 { return &c.senvcfg }, envcfgFIOM),
	0x140: plain("sscratch", func(c *csrState) *uint64 { return &c.sscratch }),
	0x141: masked("sepc", func(c *csrState) *uint64 { return &c.sepc }, ^uint64(1)),
	0x142: plain("scause", func(c *csrState) *uint64 { return &c.scause }),
	0x143: plain("stval", func(c *csrState) *uint64 { return &c.stval }),
	0x144: {
		name: "sip",
		read: func(h *Hart) uint64 { return h.csrs.mip() & h.csrs.mideleg },
		write: func(h *Hart, v uint64) {
			can := h.csrs.mideleg & bitSSI
			h.csrs.soft = h.csrs.soft&^can | v&can
		},
	},
	0x180: {
		name: "satp", guard: satpAllowed,
		read:  func(h *Hart) uint64 { return h.csrs.satp },
		write: (*Hart).setSATP,
	},

	0xf11: {name: "mvendorid", read: zero},
	0xf12: {name: "marchid", read: zero},
	0xf13: {name: "mimpid", read: zero},
	0xf14: {name: "mhartid", read: (*Hart).ID},
	0xf15: {name: "mconfigptr", read: zero},
	0x300: {
		name:  "mstatus",
		read:  func(h *Hart) uint64 { return h.csrs.status() },
		write: func(h *Hart, v uint64) { h.setStatus(v, mstatusWritable) },
	},
	0x301: {name: "misa", read: func(*Hart) uint64 { return misaBits }},
	0x302: masked("medeleg", func(c *csrState) *uint64 { return &c.medeleg }, delegable),
	0x303: masked("mideleg", func(c *csrState) *uint64 { return &c.mideleg }, supervisorBits),
	0x304: masked("mie", func(c *csrState) *uint64 { return &c.mie }, interruptBits),
	0x305: tvec("mtvec", func(c *csrState) *uint64 { return &c.mtvec }),
	0x306: masked("mcounteren", func(c *csrState) *uint64 { return &c.mcounteren }, 1<<32-1),
	0x30a: masked("menvcfg", func(c *csrState) *uint64 { return &c.menvcfg }, envcfgFIOM),
	0x340: plain("mscratch", func(c *csrState) *uint64 { return &c.mscratch }),
	0x341: masked("mepc", func(c *csrState) *uint64 { return &c.mepc }, ^uint64(1)),
	0x342: plain("mcause", func(c *csrState) *uint64 { return &c.mcause }),
	0x343: plain("mtval", func(c *csrState) *uint64 { return &c.mtval }),
	// No triggers: tselect cannot leave 0, and type 0 in tdata1 says that nothing is there.
	0x7a0: {name: "tselect", read: zero},
	0x7a1: {name: "tdata1", read: zero},
	0x7a2: {name: "tdata2", read: zero},
	0x7a3: {name: "tdata3", read: zero},
	csrMIP: {
		name:  "mip",
		read:  func(h *Hart) uint64 { return h.csrs.mip() },
		write: func(h *Hart, v uint64) { h.csrs.soft = v & supervisorBits },
	},
}

// addCounters adds cycle, instret, the event counters 3..31, which stay zero, and
// mcountinhibit (privileged specification, 3.1.10 and 3.1.12).
func addCounters(t *[4096]*csr) {
	counting := func(name string, at func(*csrState) *counter) (machine, user *csr) {
		read := func(h *Hart) uint64 { return at(&h.csrs).value(h.retired()) }
		// The write takes the place of this instruction's own increment.
		write := func(h *Hart, v uint64) { at(&h.csrs).set(v, h.retired()+1) }
		return &csr{name: "m" + name, read: read, write: write}, &csr{name: name, read: read}
	}
	t[0xb00], t[0xc00] = counting("cycle", func(c *csrState) *counter { return &c.cycle })
	t[0xb02], t[0xc02] = counting("instret", func(c *csrState) *counter { return &c.instret })
	t[0xc00].guard, t[0xc02].guard = counterEnabled(0), counterEnabled(2)
	for i := uint(3); i < 32; i++ {
		t[0xb00+i] = &csr{name: fmt.Sprintf("mhpmcounter%d", i), read: zero}
		t[0xc00+i] = &csr{name: fmt.Sprintf("hpmcounter%d", i), read: zero, guard: counterEnabled(i)}
		t[0x320+i] = &csr{name: fmt.Sprintf("mhpmevent%d", i), read: zero}
	}
	t[0x320] = &csr{
		name: "mcountinhibit",
		read: func(h *Hart) uint64 {
			return bit(h.csrs.cycle.stopped) | bit(h.csrs.instret.stopped)<<2
		},
		write: func(h *Hart, v uint64) {
			h.csrs.cycle.inhibit(v&1 != 0, h.retired())
			h.csrs.instret.inhibit(v&4 != 0, h.retired())
		},
	}
}

// addPMP adds pmpcfg0, pmpcfg2 and pmpaddr0..15: RV64 has no odd pmpcfg registers.
func addPMP(t *[4096]*csr) {
	for i := 0; i < pmpCount; i += 8 {
		t[0x3a0+i/4] = &csr{
			name: fmt.Sprintf("pmpcfg%d", i/4),
			read: func(h *Hart) uint64 { return h.pmp.config(i) },
			write: func(h *Hart, v uint64) {
				h.pmp.setConfig(i, v)
				h.flushTLB()
			},
		}
	}
	for i := range pmpCount {
		t[0x3b0+i] = &csr{
			name: fmt.Sprintf("pmpaddr%d", i),
			read: func(h *Hart) uint64 { return h.pmp.addr[i] },
			write: func(h *Hart, v uint64) {
				h.pmp.setAddr(i, v)
				h.flushTLB()
			},
		}
	}
}
