package qemuio

import (
	"context"
	"sync"
	"time"
)

var asyncCommands = []Command{
	{
		Name: "aio_read", Args: "[-Ciqv] [-P pattern] off len [len..]",
		Help: "asynchronously reads a number of bytes", Details: aioReadDetails,
		MinArgs: 2, MaxArgs: Any, Options: "CiP:qv", Run: aioRead,
	},
	{
		Name: "aio_write", Args: "[-Cfiquz] [-P pattern] off len [len..]",
		Help: "asynchronously writes a number of bytes", Details: aioWriteDetails,
		MinArgs: 2, MaxArgs: Any, Options: "CfiP:quz", Writes: true, Run: aioWrite,
	},
	{Name: "aio_flush", Help: "completes all outstanding aio requests", Run: aioFlush},
}

// asyncSet holds the requests that nobody waits for. The commands that wait for anything
// print those that have ended; nothing is printed at other times.
type asyncSet struct {
	mu       sync.Mutex
	cond     sync.Cond // a request has ended
	inFlight int
	finished []func() // print what came of them, in the order of their ends
}

// start does a request on a goroutine; do returns how its outcome is shown.
func (s *asyncSet) start(do func() (show func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight++
	go func() {
		show := do()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inFlight--
		s.finished = append(s.finished, show)
		s.cond.Broadcast()
	}()
}

// add makes show be called with what came of the requests.
func (s *asyncSet) add(show func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = append(s.finished, show)
}

// reap shows what came of the requests that have ended.
func (s *asyncSet) reap() {
	s.mu.Lock()
	finished := s.finished
	s.finished = nil
	s.mu.Unlock()
	for _, show := range finished {
		show()
	}
}

// wait waits for all requests.
func (s *asyncSet) wait() {
	s.mu.Lock()
	for s.inFlight > 0 {
		s.cond.Wait()
	}
	s.mu.Unlock()
	s.reap()
}

// Wait waits for the asynchronous requests, and shows what came of them. Those that stand
// at a breakpoint go on: nobody could resume them any more.
func (e *Exerciser) Wait() {
	if e.drive != nil {
		if b, err := e.breaker(); err == nil {
			b.ResumeAll()
		}
	}
	e.async.wait()
}

func aioRead(_ context.Context, e *Exerciser, c *Call) error {
	r, err := c.reading()
	if err != nil {
		return err
	}
	if len(c.Args) < 2 {
		return c.Usage()
	}
	if r.invalid {
		e.printf("injecting invalid read request\n")
		return nil
	}
	off, n, err := c.vector()
	if err != nil {
		return err
	}
	r.checkLen = n
	e.async.start(func() func() {
		p := e.buffer(n)
		start := time.Now()
		_, err := e.drive.ReadAt(p, off)
		took := time.Since(start)
		return func() {
			if err != nil {
				e.printf("readv failed: %s\n", Message(err))
				return
			}
			_ = e.showRead(r, p, off, took) // a mismatch is shown; the command was over before
		}
	})
	return nil
}

func aioWrite(_ context.Context, e *Exerciser, c *Call) error {
	w, err := c.writing()
	if err != nil {
		return err
	}
	switch {
	case len(c.Args) < 2:
		return c.Usage()
	case w.zeroes && len(c.Args) > 2:
		return complain(toOut, "-z supports only a single length parameter")
	case w.unmap && !w.zeroes:
		return complain(toOut, "-u requires -z to be specified")
	case w.invalid:
		e.printf("injecting invalid write request\n")
		return nil
	}
	lengths := c.vector
	if w.zeroes {
		lengths = c.span // it may be any
	}
	off, n, err := lengths()
	if err != nil {
		return err
	}
	p, err := e.contents(w, n)
	if err != nil {
		return err
	}
	e.async.start(func() func() { return e.writeAsync(w, p, off, n) })
	return nil
}

func (e *Exerciser) writeAsync(w writing, p []byte, off, n int64) (show func()) {
	start := time.Now()
	err := e.store(w, p, off, n)
	took := time.Since(start)
	return func() {
		if err != nil {
			e.printf("aio_write failed: %s\n", Message(err))
			return
		}
		e.show(w.statistics, result{"wrote", off, n, took})
	}
}

func aioFlush(_ context.Context, e *Exerciser, _ *Call) error {
	e.async.wait()
	return nil
}
