package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// spinner is a processor that executes nothing but counts, or halts.
type spinner struct {
	halted   bool
	executed int64
	resets   int
	exit     Exit
	kicked   atomic.Bool
	step     func() // called in every slice
}

func (s *spinner) Run(budget int64) (int64, Exit) {
	if s.kicked.Swap(false) {
		return 0, ExitKick
	}
	if s.step != nil {
		s.step()
	}
	s.executed += budget
	return budget, s.exit
}
func (s *spinner) Kick()           { s.kicked.Store(true) }
func (s *spinner) Halted() bool    { return s.halted }
func (s *spinner) Reset()          { s.resets++ }
func (s *spinner) PC() uint64      { return 0 }
func (s *spinner) States() []State { return nil }

// slowDevice has requests beside the processors.
type slowDevice struct {
	resets, drains int
}

func (d *slowDevice) Name() string    { return "slow" }
func (d *slowDevice) Reset()          { d.resets++ }
func (d *slowDevice) States() []State { return nil }
func (d *slowDevice) Drain()          { d.drains++ }

// run starts a machine and returns a function that waits for its end.
func run(t *testing.T, m *Machine) (wait func() error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	return func() error {
		t.Helper()
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Minute):
			t.Fatal("the machine does not end")
			return nil
		}
	}
}

func do(t *testing.T, m *Machine, fn func()) {
	t.Helper()
	if err := m.Do(fn); err != nil {
		t.Fatal(err)
	}
}

func begin(t *testing.T, m *Machine) {
	t.Helper()
	do(t, m, func() {
		if err := m.Start(); err != nil {
			t.Error(err)
		}
	})
}

func wantQuit(t *testing.T, err error, code int, reason string) {
	t.Helper()
	var q *QuitError
	if !errors.As(err, &q) || q.Code != code || q.Reason != reason {
		t.Errorf("Run returned %v, want exit status %d for %s", err, code, reason)
	}
}

func TestPostFromTheMachinesOwnGoroutineDoesNotBlock(t *testing.T) {
	m := New(Config{})
	wait := run(t, m)
	n := 0
	do(t, m, func() {
		for range 10_000 {
			m.Post(func() { n++ })
		}
	})
	do(t, m, func() {
		if n != 10_000 {
			t.Errorf("%d of 10000 were executed", n)
		}
	})
	m.Quit(0, ReasonHostQuit)
	wantQuit(t, wait(), 0, ReasonHostQuit)
}

func TestPostsFromManyGoroutinesWhileTheProcessorRuns(t *testing.T) {
	m := New(Config{})
	m.AddCPU(&spinner{})
	wait := run(t, m)
	begin(t, m)
	n := 0 // owned by the machine's goroutine
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				m.Post(func() { n++ })
			}
		})
	}
	all.Wait()
	do(t, m, func() {
		if n != 8000 {
			t.Errorf("%d of 8000 were executed", n)
		}
	})
	m.Quit(3, ReasonHostQuit)
	wantQuit(t, wait(), 3, ReasonHostQuit)
}

func TestDoAfterTheEndReports(t *testing.T) {
	m := New(Config{})
	wait := run(t, m)
	m.Quit(0, ReasonHostQuit)
	_ = wait()
	if err := m.Do(func() { t.Error("executed") }); !errors.Is(err, ErrEnded) {
		t.Errorf("Do: %v", err)
	}
}

func TestTheFirstQuitCounts(t *testing.T) {
	m := New(Config{})
	m.Quit(7, ReasonGuestShutdown)
	m.Quit(0, ReasonHostQuit)
	wantQuit(t, run(t, m)(), 7, ReasonGuestShutdown)
}

