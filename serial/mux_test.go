package serial

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// muxSetup is a multiplexer over a wire with some front ends.
type muxSetup struct {
	wire   *wire
	mux    *Mux
	ports  []*MuxPort
	fronts []*recorder
	called string // hooks, by name
}

func newMuxSetup(t *testing.T, escape byte, fronts int) *muxSetup {
	t.Helper()
	s := &muxSetup{wire: newWire()}
	var err error
	s.mux, err = NewMux("m", s.wire, MuxHooks{
		Escape:    escape,
		Quit:      func() { s.called += "quit " },
		CommitAll: func() { s.called += "commit " },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range fronts {
		p, err := s.mux.Port()
		if err != nil {
			t.Fatal(err)
		}
		f := &recorder{}
		s.ports, s.fronts = append(s.ports, p), append(s.fronts, f)
		if err := p.Connect(f); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// key types, and returns what could be taken.
func (s *muxSetup) key(keys string) int { return s.wire.front.Receive([]byte(keys)) }

const ctrlAHelp = "\n\rC-a h    print this help\n\rC-a x    exit emulator\n\r" +
	"C-a s    save disk data back to file (if -snapshot)\n\rC-a t    toggle console timestamps\n\r" +
	"C-a b    send break (magic sysrq)\n\rC-a c    switch between console and monitor\n\r" +
	"C-a C-a  sends C-a\n\r"

// TestMuxKeys has what QEMU sent (golden/mux.jsonl, before the terminal's driver made two
// bytes of each line feed).
func TestMuxKeys(t *testing.T) {
	tests := []struct {
		name   string
		escape byte
		keys   string
		sent   string // to the host
		called string
		fronts [2]string // what each front end saw
	}{
		{"plain", 0, "ab\r", "", "", [2]string{"<opened>ab\r", "<out><opened>"}},
		{"help", 0, "\x01h", ctrlAHelp, "", [2]string{"<opened>", "<out><opened>"}},
		{"help again", 0, "\x01?", ctrlAHelp, "", [2]string{"<opened>", "<out><opened>"}},
		{"help with another key", 20, "\x14h\x01h", strings.ReplaceAll(ctrlAHelp, "C-a", "C-t"), "",
			[2]string{"<opened>\x01h", "<out><opened>"}},
		{"help with a letter", 'A', "A?", "\n\rEscape-Char set to Ascii: 0x41\n\r" +
			strings.ReplaceAll(ctrlAHelp, "C-a", "Escape-Char"), "", [2]string{"<opened>", "<out><opened>"}},
		{"exit", 0, "\x01x", "QEMU: Terminated\n\r", "quit ", [2]string{"<opened>", "<out><opened>"}},
		{"commit", 0, "\x01s", "", "commit ", [2]string{"<opened>", "<out><opened>"}},
		{"break", 0, "a\x01bc", "", "", [2]string{"<opened>a<break>c", "<out><opened>"}},
		{"switch", 0, "a\x01cb\x01cc", "", "", [2]string{"<opened>a<out><in>c", "<out><opened><in>b<out>"}},
		{"the key itself", 0, "\x01\x01x", "", "", [2]string{"<opened>\x01x", "<out><opened>"}},
		{"a key without a meaning", 0, "\x01zx", "", "", [2]string{"<opened>x", "<out><opened>"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newMuxSetup(t, test.escape, 2)
			if n := s.key(test.keys); n != len(test.keys) {
				t.Errorf("took %d bytes", n)
			}
			if got := s.wire.sent.String(); got != test.sent {
				t.Errorf("sent %q, want %q", got, test.sent)
			}
			if s.called != test.called {
				t.Errorf("called %q, want %q", s.called, test.called)
			}
			for i, want := range test.fronts {
				if got := s.fronts[i].String(); got != want {
					t.Errorf("front end %d saw %q, want %q", i, got, want)
				}
			}
		})
	}
}

func TestMuxTimestamps(t *testing.T) {
	s := newMuxSetup(t, 0, 2)
	s.ports[0].Write([]byte("one\n"))
	s.key("\x01t")
	s.ports[1].Write([]byte("two\nth"))
	s.ports[0].Write([]byte("ree\n"))
	s.key("\x01x\x01t")
	s.ports[0].Write([]byte("four\n"))
	got := regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`).ReplaceAllString(s.wire.sent.String(), "@")
	if want := "one\ntwo\n[@] three\n[@] QEMU: Terminated\n[@] \rfour\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !strings.Contains(s.wire.sent.String(), "[00:00:00.000] three") {
		t.Errorf("the first stamp is not zero: %q", s.wire.sent.String())
	}
}

// TestMuxKeysGetThrough has a guest that takes nothing.
func TestMuxKeysGetThrough(t *testing.T) {
	s := newMuxSetup(t, 0, 1)
	s.fronts[0].room = 1
	if n := s.key("abc\x01h"); n != 5 || s.wire.sent.String() != ctrlAHelp {
		t.Errorf("took %d, sent %q", n, s.wire.sent.String())
	}
	long := strings.Repeat("x", 2*muxRoom)
	n := s.key(long)
	if want := muxRoom - 2; n != want {
		t.Errorf("took %d, want %d", n, want)
	}
	if rest := s.key(long[n:]); rest != 0 {
		t.Errorf("took %d more", rest)
	}
	for want := 1; want < 3+n; want++ {
		s.fronts[0].makeRoom()
		s.ports[0].Ready()
		waitUntil(t, "a kept byte", func() bool { return s.fronts[0].taken1() })
	}
	s.fronts[0].wants(t, "<opened>abc"+long[:n])
}

// hasty is a front end that makes room while it refuses the first byte.
type hasty struct {
	recorder
	port  *MuxPort
	asked bool
}

func (h *hasty) Receive(p []byte) int {
	if !h.asked {
		h.asked = true
		h.port.Ready()
		return 0
	}
	return h.recorder.Receive(p)
}

// TestMuxRoomWhileRefusing has a front end that asks for more before the multiplexer knows
// that it took nothing: it asks once.
func TestMuxRoomWhileRefusing(t *testing.T) {
	s := newMuxSetup(t, 0, 0)
	port, err := s.mux.Port()
	if err != nil {
		t.Fatal(err)
	}
	f := &hasty{port: port}
	if err := port.Connect(f); err != nil {
		t.Fatal(err)
	}
	if s.key("a") != 1 {
		t.Fatal("the byte was not taken")
	}
	f.wants(t, "<opened>a")
}

// TestMuxWaitsForItsPorts types before the second front end is there.
func TestMuxWaitsForItsPorts(t *testing.T) {
	s := newMuxSetup(t, 0, 0)
	keys := "\x01ca"
	if n := s.key(keys); n != 0 {
		t.Errorf("took %d bytes without a port", n)
	}
	var ports [3]*MuxPort
	for i := range ports {
		ports[i], _ = s.mux.Port()
	}
	var first, second recorder
	ports[0].Connect(&first)
	ports[1].Connect(&second)
	if n := s.key(keys); n != 0 {
		t.Errorf("took %d bytes before the last port had its front end", n)
	}
	ports[2].Close()
	if n := s.key(keys); n != len(keys) {
		t.Errorf("took %d bytes", n)
	}
	second.wants(t, "<out><opened><in>a")
}

// taken1 tells if the room for one byte is used.
func (r *recorder) taken1() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken == 1
}

func TestMuxHoldsTheEscapeKey(t *testing.T) {
	s := newMuxSetup(t, 0, 1)
	s.fronts[0].room = 1
	full := strings.Repeat("x", 1+muxRoom)
	if n := s.key(full + "\x01\x01"); n != len(full)+1 {
		t.Fatalf("took %d", n)
	}
	s.fronts[0].room = 0
	s.ports[0].Ready()
	s.fronts[0].wants(t, "<opened>"+full)
	if s.key("\x01") != 1 {
		t.Error("no room")
	}
	s.fronts[0].wants(t, "<opened>"+full+"\x01")
}

func TestMuxPorts(t *testing.T) {
	s := newMuxSetup(t, 0, maxPorts)
	if _, err := s.mux.Port(); err == nil {
		t.Error("a fifth front end")
	}
	s.key("\x01c\x01c2")
	s.ports[2].Close() // the focus falls back to the first
	s.key("0\x01c1\x01c3")
	s.mux.SetFocus(s.ports[1])
	s.key("y")
	for i, want := range []string{
		"<opened><out><in>0<out>",
		"<out><opened><in><out><in>1<out><in>y",
		"<out><opened><in>2",
		"<out><opened><in>3<out>",
	} {
		if got := s.fronts[i].String(); got != want {
			t.Errorf("front end %d saw %q, want %q", i, got, want)
		}
	}
	var inUse *InUseError
	if err := s.ports[0].Connect(&recorder{}); !errors.As(err, &inUse) {
		t.Errorf("connected twice: %v", err)
	}
	if err := s.mux.Connect(&recorder{}); err == nil {
		t.Error("connected to the multiplexer itself")
	}
}

func TestMuxForwardsTheLine(t *testing.T) {
	s := newMuxSetup(t, 0, 2)
	for _, e := range []Event{EventClosed, EventOpened, EventBreak} {
		s.wire.front.Event(e)
	}
	for i, want := range []string{"<opened><closed><opened><break>", "<out><opened><closed><opened><break>"} {
		if got := s.fronts[i].String(); got != want {
			t.Errorf("front end %d saw %q, want %q", i, got, want)
		}
	}
}
