package virt

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// port is a UART for a test that is its guest.
type port struct {
	*uart
	t   *testing.T
	irq *line
}

func newPort(t *testing.T, chardev serial.Chardev) port {
	t.Helper()
	p := port{t: t, irq: &line{}}
	u, err := newUART(vm.New(vm.Config{Clock: vm.NewInstructionClock(0)}), p.irq.set, chardev)
	if err != nil {
		t.Fatal(err)
	}
	p.uart = u
	return p
}

func (p port) get(reg uint64) byte {
	p.t.Helper()
	v, err := p.ReadMMIO(reg, 1)
	if err != nil {
		p.t.Fatal(err)
	}
	return byte(v)
}

func (p port) put(reg uint64, v byte) {
	p.t.Helper()
	if err := p.WriteMMIO(reg, 1, uint64(v)); err != nil {
		p.t.Fatal(err)
	}
}

func (p port) want(what string, got, want byte) {
	p.t.Helper()
	if got != want {
		p.t.Errorf("%s: %#02x, want %#02x", what, got, want)
	}
}

func TestUARTAfterReset(t *testing.T) {
	p := newPort(t, nil)
	p.want("LSR", p.get(uartLSR), 0x60)
	p.want("IIR", p.get(uartIIR), 0x01)
	p.want("MSR", p.get(uartMSR), 0xb0)
	p.want("IER", p.get(uartIER), 0)
	p.put(uartSCR, 0x5a)
	p.want("SCR", p.get(uartSCR), 0x5a)
	p.put(uartIER, 0xff)
	p.want("IER", p.get(uartIER), 0x0f)
}

func TestUARTDivisor(t *testing.T) {
	p := newPort(t, nil)
	p.put(uartLCR, 0x83)
	p.put(0, 0x34)
	p.put(1, 0x12)
	p.want("DLL", p.get(0), 0x34)
	p.want("DLM", p.get(1), 0x12)
	p.put(uartLCR, 3)
	p.want("IER", p.get(1), 0)
	if p.divider != 0x1234 {
		t.Errorf("divisor %#x", p.divider)
	}
}

// TestUARTIsProbedAsA16550A does what drivers do to tell the models apart.
func TestUARTIsProbedAsA16550A(t *testing.T) {
	p := newPort(t, nil)
	p.want("FIFO bits off", p.get(uartIIR)&0xc0, 0)
	p.put(uartIIR, fcrEnable)
	p.want("FIFO bits on", p.get(uartIIR)&0xc0, 0xc0)
	p.put(uartMCR, mcrLoop|0x0a)
	p.want("MSR in loopback", p.get(uartMSR)&0xf0, 0x90)
	p.put(uartData, 'L')
	p.want("LSR in loopback", p.get(uartLSR), 0x61)
	p.want("RBR in loopback", p.get(uartData), 'L')
}

func TestUARTTransmitInterrupt(t *testing.T) {
	p := newPort(t, nil)
	p.put(uartIER, ierTHRE)
	if !p.irq.level {
		t.Error("no interrupt although the transmitter is empty when it is enabled")
	}
	p.want("IIR", p.get(uartIIR), iirTHRE)
	p.want("IIR read again", p.get(uartIIR), iirNone)
	if p.irq.level {
		t.Error("the interrupt stays")
	}
	p.put(uartData, 'x')
	p.want("IIR after a byte", p.get(uartIIR), iirTHRE)
	p.put(uartData, 'y')
	p.put(uartIER, 0)
	if p.irq.level {
		t.Error("an interrupt that is not enabled")
	}
}

func TestUARTReceiveInterrupts(t *testing.T) {
	p := newPort(t, nil)
	p.put(uartIIR, fcrEnable|0x40) // from four bytes
	p.put(uartIER, ierData|ierStatus)
	for i, c := range "abc" {
		p.receive(byte(c))
		if p.irq.level {
			t.Errorf("interrupt with %d bytes", i+1)
		}
	}
	at, armed := p.timeout.Armed()
	if !armed || at <= 0 {
		t.Fatal("no timeout for bytes below the trigger")
	}
	p.timedOut = true
	p.update()
	p.want("IIR after the timeout", p.get(uartIIR), iirTimeout|iirFIFO)
	p.want("RBR", p.get(uartData), 'a')
	p.want("IIR after a read", p.get(uartIIR), iirNone|iirFIFO)
	p.receive('d')
	p.receive('e')
	p.want("IIR with four bytes", p.get(uartIIR), iirData|iirFIFO)
	for _, c := range "bcde" {
		p.want("LSR", p.get(uartLSR), 0x61)
		p.want("RBR", p.get(uartData), byte(c))
	}
	p.want("LSR when empty", p.get(uartLSR), 0x60)
	if _, armed := p.timeout.Armed(); armed || p.irq.level {
		t.Error("timeout or interrupt without a byte")
	}
}

