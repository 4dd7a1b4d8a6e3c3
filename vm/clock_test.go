package vm

import (
	"slices"
	"testing"
	"time"
)

func TestTimersFireInOrderOfTimeThenOfSetting(t *testing.T) {
	c := NewInstructionClock(0)
	var fired []string
	timer := func(name string) *Timer { return c.NewTimer(func() { fired = append(fired, name) }) }
	late, first, second, stopped := timer("late"), timer("first"), timer("second"), timer("stopped")
	late.Set(30)
	first.Set(20)
	stopped.Set(20)
	second.Set(50)
	second.Set(20)
	stopped.Stop()
	c.advance(25)
	c.fire()
	if want := []string{"first", "second"}; !slices.Equal(fired, want) {
		t.Errorf("fired %v, want %v", fired, want)
	}
	if at, ok := late.Armed(); !ok || at != 30 {
		t.Errorf("late is armed for %v, %v", at, ok)
	}
}

func TestTimerThatArmsItselfForNowWaitsForTheNextRound(t *testing.T) {
	c := NewInstructionClock(0)
	n := 0
	var again *Timer
	again = c.NewTimer(func() { n++; again.Set(c.Now()) })
	again.Set(0)
	c.fire()
	c.fire()
	if n != 2 {
		t.Errorf("fired %d times in two rounds", n)
	}
}

func TestInstructionClock(t *testing.T) {
	c := NewInstructionClock(3)
	c.advance(10)
	if c.Now() != 80 {
		t.Errorf("10 instructions of 8 ns took %v", c.Now())
	}
	c.pass(20)
	if c.Now() != 100 {
		t.Errorf("after 20 ns of rest it is %v", c.Now())
	}
	for _, test := range []struct {
		at     time.Duration
		budget int64
	}{{0, 1}, {100, 1}, {101, 1}, {108, 1}, {109, 2}, {180, 10}} {
		if got := c.budgetUntil(test.at); got != test.budget {
			t.Errorf("budget until %d is %d, want %d", test.at, got, test.budget)
		}
	}
}

func TestInstructionClockWithinASlice(t *testing.T) {
	c := NewInstructionClock(1)
	hurried := false
	c.executed, c.hurry = func() int64 { return 7 }, func() { hurried = true }
	if c.Now() != 14 || c.Instructions() != 7 {
		t.Errorf("time %v, %d instructions", c.Now(), c.Instructions())
	}
	c.NewTimer(func() {}).Set(20)
	if !hurried {
		t.Error("the slice goes on past a timer set in it")
	}
}

func TestHostClockStandsStillWhileStopped(t *testing.T) {
	c := NewHostClock()
	c.Set(time.Hour)
	if c.Now() != time.Hour {
		t.Error("a stopped clock runs")
	}
	c.setRunning(true)
	time.Sleep(time.Millisecond)
	c.setRunning(false)
	stopped := c.Now()
	time.Sleep(time.Millisecond)
	if stopped <= time.Hour || c.Now() != stopped {
		t.Errorf("stopped at %v, now %v", stopped, c.Now())
	}
}

func TestAdaptiveClockFollowsTheHost(t *testing.T) {
	c := NewAdaptiveClock()
	c.advance(0)
	c.adapt.host = time.Now().Add(-time.Second)
	c.advance(1000) // 8 µs of virtual time in a second
	if c.shift != adaptiveShift+1 {
		t.Errorf("slow: shift %d", c.shift)
	}
	c.adapt.host = time.Now().Add(-adaptivePeriod)
	c.advance(1 << 30)
	if c.shift != adaptiveShift {
		t.Errorf("fast: shift %d", c.shift)
	}
}

func TestClockStateCarriesTimeAndInstructions(t *testing.T) {
	c := NewInstructionClock(2)
	c.advance(100)
	c.pass(1000)
	s := clockState{c}
	f, err := s.Save()
	if err != nil {
		t.Fatal(err)
	}
	other := NewInstructionClock(2)
	into := clockState{other}
	if err := into.Check(f, 2); err != nil {
		t.Fatal(err)
	}
	if err := into.Load(f, 2); err != nil {
		t.Fatal(err)
	}
	if other.Now() != 1400 || other.Instructions() != 100 {
		t.Errorf("time %v, %d instructions", other.Now(), other.Instructions())
	}
	if into.Check(&clockFields{ClockOffset: -1}, 2) == nil {
		t.Error("a negative time is accepted")
	}
}
