package vm

import (
	"context"
	"time"
)

// sliceBudget is how many instructions a processor executes before the machine looks at
// its timers and requests again: well under a millisecond.
const sliceBudget = 50_000

// Run is the machine: it executes processors, timers and requests until Quit or until ctx
// is done. It returns a *QuitError, or ctx's error. The requests of devices are complete
// when it returns, so that the drives can be closed.
func (m *Machine) Run(ctx context.Context) error {
	defer close(m.done)
	defer m.requests.end()
	defer m.Drain()
	defer m.Stop(StateShutdown)
	for {
		m.serve()
		if q := m.quitting(); q != nil {
			return q
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !m.Running() {
			m.wait(ctx, nil)
			continue
		}
		m.clock.fire()
		if m.idle() {
			m.sleep(ctx)
			continue
		}
		m.slice()
	}
}

// idle tells if no processor has anything to do.
func (m *Machine) idle() bool {
	for _, c := range m.cpus {
		if !c.Halted() {
			return false
		}
	}
	return true
}

// wait blocks until there is a request or due has fired.
func (m *Machine) wait(ctx context.Context, due <-chan time.Time) {
	select {
	case <-m.requests.wake:
	case <-due:
	case <-ctx.Done():
	}
}

// sleep lets time go by until the next timer is due or a request comes.
func (m *Machine) sleep(ctx context.Context) {
	at, armed := m.clock.next()
	if !armed {
		m.wait(ctx, nil)
		return
	}
	left := at - m.clock.Now()
	if m.clock.Reproducible() {
		m.clock.pass(left)
		return
	}
	began := time.Now()
	t := time.NewTimer(left)
	defer t.Stop()
	m.wait(ctx, t.C)
	if m.clock.CountsInstructions() {
		m.clock.pass(min(left, time.Since(began)))
	}
}

// slice lets every processor execute some instructions.
func (m *Machine) slice() {
	for _, c := range m.cpus {
		budget := int64(sliceBudget)
		if m.clock.CountsInstructions() {
			budget = m.countedBudget(c)
		}
		n, why := c.Run(budget)
		m.clock.executed, m.clock.hurry = nil, nil
		m.clock.advance(n)
		if why == ExitStop {
			m.Stop(StateInternalError)
			return
		}
	}
}

// countedBudget is the budget that ends when the next timer is due, and prepares the
// instruction clock for being read and its timers for being set within the slice.
func (m *Machine) countedBudget(c CPU) int64 {
	budget := int64(sliceBudget)
	if at, ok := m.clock.next(); ok {
		budget = min(budget, m.clock.budgetUntil(at))
	}
	m.clock.hurry = c.Kick
	if counter, ok := c.(InstructionCounter); ok {
		m.clock.executed = counter.Executed
	}
	return budget
}
