package serial

import (
	"fmt"
	"strings"
	"time"
)

// muxAction is what a key after the escape key asks for.
type muxAction uint8

const (
	muxNothing muxAction = iota
	muxHelp
	muxQuit
	muxCommit
	muxStamps
	muxBreak
	muxSwitch
)

var muxKeys = map[byte]muxAction{
	'h': muxHelp,
	'?': muxHelp,
	'x': muxQuit,
	's': muxCommit,
	't': muxStamps,
	'b': muxBreak,
	'c': muxSwitch,
}

// keyState remembers if the escape key came last.
type keyState struct{ escaped bool }

// next takes a byte: it is data for the front end, or a key of the multiplexer's.
func (k *keyState) next(c, escape byte) (data bool, action muxAction) {
	switch {
	case k.escaped:
		k.escaped = false
		return c == escape, muxKeys[c]
	case c == escape:
		k.escaped = true
		return false, muxNothing
	}
	return true, muxNothing
}

// again undoes the taking of a byte that was data.
func (k *keyState) again(c, escape byte) { k.escaped = c == escape }

// act does what a key asks for, on the goroutine of the device below.
func (m *Mux) act(action muxAction) {
	if p := m.focused(); p != nil && action != muxNothing {
		p.settle()
	}
	switch action {
	case muxHelp:
		_, _ = m.Write([]byte(muxHelpText(m.hooks.Escape)))
	case muxQuit:
		_, _ = m.Write([]byte("QEMU: Terminated\n\r"))
		if m.hooks.Quit != nil {
			m.hooks.Quit()
		}
	case muxCommit:
		if m.hooks.CommitAll != nil {
			m.hooks.CommitAll()
		}
	case muxStamps:
		m.out.Lock()
		m.stamps.toggle()
		m.out.Unlock()
	case muxBreak:
		if p := m.focused(); p != nil {
			p.event(EventBreak)
		}
	case muxSwitch:
		m.switchFocus()
	}
}

// muxHelpText lists the keys; an escape key that is no control character is called by its
// code.
func muxHelpText(escape byte) string {
	name := "Escape-Char"
	var b strings.Builder
	if escape > 0 && escape < 27 {
		name = "C-" + string(rune('a'+escape-1))
	} else {
		fmt.Fprintf(&b, "\n\rEscape-Char set to Ascii: 0x%02x\n\r", escape)
	}
	b.WriteString("\n\r")
	for _, line := range []string{
		" h    print this help",
		" x    exit emulator",
		" s    save disk data back to file (if -snapshot)",
		" t    toggle console timestamps",
		" b    send break (magic sysrq)",
		" c    switch between console and monitor",
		" " + name + "  sends " + name,
	} {
		b.WriteString(name + line + "\n\r")
	}
	return b.String()
}

// timestamps puts the time since the first of them at the start of each line.
type timestamps struct {
	on        bool
	start     time.Time // of the first; zero before
	lineStart bool
}

func (t *timestamps) toggle() { *t = timestamps{on: !t.on} }

// apply returns p with the stamps in it.
func (t *timestamps) apply(p []byte, now time.Time) []byte {
	if !t.on {
		return p
	}
	out := make([]byte, 0, len(p)+len(p)/16)
	for _, c := range p {
		if t.lineStart {
			if t.start.IsZero() {
				t.start = now
			}
			out = append(out, stamp(now.Sub(t.start))...)
			t.lineStart = false
		}
		out = append(out, c)
		t.lineStart = c == '\n'
	}
	return out
}

// stamp is a time in the form of QEMU's: [hh:mm:ss.mmm].
func stamp(d time.Duration) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("[%02d:%02d:%02d.%03d] ", ms/3600000, ms/60000%60, ms/1000%60, ms%1000)
}