func TestUARTOverrunsAndBreaks(t *testing.T) {
	p := newPort(t, nil)
	p.put(uartIER, ierStatus)
	p.receive('a')
	p.receive('b') // no FIFO: the first is lost
	p.want("IIR", p.get(uartIIR), iirStatus)
	p.want("LSR", p.get(uartLSR), 0x63)
	p.want("LSR again", p.get(uartLSR), 0x61)
	p.want("RBR", p.get(uartData), 'b')
	p.receiveBreak()
	p.want("LSR with a break", p.get(uartLSR), 0x71)
	p.want("RBR", p.get(uartData), 0)
}

func TestUARTFIFOIsCleared(t *testing.T) {
	p := newPort(t, nil)
	p.put(uartIIR, fcrEnable)
	p.receive('a')
	p.put(uartIIR, fcrEnable|fcrClearRx)
	p.want("LSR", p.get(uartLSR), 0x60)
	p.receive('a')
	p.put(uartIIR, 0)
	p.want("LSR with the FIFO off", p.get(uartLSR), 0x60)
}

// TestUARTInputLosesNothing types more than a FIFO at a guest that is slow, switches the
// FIFO on and off, and loops back in between.
func TestUARTInputLosesNothing(t *testing.T) {
	c := newConsole()
	board, err := New(Config{RAM: 16 << 20, Serial: c})
	if err != nil {
		t.Fatal(err)
	}
	m, ended := board.Machine(), make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	text := strings.Repeat("The quick brown fox. ", 50)
	c.input(text)
	var got []byte
	for deadline := time.Now().Add(patience); len(got) < len(text) && time.Now().Before(deadline); {
		do(t, board, func() {
			u := board.uart
			switch len(got) % 5 {
			case 1:
				u.write(uartMCR, mcrLoop)
				u.write(uartMCR, mcrOUT2)
			case 2:
				if len(u.fifo) == 0 {
					u.write(uartIIR, byte(len(got)&1))
				}
			}
			if u.read(uartLSR)&lsrData != 0 {
				got = append(got, u.read(uartData))
			}
		})
	}
	if string(got) != text {
		t.Errorf("the guest got %d of %d bytes: %q", len(got), len(text), got)
	}
	m.Quit(0, vm.ReasonHostQuit)
	<-ended
}

// stuckChardev takes output only when it is let.
type stuckChardev struct {
	console
	let chan struct{}
	out bytes.Buffer
}

func (s *stuckChardev) Write(p []byte) (int, error) {
	<-s.let
	return s.out.Write(p)
}

// TestUARTWaitsForASlowHost fills the queue to a host that takes nothing: the guest sees a
// busy transmitter, the machine goes on, and nothing is lost.
func TestUARTWaitsForASlowHost(t *testing.T) {
	s := &stuckChardev{let: make(chan struct{})}
	s.changed.L = &s.mu
	board, err := New(Config{RAM: 16 << 20, Serial: s})
	if err != nil {
		t.Fatal(err)
	}
	m, ended := board.Machine(), make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	sent := 0
	do(t, board, func() {
		for board.uart.read(uartLSR)&lsrTHRE != 0 {
			board.uart.write(uartData, byte(sent))
			sent++
		}
	})
	if sent < sendLimit || sent > 2*sendLimit {
		t.Errorf("the guest could send %d bytes", sent)
	}
	close(s.let)
	idle := false
	for deadline := time.Now().Add(patience); !idle && time.Now().Before(deadline); {
		do(t, board, func() { idle = board.uart.read(uartLSR)&lsrIdle == lsrIdle })
	}
	if !idle {
		t.Error("the transmitter stays busy")
	}
	m.Quit(0, vm.ReasonHostQuit)
	var quit *vm.QuitError
	if err := <-ended; !errors.As(err, &quit) {
		t.Error(err)
	}
	if s.out.Len() != sent {
		t.Errorf("%d of %d bytes reached the host by the end of Run", s.out.Len(), sent)
	}
}

