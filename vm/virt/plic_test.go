package virt

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func newTestPLIC() (p *plic, machine, supervisor *line) {
	machine, supervisor = &line{}, &line{}
	return newPLIC(machine.set, supervisor.set), machine, supervisor
}

func TestPLICRegisters(t *testing.T) {
	p, _, _ := newTestPLIC()
	for _, test := range []struct {
		name             string
		off              uint64
		written, readsAs uint32
	}{
		{"priority of source 0", 0, 7, 0},
		{"priority of source 1", 4, 7, 7},
		{"priority of source 95", 4 * 95, 0xf, 7},
		{"priority of source 96", 4 * 96, 7, 0},
		{"pending", 0x1000, 0xffffffff, 0},
		{"enable, context 0", 0x2000, 0xffffffff, 0xfffffffe},
		{"enable, context 0, last word", 0x2008, 0xffffffff, 0xffffffff},
		{"enable, context 0, past the end", 0x200c, 0xffffffff, 0},
		{"enable, context 1", 0x2080, 0x400, 0x400},
		{"enable, context 2", 0x2100, 0xffffffff, 0},
		{"threshold, context 0", 0x200000, 3, 3},
		{"threshold, context 1", 0x201000, 9, 1},
		{"threshold, context 2", 0x202000, 3, 0},
		{"claim, context 0", 0x200004, 0, 0},
		{"nothing", 0x200008, 1, 0},
	} {
		store32(t, p, test.off, test.written)
		if got := load32(t, p, test.off); got != test.readsAs {
			t.Errorf("%s: %#x after writing %#x, want %#x", test.name, got, test.written, test.readsAs)
		}
	}
	if _, err := p.ReadMMIO(0, 8); !errors.Is(err, errAccess) {
		t.Error(err)
	}
	if err := p.WriteMMIO(0, 1, 0); !errors.Is(err, errAccess) {
		t.Error(err)
	}
}

func TestPLICClaimAndComplete(t *testing.T) {
	const claim, pending = 0x201004, 0x1000
	p, machine, supervisor := newTestPLIC()
	uart, disk := p.source(10), p.source(8)
	store32(t, p, 4*10, 1)
	store32(t, p, 4*8, 1)
	store32(t, p, 0x2080, 1<<10|1<<8)
	uart(true)
	disk(true)
	if !supervisor.level || machine.level {
		t.Errorf("SEIP %v, MEIP %v", supervisor.level, machine.level)
	}
	if got := load32(t, p, claim); got != 8 {
		t.Errorf("of equals the lowest: %d", got)
	}
	if got := load32(t, p, pending); got != 1<<10 || !supervisor.level {
		t.Errorf("after the claim: pending %#x, SEIP %v", got, supervisor.level)
	}
	store32(t, p, 4*10, 2)
	if got := load32(t, p, claim); got != 10 || supervisor.level {
		t.Errorf("claim %d, SEIP %v", got, supervisor.level)
	}
	if got := load32(t, p, claim); got != 0 {
		t.Errorf("claim with nothing pending: %d", got)
	}
	store32(t, p, claim, 8)
	store32(t, p, claim, 9) // not enabled: ignored
	store32(t, p, claim, 10)
	if supervisor.level {
		t.Error("completion makes a line pending that only stays high")
	}
	uart(true)
	if !supervisor.level || load32(t, p, pending) != 1<<10 {
		t.Error("a line raised again is not pending")
	}
	store32(t, p, 0x201000, 2)
	if supervisor.level || load32(t, p, claim) != 0 {
		t.Error("the threshold lets its own priority pass")
	}
	store32(t, p, 0x201000, 1)
	if !supervisor.level {
		t.Error("the threshold holds back a higher priority")
	}
	p.Reset()
	if supervisor.level {
		t.Error("SEIP after a reset")
	}
}

// TestPLICGateway follows what QEMU 7.2 shows of a line of the UART that is raised, stays
// high, and goes low again.
func TestPLICGateway(t *testing.T) {
	const claim, pending = 0x200004, 0x1000
	p, machine, _ := newTestPLIC()
	line := p.source(10)
	store32(t, p, 4*10, 1)
	store32(t, p, 0x2000, 1<<10)
	want := func(when string, wantPending uint32, wantLevel bool) {
		t.Helper()
		if got := load32(t, p, pending); got != wantPending || machine.level != wantLevel {
			t.Errorf("%s: pending %#x, MEIP %v", when, got, machine.level)
		}
	}
	line(true)
	want("raised", 1<<10, true)
	load32(t, p, claim)
	want("claimed", 0, false)
	store32(t, p, claim, 10)
	want("completed while high", 0, false)
	line(true)
	want("raised while high", 1<<10, true)
	line(false)
	want("low again", 1<<10, true)
	load32(t, p, claim)
	line(true)
	want("raised while claimed", 1<<10, false)
	store32(t, p, claim, 10)
	want("completed after that", 1<<10, true)
}

// TestPLICState checks with random use that a loaded PLIC is the saved one.
func TestPLICState(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p, _, _ := newTestPLIC()
		for range rapid.IntRange(0, 40).Draw(r, "steps") {
			n := rapid.IntRange(1, plicSources-1).Draw(r, "source")
			switch rapid.IntRange(0, 4).Draw(r, "what") {
			case 0:
				p.source(n)(rapid.Bool().Draw(r, "level"))
			case 1:
				store32(t, p, uint64(4*n), uint32(rapid.IntRange(0, 7).Draw(r, "priority")))
			case 2:
				c := rapid.IntRange(0, 1).Draw(r, "context")
				store32(t, p, uint64(0x2000+0x80*c+n/32*4), rapid.Uint32().Draw(r, "enable"))
			case 3:
				load32(t, p, uint64(0x200004+0x1000*rapid.IntRange(0, 1).Draw(r, "context")))
			case 4:
				store32(t, p, 0x201000, uint32(rapid.IntRange(0, 7).Draw(r, "threshold")))
			}
		}
		q, machine, supervisor := newTestPLIC()
		transfer(t, p, q)
		if p.pending != q.pending || p.claimed != q.claimed || p.priority != q.priority ||
			p.enable != q.enable || p.threshold != q.threshold {
			r.Fatal("the loaded one differs")
		}
		if machine.level != (p.best(0) != 0) || supervisor.level != (p.best(1) != 0) {
			r.Fatal("its lines differ")
		}
	})
}
