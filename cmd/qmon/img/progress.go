package img

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"sync/atomic"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Percents between two lines of progress.
const (
	convertStep = 1.0
	compareStep = 2.0
)

// progress shows how far a command has come: as a bar at a terminal, elsewhere as QEMU
// does, "    (12.34/100%)" and a carriage return, at every step percent. Where that is not
// asked for a signal, SIGUSR1, has it print a line on standard error, as with QEMU.
type progress struct {
	out  io.Writer // nil to show nothing by itself
	bar  *progressbar.ProgressBar
	step float64
	last float64

	percent atomic.Uint64 // float64 bits
	signals chan os.Signal
	cleared bool // the bar is gone
}

// barScale is the length of the bar: a percent in hundredths.
const barScale = 10000

func (t *tool) newProgress(on bool, title string, step float64) *progress {
	p := &progress{step: step}
	p.answerSignals(t.stderr, on)
	if !on {
		return p
	}
	p.out = t.stdout
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

// answerSignals prints a line whenever somebody asks for it, until end.
func (p *progress) answerSignals(w io.Writer, shown bool) {
	if progressSignal == nil {
		return
	}
	p.signals = make(chan os.Signal, 1)
	signal.Notify(p.signals, progressSignal)
	go func() {
		for range p.signals {
			if !shown {
				fmt.Fprintf(w, "    (%3.2f/100%%)\n", math.Float64frombits(p.percent.Load()))
			}
		}
	}()
}

// update shows that done of total bytes are done.
func (p *progress) update(done, total int64) {
	if total == 0 {
		return
	}
	percent := float64(done) * 100 / float64(total)
	p.percent.Store(math.Float64bits(percent))
	if percent-p.last >= p.step || percent >= 100 && p.last < 100 {
		p.last = percent
		p.print(percent)
	}
}

func (p *progress) print(percent float64) {
	switch {
	case p.bar != nil:
		_ = p.bar.Set(int(percent * barScale / 100)) // as in clear
	case p.out != nil:
		fmt.Fprintf(p.out, "    (%3.2f/100%%)\r", percent)
	}
}

// complete shows all as done.
func (p *progress) complete() { p.print(100) }

// clear makes room for a message: a bar is taken away, QEMU's line is just written over.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear() // a terminal that cannot be written to shows nothing anyway
		p.cleared = true
	}
}

// end finishes the line.
func (p *progress) end() {
	if p.signals != nil {
		signal.Stop(p.signals)
		close(p.signals)
		p.signals = nil
	}
	if p.out != nil && !p.cleared {
		fmt.Fprintln(p.out)
	}
}
