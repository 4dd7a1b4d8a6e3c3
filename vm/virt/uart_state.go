package virt

import (
	"fmt"
	"time"

	"github.com/qmon/qmon/vm"
)

func (u *uart) States() []vm.State { return []vm.State{uartState{u}} }

// uartState is the section "serial".
type uartState struct{ u *uart }

type uartFields struct {
	Serial uartRegisters `vmstate:"serial,struct=serial,version=3"`
}

type uartRegisters struct {
	Divider uint16 `vmstate:"divider"`
	RBR     uint8  `vmstate:"rbr"`
	IER     uint8  `vmstate:"ier"`
	IIR     uint8  `vmstate:"iir"`
	LCR     uint8  `vmstate:"lcr"`
	MCR     uint8  `vmstate:"mcr"`
	LSR     uint8  `vmstate:"lsr"`
	MSR     uint8  `vmstate:"msr"`
	SCR     uint8  `vmstate:"scr"`
	FCR     uint8  `vmstate:"fcr_vmstate"`
	// Subsections, there when they say more than the registers.
	THRPending     *uartTHRPending     `vmstate:"serial/thr_ipending,subsection=1"`
	ReceiveFIFO    *uartReceiveFIFO    `vmstate:"serial/recv_fifo,subsection=1"`
	TimeoutTimer   *uartTimeoutTimer   `vmstate:"serial/fifo_timeout_timer,subsection=1"`
	TimeoutPending *uartTimeoutPending `vmstate:"serial/timeout_ipending,subsection=1"`
}

type uartTHRPending struct {
	Pending int32 `vmstate:"thr_ipending"`
}

type uartReceiveFIFO struct {
	FIFO uartFIFOFields `vmstate:"recv_fifo,struct=Fifo8,version=1"`
}

// uartFIFOFields is a ring of bytes: num of them, the oldest at head.
type uartFIFOFields struct {
	Data [uartFIFO]byte `vmstate:"data,buffer"`
	Head uint32         `vmstate:"head"`
	Num  uint32         `vmstate:"num"`
}

type uartTimeoutTimer struct {
	At int64 `vmstate:"fifo_timeout_timer,type=timer"` // virtual time, -1 for never
}

type uartTimeoutPending struct {
	Pending int32 `vmstate:"timeout_ipending"`
}

func (s uartState) Section() vm.Section {
	return vm.Section{Name: "serial", Version: 3, MinVersion: 3}
}

func (s uartState) New() any { return &uartFields{} }

func (s uartState) Check(state any, _ uint32) error {
	f := state.(*uartFields)
	if r := f.Serial.ReceiveFIFO; r != nil && (r.FIFO.Num > uartFIFO || r.FIFO.Head >= uartFIFO) {
		return fmt.Errorf("receive FIFO with %d bytes at %d", r.FIFO.Num, r.FIFO.Head)
	}
	return nil
}

func (s uartState) Save() (any, error) {
	u := s.u
	r := uartRegisters{
		Divider: u.divider, RBR: u.rbr, IER: u.ier, IIR: u.iir, LCR: u.lcr,
		MCR: u.mcr, LSR: u.lsr, MSR: u.msr, SCR: u.scr, FCR: u.fcr,
	}
	if u.thrPending != (u.iir&iirKind == iirTHRE) {
		r.THRPending = &uartTHRPending{flag(u.thrPending)}
	}
	switch {
	case u.fifoOn() && len(u.fifo) > 0:
		r.ReceiveFIFO = &uartReceiveFIFO{uartFIFOFields{Num: uint32(len(u.fifo))}}
		copy(r.ReceiveFIFO.FIFO.Data[:], u.fifo)
	case len(u.fifo) > 0:
		r.RBR = u.fifo[0]
	}
	if at, armed := u.timeout.Armed(); armed {
		r.TimeoutTimer = &uartTimeoutTimer{int64(at)}
	}
	if u.timedOut {
		r.TimeoutPending = &uartTimeoutPending{1}
	}
	return &uartFields{r}, nil
}

func flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

func (s uartState) Load(state any, _ uint32) error {
	u, r := s.u, state.(*uartFields).Serial
	u.clearReceived()
	u.divider, u.rbr, u.ier, u.lcr = r.Divider, r.RBR, r.IER&ierMask, r.LCR
	u.mcr, u.msr, u.scr, u.fcr = r.MCR&mcrMask, r.MSR, r.SCR, r.FCR&fcrKept
	u.thrPending = r.IIR&iirKind == iirTHRE
	if r.THRPending != nil {
		u.thrPending = r.THRPending.Pending != 0
	}
	switch {
	case u.fifoOn() && r.ReceiveFIFO != nil:
		f := r.ReceiveFIFO.FIFO
		for i := range f.Num {
			u.fifo = append(u.fifo, f.Data[(f.Head+i)%uartFIFO])
		}
	case !u.fifoOn() && r.LSR&lsrData != 0:
		u.fifo = []byte{r.RBR}
	}
	// The transmitter is the host's: what waited there has been sent, or never will be.
	u.lsr = r.LSR | lsrIdle
	u.timedOut = r.TimeoutPending != nil && r.TimeoutPending.Pending != 0
	if r.TimeoutTimer != nil && r.TimeoutTimer.At >= 0 {
		u.timeout.Set(time.Duration(r.TimeoutTimer.At))
	}
	u.update()
	u.host.makeRoom()
	return nil
}
