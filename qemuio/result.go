package qemuio

import (
	"fmt"
	"strings"
	"time"
)

// result is a request that succeeded.
type result struct {
	verb   string // "read", "wrote"
	offset int64
	length int64
	took   time.Duration
}

// statistics say how a result is shown.
type statistics struct {
	quiet   bool // -q
	machine bool // -C
}

// option takes -q and -C.
func (s *statistics) option(letter byte) bool {
	switch letter {
	case 'q':
		s.quiet = true
	case 'C':
		s.machine = true
	default:
		return false
	}
	return true
}

// show prints what a request achieved.
func (e *Exerciser) show(s statistics, r result) {
	if s.quiet {
		return
	}
	perSecond := 1 / max(r.took, 1).Seconds()
	rate := float64(r.length) * perSecond
	if s.machine {
		e.printf("%d,1,%s,%.3f,%.3f\n", r.length, clock(r.took), rate, perSecond)
		return
	}
	took := clock(r.took)
	if r.took < time.Minute {
		took = took[len("0:00:"):] + " sec"
	}
	e.printf("%s %d/%d bytes at offset %d\n", r.verb, r.length, r.length, r.offset)
	e.printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n",
		formatSize(float64(r.length)), took, formatSize(rate), perSecond)
}

// clock shows a duration as hours, minutes, seconds and hundredths.
func clock(d time.Duration) string {
	hundredths := d / (10 * time.Millisecond)
	return fmt.Sprintf("%d:%02d:%02d.%02d",
		hundredths/360000, hundredths/6000%60, hundredths/100%60, hundredths%100)
}

// dumpWidth is how many bytes a line of a dump shows.
const dumpWidth = 16

// dump prints p, which was read at off.
func (e *Exerciser) dump(p []byte, off int64) {
	var b strings.Builder
	for len(p) > 0 {
		line := p[:min(dumpWidth, len(p))]
		fmt.Fprintf(&b, "%08x:  ", off)
		text := make([]byte, 0, dumpWidth)
		for _, c := range line {
			fmt.Fprintf(&b, "%02x ", c)
			text = append(text, letterOrDot(c))
		}
		fmt.Fprintf(&b, " %s\n", text)
		p, off = p[len(line):], off+dumpWidth
	}
	e.printf("%s", b.String())
}

// letterOrDot keeps what is a letter or a digit in ASCII.
func letterOrDot(c byte) byte {
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
		return c
	}
	return '.'
}
