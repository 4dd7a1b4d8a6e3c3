package vm

import (
	"fmt"
	"time"
)

// clockState is the section "timer": the virtual clock.
type clockState struct{ clock *Clock }

type clockFields struct {
	// TicksOffset counts the host's ticks in QEMU; any value will do.
	TicksOffset int64    `vmstate:"cpu_ticks_offset"`
	_           struct{} `vmstate:"unused,unused=8"`
	// ClockOffset is the virtual time in nanoseconds.
	ClockOffset int64         `vmstate:"cpu_clock_offset"`
	ICount      *icountFields `vmstate:"timer/icount,subsection=1"`
}

// icountFields is there on machines that count instructions.
type icountFields struct {
	Bias   int64       `vmstate:"qemu_icount_bias"` // virtual time that no instruction took
	ICount int64       `vmstate:"qemu_icount"`
	Warp   *warpFields `vmstate:"timer/icount/warp_timer,subsection=1"`
}

// warpFields is how QEMU keeps an idle period that a stop has interrupted. Ours are over
// when the machine stops.
type warpFields struct {
	Start int64 `vmstate:"vm_clock_warp_start"`
	Timer int64 `vmstate:"icount_warp_timer,type=timer"`
}

func (s clockState) Section() Section {
	return Section{Name: "timer", Version: 2, MinVersion: 2}
}

func (s clockState) Save() (any, error) {
	now := s.clock.Now()
	f := &clockFields{ClockOffset: int64(now)}
	if s.clock.CountsInstructions() {
		f.ICount = &icountFields{
			Bias:   int64(now) - s.clock.icount<<s.clock.shift,
			ICount: s.clock.icount,
		}
	}
	return f, nil
}

func (s clockState) New() any { return &clockFields{} }

func (s clockState) Check(state any, _ uint32) error {
	f := state.(*clockFields)
	if f.ClockOffset < 0 {
		return fmt.Errorf("virtual clock is negative: %d", f.ClockOffset)
	}
	if f.ICount != nil && f.ICount.ICount < 0 {
		return fmt.Errorf("instruction count is negative: %d", f.ICount.ICount)
	}
	return nil
}

func (s clockState) Load(state any, _ uint32) error {
	f := state.(*clockFields)
	if f.ICount != nil {
		s.clock.icount = f.ICount.ICount
	}
	s.clock.Set(s.virtualTime(f))
	return nil
}

// virtualTime is the time that f tells. QEMU's instruction clock is not in ClockOffset: it
// is the bias and what the instructions took.
func (s clockState) virtualTime(f *clockFields) time.Duration {
	if f.ICount != nil && s.clock.source == sourceInstructions {
		if t := f.ICount.Bias + f.ICount.ICount<<s.clock.shift; t >= 0 {
			return time.Duration(t)
		}
	}
	return time.Duration(f.ClockOffset)
}