func TestRunEndsWithItsContext(t *testing.T) {
	m := New(Config{})
	m.AddCPU(&spinner{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	begin(t, m)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if m.State() != StateShutdown {
		t.Errorf("state %s", m.State())
	}
}

func TestRunStates(t *testing.T) {
	m := New(Config{})
	d := &slowDevice{}
	m.AddDevice(d)
	var events []EventKind
	m.Subscribe(func(e Event) { events = append(events, e.Kind) })
	run(t, m)
	steps := []struct {
		name string
		do   func() error
		want RunState
	}{
		{"stop before the start", func() error { m.Stop(StatePaused); return nil }, StatePrelaunch},
		{"start", m.Start, StateRunning},
		{"start again", m.Start, StateRunning},
		{"reset while running", func() error { m.SystemReset(ReasonHostReset); return nil }, StateRunning},
		{"stop", func() error { m.Stop(StatePaused); return nil }, StatePaused},
		{"stop again", func() error { m.Stop(StateSaveVM); return nil }, StatePaused},
		{"loadvm's reset", func() error { m.Reset(""); return nil }, StatePaused},
		{"reset while stopped", func() error { m.SystemReset(ReasonHostReset); return nil }, StatePrelaunch},
	}
	for _, s := range steps {
		do(t, m, func() {
			if err := s.do(); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		})
		if got := m.State(); got != s.want {
			t.Errorf("after %s: %s, want %s", s.name, got, s.want)
		}
	}
	want := []EventKind{EventResume, EventReset, EventStop, EventReset}
	do(t, m, func() {
		if !slices.Equal(events, want) {
			t.Errorf("events %v, want %v", events, want)
		}
		if d.resets != 3 || d.drains == 0 {
			t.Errorf("device: %d resets, %d drains", d.resets, d.drains)
		}
	})
	m.Quit(0, ReasonHostQuit)
}

func TestGuestPowersOff(t *testing.T) {
	m := New(Config{})
	m.AddCPU(&spinner{step: func() { m.RequestShutdown(ReasonGuestShutdown) }})
	wait := run(t, m)
	begin(t, m)
	wantQuit(t, wait(), 0, ReasonGuestShutdown)
}

func TestPowerOffOnlyStopsWithNoShutdown(t *testing.T) {
	m := New(Config{NoShutdown: true})
	run(t, m)
	begin(t, m)
	do(t, m, func() { m.Shutdown(ReasonGuestShutdown) })
	if m.State() != StateShutdown {
		t.Fatalf("state %s", m.State())
	}
	do(t, m, func() {
		if err := m.Start(); !errors.Is(err, ErrNeedsReset) {
			t.Errorf("start of a machine that is off: %v", err)
		}
		m.SystemReset(ReasonHostReset)
		if err := m.Start(); err != nil {
			t.Error(err)
		}
	})
	m.Quit(0, ReasonHostQuit)
}

func TestResetHappensBetweenInstructions(t *testing.T) {
	m := New(Config{})
	inside, outside := false, true
	cpu := &spinner{}
	cpu.step = func() {
		inside = true
		m.RequestReset(ReasonGuestReset)
		inside = false
	}
	m.AddCPU(cpu)
	m.OnReset(func() {
		outside = outside && !inside
		m.Quit(0, ReasonHostQuit)
	})
	wait := run(t, m)
	begin(t, m)
	_ = wait()
	if !outside || cpu.resets != 1 {
		t.Errorf("reset outside of a slice: %v, %d times", outside, cpu.resets)
	}
}

func TestResetShutsDownWithNoReboot(t *testing.T) {
	m := New(Config{NoReboot: true})
	wait := run(t, m)
	begin(t, m)
	m.RequestReset(ReasonGuestReset)
	wantQuit(t, wait(), 0, ReasonGuestReset)
}

func TestBrokenProcessorStopsTheMachine(t *testing.T) {
	m := New(Config{})
	m.AddCPU(&spinner{exit: ExitStop})
	stopped := make(chan RunState, 1)
	m.Subscribe(func(e Event) {
		if e.Kind == EventStop {
			stopped <- e.State
		}
	})
	run(t, m)
	begin(t, m)
	if s := <-stopped; s != StateInternalError {
		t.Errorf("state %s", s)
	}
	m.Quit(0, ReasonHostQuit)
}

func TestTimersFireWhileTheProcessorRunsAndWhileItWaits(t *testing.T) {
	for _, halted := range []bool{false, true} {
		for name, clock := range map[string]*Clock{
			"host": NewHostClock(), "instructions": NewInstructionClock(0), "adaptive": NewAdaptiveClock(),
		} {
			m := New(Config{Clock: clock})
			m.AddCPU(&spinner{halted: halted})
			fired := make(chan time.Duration, 1)
			clock.NewTimer(func() { fired <- clock.Now() }).Set(5 * time.Millisecond)
			run(t, m)
			begin(t, m)
			if at := <-fired; at < 5*time.Millisecond {
				t.Errorf("%s clock, halted %v: fired at %v", name, halted, at)
			}
			m.Quit(0, ReasonHostQuit)
		}
	}
}

func TestIdleTimeIsJumpedOverWhereRunsAreReproducible(t *testing.T) {
	clock := NewInstructionClock(0)
	m := New(Config{Clock: clock})
	m.AddCPU(&spinner{halted: true})
	clock.NewTimer(func() { m.Quit(0, ReasonHostQuit) }).Set(24 * time.Hour)
	wait := run(t, m)
	begin(t, m)
	wantQuit(t, wait(), 0, ReasonHostQuit)
	if clock.Now() != 24*time.Hour {
		t.Errorf("it is %v", clock.Now())
	}
}

func TestCountedRunsAreTheSame(t *testing.T) {
	once := func() (ticks []int64) {
		clock := NewInstructionClock(2)
		m := New(Config{Clock: clock})
		m.AddCPU(&spinner{})
		var timer *Timer
		timer = clock.NewTimer(func() {
			ticks = append(ticks, clock.Instructions())
			timer.Set(clock.Now() + 123_457)
			if len(ticks) == 20 {
				m.Quit(0, ReasonHostQuit)
			}
		})
		timer.Set(1)
		m.Post(func() { _ = m.Start() })
		_ = m.Run(t.Context())
		return ticks
	}
	if a, b := once(), once(); !slices.Equal(a, b) {
		t.Errorf("two runs differ:\n%v\n%v", a, b)
	}
}

// TestCountedIdleTimeCanPassAsOnTheHost: -icount with sleep=on.
func TestCountedIdleTimeCanPassAsOnTheHost(t *testing.T) {
	clock := NewInstructionClock(0)
	clock.SetSleep(true)
	if clock.Reproducible() {
		t.Error("a clock that waits for the host is reproducible")
	}
	m := New(Config{Clock: clock})
	m.AddCPU(&spinner{halted: true})
	clock.NewTimer(func() { m.Quit(0, ReasonHostQuit) }).Set(20 * time.Millisecond)
	wait := run(t, m)
	began := time.Now()
	begin(t, m)
	wantQuit(t, wait(), 0, ReasonHostQuit)
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("20 ms of idle time took %v", took)
	}
	if now := clock.Now(); now != 20*time.Millisecond {
		t.Errorf("it is %v", now)
	}
}

// dumper is a processor that shows its registers.
type dumper struct{ spinner }

func (*dumper) DumpRegisters() string          { return " pc       0000000000000040\n" }
func (*dumper) Register(string) (uint64, bool) { return 0, false }
func (*dumper) WordSize() int                  { return 8 }

func TestResetsAreLogged(t *testing.T) {
	m := New(Config{})
	m.AddCPU(&dumper{})
	name := filepath.Join(t.TempDir(), "log")
	if err := errors.Join(m.Log().SetFile(name), m.Log().Enable([]string{"cpu_reset"})); err != nil {
		t.Fatal(err)
	}
	m.Reset("")
	if err := m.Log().SetFile(""); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if want := "CPU Reset (CPU 0)\n pc       0000000000000040\n\n"; err != nil || string(got) != want {
		t.Errorf("the log holds %q, %v, want %q", got, err, want)
	}
}
