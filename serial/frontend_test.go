package serial

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a front end that writes down what happens to it. It takes at most room bytes
// at a time if room is not 0.
type recorder struct {
	mu    sync.Mutex
	text  strings.Builder
	room  int
	taken int
}

var _ Frontend = (*recorder)(nil)

func (r *recorder) Receive(p []byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(p)
	if r.room > 0 {
		n = min(n, r.room-r.taken)
	}
	r.taken += n
	r.text.Write(p[:n])
	return n
}

// makeRoom lets the front end take room bytes more.
func (r *recorder) makeRoom() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = 0
}

var eventNames = map[Event]string{
	EventOpened: "opened", EventClosed: "closed", EventBreak: "break",
	EventFocusIn: "in", EventFocusOut: "out",
}

func (r *recorder) Event(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.text, "<%s>", eventNames[e])
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// waitUntil waits for something that another goroutine does.
func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// wants waits until the front end has seen exactly want.
func (r *recorder) wants(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); r.String() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the front end saw %q, want %q", r.String(), want)
		}
	}
}

// wire is a device without a host's end: the test calls its front end.
type wire struct {
	nullDevice
	sent strings.Builder
}

func newWire() *wire {
	w := &wire{}
	w.init("wire", true)
	return w
}

func (w *wire) Write(p []byte) (int, error) { return w.sent.Write(p) }