// TestUARTStateSurvives saves it with bytes waiting, and interrupts of each kind.
func TestUARTStateSurvives(t *testing.T) {
	for name, prepare := range map[string]func(p port){
		"reset":                   func(port) {},
		"a byte without the FIFO": func(p port) { p.receive('x') },
		"bytes in the FIFO":       func(p port) { p.put(uartIIR, 0xc1); p.receive('a'); p.receive('b') },
		"after the timeout": func(p port) {
			p.put(uartIIR, 0xc1)
			p.put(uartIER, ierData)
			p.receive('a')
			p.timeout.Stop()
			p.timedOut = true
			p.update()
		},
		"transmitter interrupt":        func(p port) { p.put(uartIER, ierTHRE) },
		"transmitter behind a receipt": func(p port) { p.put(uartIER, ierTHRE|ierData); p.receive('a') },
		"loopback":                     func(p port) { p.put(uartMCR, mcrLoop); p.put(uartData, 'l') },
		"an overrun":                   func(p port) { p.put(uartIER, ierStatus); p.receive('a'); p.receive('b') },
		"a divisor":                    func(p port) { p.put(uartLCR, 0x83); p.put(0, 99); p.put(uartSCR, 7) },
	} {
		a, b := newPort(t, nil), newPort(t, nil)
		prepare(a)
		transfer(t, a.uart, b.uart)
		if a.irq.level != b.irq.level {
			t.Errorf("%s: line %v, loaded %v", name, a.irq.level, b.irq.level)
		}
		at, armed := a.timeout.Armed()
		at2, armed2 := b.timeout.Armed()
		if armed != armed2 || armed && at != at2 {
			t.Errorf("%s: timeout %v for %v, loaded %v for %v", name, armed, at, armed2, at2)
		}
		for reg := uint64(1); reg < 8; reg++ {
			if x, y := a.get(reg), b.get(reg); x != y {
				t.Errorf("%s: register %d is %#x, loaded %#x", name, reg, x, y)
			}
		}
		for range 3 {
			if x, y := a.get(uartData), b.get(uartData); x != y {
				t.Errorf("%s: data %#x, loaded %#x", name, x, y)
			}
		}
	}
}

// TestQEMUsSerialSections loads what QEMU 7.2 saved of a guest that does not read: four
// bytes after the timeout with the transmitter's interrupt waiting, and one byte before it.
func TestQEMUsSerialSections(t *testing.T) {
	const fifo = "\x05\x10serial/recv_fifo\x00\x00\x00\x01"
	for _, test := range []struct {
		name, section string
		iir           byte
		text          string
		timeout       time.Duration
	}{
		{
			name: "after the timeout", iir: 0xcc, text: "ello",
			section: "\x00\x03\x00\x07\xcc\x03\x0b\x61\xb0\x00\xc1" +
				"\x05\x13serial/thr_ipending\x00\x00\x00\x01\x00\x00\x00\x01" +
				fifo + "hello" + strings.Repeat("\x00", 11) + "\x00\x00\x00\x01\x00\x00\x00\x04" +
				"\x05\x17serial/timeout_ipending\x00\x00\x00\x01\x00\x00\x00\x01",
		},
		{
			name: "before the timeout", iir: 0xc1, text: "h", timeout: 0x1dd6f7682,
			section: "\xff\xff\x00\x05\xc1\x03\x08\x61\xb0\x00\xc1" +
				fifo + "h\x13\xf0Y\x05" + strings.Repeat("\x00", 11) + "\x00\x00\x00\x00\x00\x00\x00\x01" +
				"\x05\x19serial/fifo_timeout_timer\x00\x00\x00\x01\x00\x00\x00\x01\xdd\x6f\x76\x82",
		},
	} {
		p := newPort(t, nil)
		s := uartState{p.uart}
		state := s.New()
		if err := vmstate.Unmarshal([]byte(test.section), "serial", 3, state); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if err := errors.Join(s.Check(state, 3), s.Load(state, 3)); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		p.want(test.name+": IIR", p.iir, test.iir)
		if at, armed := p.timeout.Armed(); armed != (test.timeout != 0) || armed && at != test.timeout {
			t.Errorf("%s: timeout %v for %v", test.name, armed, at)
		}
		for _, c := range test.text {
			p.want(test.name+": LSR", p.get(uartLSR), 0x61)
			p.want(test.name+": data", p.get(uartData), byte(c))
		}
		p.want(test.name+": LSR at the end", p.get(uartLSR), 0x60)
	}
}
