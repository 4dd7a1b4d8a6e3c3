package blkdebug

import (
	"context"
	"fmt"
	"slices"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// stopped is a request that stands at a breakpoint.
type stopped struct {
	tag  string
	goes bool
}

// SetBreakpoint suspends the next request that raises the event.
func (n *Node) SetBreakpoint(event, tag string) error {
	if !blockdev.KnownEvent(event) {
		return notFound()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules = append(n.rules, &rule{action: suspend, event: blockdev.Event(event), tag: tag})
	return nil
}

// suspend holds the caller until it is resumed. mu is held on entry and return, not between.
func (n *Node) suspend(r *rule) {
	n.rules = slices.DeleteFunc(n.rules, func(o *rule) bool { return o == r })
	s := &stopped{tag: r.tag}
	n.stopped = append(n.stopped, s)
	n.say("blkdebug: Suspended request '%s'", s.tag)
	n.woken.Broadcast()
	for !s.goes {
		n.woken.Wait()
	}
}

// release lets the requests of a tag go on, all if it is "", and tells how many did.
func (n *Node) release(tag string) int {
	before := len(n.stopped)
	n.stopped = slices.DeleteFunc(n.stopped, func(s *stopped) bool {
		if tag != "" && s.tag != tag {
			return false
		}
		n.say("blkdebug: Resuming request '%s'", s.tag)
		s.goes = true
		return true
	})
	n.woken.Broadcast()
	return before - len(n.stopped)
}

// Resume lets the first request of the tag go on.
func (n *Node) Resume(tag string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.IndexFunc(n.stopped, func(s *stopped) bool { return s.tag == tag })
	if i < 0 {
		return notFound()
	}
	n.say("blkdebug: Resuming request '%s'", tag)
	n.stopped[i].goes = true
	n.stopped = slices.Delete(n.stopped, i, i+1)
	n.woken.Broadcast()
	return nil
}

// RemoveBreakpoint removes what no request has met yet, and lets those that have go on. As
// in QEMU it is an error if the tag has no breakpoint any more.
func (n *Node) RemoveBreakpoint(tag string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := len(n.rules)
	n.rules = slices.DeleteFunc(n.rules, func(r *rule) bool { return r.action == suspend && r.tag == tag })
	n.release(tag)
	if len(n.rules) == before {
		return notFound()
	}
	return nil
}

// WaitSuspended returns when a request stands at the breakpoint, or ctx is done.
func (n *Node) WaitSuspended(ctx context.Context, tag string) error {
	stop := context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.woken.Broadcast()
	})
	defer stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	for !slices.ContainsFunc(n.stopped, func(s *stopped) bool { return s.tag == tag }) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n.woken.Wait()
	}
	return nil
}

// ResumeAll lets every suspended request go on and forgets all breakpoints.
func (n *Node) ResumeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules = slices.DeleteFunc(n.rules, func(r *rule) bool { return r.action == suspend })
	n.release("")
}

// Announce makes f be called with a line of text as a request is suspended or goes on.
func (n *Node) Announce(f func(line string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.announce = f
}

func (n *Node) say(format string, args ...any) {
	if n.announce != nil {
		n.announce(fmt.Sprintf(format, args...))
	}
}

func notFound() error {
	return &blockdev.Error{Kind: blockdev.ErrNotFound, Op: "break", Offset: blockdev.NoOffset, Err: syscall.ENOENT}
}
