package virt

import (
	"time"

	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// Registers of a 16550A, by offset, with what else lies there.
const (
	uartData = 0 // RBR when read, THR when written; divisor low with LCR.DLAB
	uartIER  = 1 // divisor high with LCR.DLAB
	uartIIR  = 2 // FCR when written
	uartLCR  = 3
	uartMCR  = 4
	uartLSR  = 5
	uartMSR  = 6
	uartSCR  = 7
)

const (
	ierData   = 0x01
	ierTHRE   = 0x02
	ierStatus = 0x04
	ierModem  = 0x08
	ierMask   = 0x0f

	iirModem   = 0x00
	iirNone    = 0x01
	iirTHRE    = 0x02
	iirData    = 0x04
	iirStatus  = 0x06
	iirTimeout = 0x0c
	iirKind    = 0x0f
	iirFIFO    = 0xc0

	fcrEnable  = 0x01
	fcrClearRx = 0x02
	fcrClearTx = 0x04
	fcrKept    = 0xc9 // bits that stay: trigger level, DMA mode, enable

	lcrDLAB = 0x80

	mcrOUT2 = 0x08
	mcrLoop = 0x10
	mcrMask = 0x1f

	lsrData    = 0x01
	lsrOverrun = 0x02
	lsrBreak   = 0x10
	lsrErrors  = 0x1e
	lsrTHRE    = 0x20
	lsrIdle    = 0x60 // transmitter empty, holding register empty

	msrDeltas = 0x0f
	msrIdle   = 0xb0 // carrier, data set ready, clear to send
)

const (
	uartFIFO = 16
	// uartClock is the input clock in Hz; a bit takes 16 times the divisor of its ticks.
	uartClock = 3686400
	// uartDivider is the divisor after reset: 9600 baud on a PC's clock.
	uartDivider = 12
	// timeoutChars is how many character times received bytes below the trigger level wait
	// until an interrupt tells of them.
	timeoutChars = 4
)

// uart is a 16550A. What the guest sends leaves at once, as long as the host takes it
// (see uartHost); what comes in waits at the host until there is room in the FIFO.
type uart struct {
	line    vm.IRQ
	clock   *vm.Clock
	timeout *vm.Timer
	host    *uartHost

	divider                      uint16
	rbr, ier, lcr, mcr, msr, scr byte
	fcr                          byte
	lsr                          byte
	iir                          byte
	fifo                         []byte // received bytes, at most uartFIFO
	thrPending                   bool   // the THRE interrupt has not been acknowledged
	timedOut                     bool   // the timeout interrupt is due
}

var (
	_ vm.Device    = (*uart)(nil)
	_ vm.MMIO      = (*uart)(nil)
	_ vm.Drainer   = (*uart)(nil)
	_ vm.Described = (*uart)(nil)
)

// newUART makes a UART and connects it to the character device, which may be nil.
func newUART(m *vm.Machine, line vm.IRQ, chardev serial.Chardev) (*uart, error) {
	u := &uart{line: line, clock: m.Clock()}
	u.timeout = u.clock.NewTimer(func() { u.timedOut = true; u.update() })
	u.host = &uartHost{uart: u, machine: m, chardev: chardev}
	u.Reset()
	if chardev == nil {
		return u, nil
	}
	return u, chardev.Connect(u.host)
}

func (u *uart) Name() string { return "serial0" }

func (u *uart) Reset() {
	u.divider = uartDivider
	u.rbr, u.ier, u.lcr, u.scr, u.fcr = 0, 0, 0, 0, 0
	u.mcr, u.msr, u.lsr = mcrOUT2, msrIdle, lsrIdle
	u.thrPending = false
	u.clearReceived()
	u.update()
	u.host.makeRoom()
}

func (u *uart) clearReceived() {
	u.fifo = nil
	u.lsr &^= lsrData | lsrBreak
	u.timedOut = false
	u.timeout.Stop()
}

func (u *uart) fifoOn() bool { return u.fcr&fcrEnable != 0 }
func (u *uart) loop() bool   { return u.mcr&mcrLoop != 0 }

// trigger is how many received bytes cause an interrupt.
func (u *uart) trigger() int { return [...]int{1, 4, 8, 14}[u.fcr>>6] }

// update works out the interrupt that matters most, and sets the line. It is called where
// something has happened that can interrupt, and nowhere else: the PLIC counts a line
// raised again as an event.
func (u *uart) update() {
	kind := byte(iirNone)
	switch {
	case u.ier&ierStatus != 0 && u.lsr&lsrErrors != 0:
		kind = iirStatus
	case u.ier&ierData != 0 && u.timedOut:
		kind = iirTimeout
	case u.ier&ierData != 0 && u.lsr&lsrData != 0 && (!u.fifoOn() || len(u.fifo) >= u.trigger()):
		kind = iirData
	case u.ier&ierTHRE != 0 && u.thrPending:
		kind = iirTHRE
	case u.ier&ierModem != 0 && u.msr&msrDeltas != 0:
		kind = iirModem
	}
	u.iir = kind
	if u.fifoOn() {
		u.iir |= iirFIFO
	}
	u.line(kind != iirNone)
}

// ReadMMIO answers any size with the one byte at off, as the bus has eight lanes.
func (u *uart) ReadMMIO(off uint64, _ int) (uint64, error) {
	return uint64(u.read(off)), nil
}

func (u *uart) read(reg uint64) byte {
	switch reg {
	case uartData:
		if u.lcr&lcrDLAB != 0 {
			return byte(u.divider)
		}
		return u.readData()
	case uartIER:
		if u.lcr&lcrDLAB != 0 {
			return byte(u.divider >> 8)
		}
		return u.ier
	case uartIIR:
		iir := u.iir
		if iir&iirKind == iirTHRE {
			u.thrPending = false
			u.update()
		}
		return iir
	case uartLCR:
		return u.lcr
	case uartMCR:
		return u.mcr
	case uartLSR:
		lsr := u.lsr
		if lsr&(lsrBreak|lsrOverrun) != 0 {
			u.lsr &^= lsrBreak | lsrOverrun
			u.update()
		}
		return lsr
	case uartMSR:
		return u.readModem()
	default:
		return u.scr
	}
}

func (u *uart) readData() byte {
	u.timedOut = false
	if len(u.fifo) > 0 {
		u.rbr = u.fifo[0]
		u.fifo = u.fifo[1:]
	}
	if len(u.fifo) == 0 {
		u.lsr &^= lsrData | lsrBreak
		u.timeout.Stop()
	} else {
		u.armTimeout()
	}
	u.update()
	u.host.makeRoom()
	return u.rbr
}

// readModem is MSR. In loopback the outputs of MCR are its inputs: DTR is seen as DSR, RTS
// as CTS, OUT1 as RI, OUT2 as DCD.
func (u *uart) readModem() byte {
	if u.loop() {
		return u.mcr&0x0c<<4 | u.mcr&0x02<<3 | u.mcr&0x01<<5
	}
	msr := u.msr
	if msr&msrDeltas != 0 {
		u.msr &^= msrDeltas
		u.update()
	}
	return msr
}

// WriteMMIO takes the low byte of any size.
func (u *uart) WriteMMIO(off uint64, _ int, v uint64) error {
	u.write(off, byte(v))
	return nil
}

func (u *uart) write(reg uint64, v byte) {
	switch reg {
	case uartData:
		if u.lcr&lcrDLAB != 0 {
			u.divider = u.divider&0xff00 | uint16(v)
			return
		}
		u.send(v)
	case uartIER:
		if u.lcr&lcrDLAB != 0 {
			u.divider = u.divider&0x00ff | uint16(v)<<8
			return
		}
		if v&^u.ier&ierTHRE != 0 && u.lsr&lsrTHRE != 0 {
			u.thrPending = true
		}
		u.ier = v & ierMask
		u.update()
	case uartIIR:
		u.writeFCR(v)
	case uartLCR:
		u.lcr = v
	case uartMCR:
		u.mcr = v & mcrMask
		u.host.makeRoom()
	case uartSCR:
		u.scr = v
	}
}

func (u *uart) writeFCR(v byte) {
	if v&fcrClearRx != 0 || (v^u.fcr)&fcrEnable != 0 {
		u.clearReceived()
	}
	if v&fcrClearTx != 0 || (v^u.fcr)&fcrEnable != 0 {
		u.thrPending = u.lsr&lsrTHRE != 0
	}
	u.fcr = v & fcrKept
	u.update()
	u.host.makeRoom()
}

// send transmits a byte: to the host, or with loopback to the receiver.
func (u *uart) send(v byte) {
	u.thrPending = false
	switch {
	case u.loop():
		u.receive(v)
		u.thrPending = true
	case u.host.send(v):
		u.thrPending = true
	default:
		u.lsr &^= lsrIdle
	}
	u.update()
}

// sent says that the host takes bytes again.
func (u *uart) sent() {
	if u.lsr&lsrTHRE == 0 {
		u.lsr |= lsrIdle
		u.thrPending = true
		u.update()
	}
}

// capacity is how many bytes the receiver holds.
func (u *uart) capacity() int {
	if u.fifoOn() {
		return uartFIFO
	}
	return 1
}

// receive takes a byte in; without room the byte is lost.
func (u *uart) receive(v byte) {
	switch {
	case len(u.fifo) < u.capacity():
		u.fifo = append(u.fifo, v)
	case u.fifoOn():
		u.lsr |= lsrOverrun
	default:
		u.lsr |= lsrOverrun
		u.fifo = append(u.fifo[:0], v)
	}
	u.lsr |= lsrData
	if u.fifoOn() {
		u.armTimeout()
	}
	u.update()
}

// receiveBreak takes in a break: a zero with the break bit.
func (u *uart) receiveBreak() {
	if !u.loop() {
		u.lsr |= lsrBreak
		u.receive(0)
	}
}

// armTimeout starts the timeout anew.
func (u *uart) armTimeout() {
	bitsPerChar := 1 + 5 + u.lcr&3 + 1 // start, data, stop
	if u.lcr&0x04 != 0 {
		bitsPerChar++
	}
	if u.lcr&0x08 != 0 {
		bitsPerChar++
	}
	bit := 16 * time.Second * time.Duration(max(u.divider, 1)) / uartClock
	u.timeout.Set(u.clock.Now() + timeoutChars*time.Duration(bitsPerChar)*bit)
}

func (u *uart) Describe() vm.Description {
	return vm.Description{
		Type:       "serial-mm",
		GPIO:       []vm.GPIO{{Out: true, Name: "sysbus-irq", Lines: 1}},
		Properties: []vm.Property{vm.Number("regshift", 0), vm.Number("endianness", 2)},
		MMIO:       []vm.MMIORange{{Base: ^uint64(0), Size: uartSize}},
	}
}
