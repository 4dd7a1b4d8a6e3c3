package img

import (
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Percents between two lines of progress.
const (
	convertStep = 1.0
	compareStep = 2.0
)

// progress shows how far a command has come: as a bar at a terminal, elsewhere as QEMU
// does, "    (12.34/100%)" and a carriage return, at every step percent. The nil progress
// shows nothing.
type progress struct {
	out  io.Writer
	bar  *progressbar.ProgressBar
	step float64
	last float64

	cleared bool // the bar is gone
}

// barScale is the length of the bar: a percent in hundredths.
const barScale = 10000

func (t *tool) newProgress(on bool, title string, step float64) *progress {
	if !on {
		return nil
	}
	p := &progress{out: t.stdout, step: step}
	if f, ok := t.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(barScale,
			progressbar.OptionSetWriter(f),
			progressbar.OptionSetDescription(title),
			progressbar.OptionFullWidth(),
			progressbar.OptionSetPredictTime(true))
	}
	p.print(0)
	return p
}

// update shows that done of total bytes are done.
func (p *progress) update(done, total int64) {
	if p == nil || total == 0 {
		return
	}
	percent := float64(done) * 100 / float64(total)
	if percent-p.last >= p.step || percent >= 100 && p.last < 100 {
		p.last = percent
		p.print(percent)
	}
}

func (p *progress) print(percent float64) {
	if p.bar != nil {
		_ = p.bar.Set(int(percent * barScale / 100)) // as in clear
		return
	}
	fmt.Fprintf(p.out, "    (%3.2f/100%%)\r", percent)
}

// complete shows all as done.
func (p *progress) complete() {
	if p != nil {
		p.print(100)
	}
}

// clear makes room for a message: a bar is taken away, QEMU's line is just written over.
func (p *progress) clear() {
	if p != nil && p.bar != nil {
		_ = p.bar.Clear() // a terminal that cannot be written to shows nothing anyway
		p.cleared = true
	}
}

// end finishes the line.
func (p *progress) end() {
	if p != nil && !p.cleared {
		fmt.Fprintln(p.out)
	}
}
