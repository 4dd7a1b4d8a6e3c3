package img

import (
	"fmt"
	"html"
	"path/filepath"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// layoutStyles are the names and colours of the kinds. The colours can be told apart by
// people who do not see red and green alike.
var layoutStyles = [layoutKinds]struct{ name, colour string }{
	LayoutHole:         {"nothing (reads as zeroes)", "#f4f5f7"},
	LayoutZero:         {"zeroes", "#cfd6df"},
	LayoutData:         {"data", "#2468b4"},
	LayoutShared:       {"data shared with snapshots", "#e08214"},
	LayoutCompressed:   {"compressed data", "#7a3e9d"},
	LayoutBacking:      {"from the backing file", "#1b998b"},
	LayoutDeeper:       {"from further down the chain", "#8cc5a2"},
	LayoutSnapshotOnly: {"snapshots only", "#f6c98f"},
	LayoutOther:        {"tables and unused", "#9aa3ae"},
}

// The geometry of the picture, in pixels.
const (
	svgWidth   = 960
	svgTop     = 112
	svgBar     = 96
	svgGuestX  = 150
	svgFileX   = 680
	svgGap     = 46 // between files
	svgMinFile = 70
	svgTicks   = 8
)

// SVG renders a layout as a picture: on the left the disk from top to bottom, on the right
// its files, and between them where each part lies. A part of less than a pixel shows as
// that share of the pixel's width.
func (l *Layout) SVG() string {
	var b strings.Builder
	places := l.places()
	height := svgTop + layoutBands + 70 + 26*((l.legendEntries()+1)/2)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, 'DejaVu Sans', 'Segoe UI', Helvetica, Arial, sans-serif">`+"\n",
		svgWidth, height, svgWidth, height)
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", svgWidth, height)
	l.title(&b)
	l.links(&b, places)
	bar(&b, svgGuestX, svgTop, layoutBands, l.Guest)
	ticks(&b, svgGuestX-8, svgTop, layoutBands, l.Size, "end", svgTicks)
	for i, f := range l.Files {
		p := places[i]
		text(&b, svgFileX, p.top-9, 13, "#1f2933", "start", fmt.Sprintf("%s, %s", shorten(filepath.Base(f.Name), 36), blockdev.FormatSize(f.Size)))
		bar(&b, svgFileX, p.top, p.height, f.Bands)
		ticks(&b, svgFileX+svgBar+8, p.top, p.height, f.Size, "start", max(2, svgTicks*p.height/layoutBands))
	}
	l.legend(&b, svgTop+layoutBands+48)
	b.WriteString("</svg>\n")
	return b.String()
}

// place is where in the picture a file is.
type place struct{ top, height int }

// places divides the height by the sizes of the files.
func (l *Layout) places() []place {
	room := layoutBands - svgGap*max(len(l.Files)-1, 0)
	var total int64
	for _, f := range l.Files {
		total += f.Size
	}
	out := make([]place, len(l.Files))
	least := min(svgMinFile, room/max(len(l.Files), 1))
	spare := room - least*len(l.Files)
	top := svgTop
	for i, f := range l.Files {
		h := least
		if total > 0 {
			h += int(float64(spare) * float64(f.Size) / float64(total))
		}
		out[i] = place{top, h}
		top += h + svgGap
	}
	return out
}

func (l *Layout) title(b *strings.Builder) {
	text(b, svgGuestX-100, 40, 22, "#1f2933", "start", shorten(l.Filename, 60))
	used := l.Totals[LayoutData] + l.Totals[LayoutShared] + l.Totals[LayoutCompressed]
	text(b, svgGuestX-100, 66, 14, "#52606d", "start", fmt.Sprintf("%s, a disk of %s, of which the image itself holds %s",
		l.Format, blockdev.FormatSize(l.Size), blockdev.FormatSize(used)))
	text(b, svgGuestX, svgTop-9, 13, "#1f2933", "start", "the disk")
}

// links draws a ribbon for each link, the longest at the bottom.
func (l *Layout) links(b *strings.Builder, places []place) {
	for _, k := range l.Links {
		f, p := l.Files[k.File], places[k.File]
		y1, h1 := scale(k.Guest, k.Length, l.Size, svgTop, layoutBands)
		y2, h2 := scale(k.Host, k.Length, f.Size, p.top, p.height)
		const left, right = svgGuestX + svgBar, svgFileX
		const middle = (left + right) / 2
		fmt.Fprintf(b, `<path d="M%d %.1fC%d %.1f %d %.1f %d %.1fV%.1fC%d %.1f %d %.1f %d %.1fZ" fill="%s" fill-opacity="0.28"><title>%s</title></path>`+"\n",
			left, y1, middle, y1, middle, y2, right, y2, y2+h2, middle, y2+h2, middle, y1+h1, left, y1+h1,
			layoutStyles[k.Kind].colour, fmt.Sprintf("%s: %#x of the disk, %#x of the file, %s",
				layoutStyles[k.Kind].name, k.Guest, k.Host, blockdev.FormatSize(k.Length)))
	}
}

// scale gives the place of a range in a bar, at least half a pixel high.
func scale(off, n, size int64, top, height int) (y, h float64) {
	if size == 0 {
		return float64(top), 0.5
	}
	y = float64(top) + float64(off)/float64(size)*float64(height)
	return y, max(0.5, float64(n)/float64(size)*float64(height))
}

// bar draws bands below each other; neighbours of one kind become one rectangle.
func bar(b *strings.Builder, x, top, height int, bands []LayoutBand) {
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x, top, svgBar, height, layoutStyles[LayoutHole].colour)
	step := float64(height) / float64(len(bands))
	for i := 0; i < len(bands); {
		from := i
		for i++; i < len(bands) && bands[i].shares() == bands[from].shares(); i++ {
		}
		y, h := float64(top)+float64(from)*step, float64(i-from)*step
		at := 0
		for kind, w := range bands[from].shares() {
			if w > 0 {
				fmt.Fprintf(b, `<rect x="%d" y="%.2f" width="%d" height="%.2f" fill="%s"/>`+"\n", x+at, y, w, h+0.05, layoutStyles[kind].colour)
			}
			at += w
		}
	}
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#52606d"/>`+"\n", x, top, svgBar, height)
}

// shares divides the width of a bar among the kinds of a band. What is there at all gets a
// pixel.
func (band LayoutBand) shares() (out [layoutKinds]int) {
	var total int64
	for _, n := range band {
		total += n
	}
	left, widest := svgBar, 0
	for kind, n := range band {
		if n == 0 {
			continue
		}
		out[kind] = max(1, int(float64(svgBar)*float64(n)/float64(total)))
		left -= out[kind]
		if n > band[widest] {
			widest = kind
		}
	}
	if total > 0 {
		out[widest] += left
	}
	return out
}

// ticks writes offsets beside a bar.
func ticks(b *strings.Builder, x, top, height int, size int64, anchor string, n int) {
	for i := 0; i <= n; i++ {
		y := top + height*i/n
		text(b, x, y+4, 11, "#52606d", anchor, blockdev.FormatSize(int64(float64(size)*float64(i)/float64(n))))
	}
}

// legendEntries is how many kinds there are to be explained.
func (l *Layout) legendEntries() int {
	n := 0
	for kind := range layoutStyles {
		if l.shows(LayoutKind(kind)) {
			n++
		}
	}
	return n + len(l.sharedWith())
}

func (l *Layout) shows(kind LayoutKind) bool {
	if l.Totals[kind] > 0 {
		return true
	}
	for _, f := range l.Files {
		for _, b := range f.Bands {
			if b[kind] > 0 {
				return true
			}
		}
	}
	return false
}

// legend explains the colours, in two columns, with how much of the disk each is.
func (l *Layout) legend(b *strings.Builder, top int) {
	n := 0
	for kind, s := range layoutStyles {
		if !l.shows(LayoutKind(kind)) {
			continue
		}
		x, y := svgGuestX-100+n%2*490, top+n/2*26
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="18" height="18" rx="3" fill="%s" stroke="#52606d" stroke-width="0.6"/>`+"\n", x, y, s.colour)
		label := s.name
		if total := l.Totals[kind]; total > 0 {
			label += fmt.Sprintf(": %s (%.1f %%)", blockdev.FormatSize(total), 100*float64(total)/float64(l.Size))
		}
		text(b, x+28, y+14, 13, "#1f2933", "start", label)
		n++
	}
	for _, s := range l.sharedWith() {
		text(b, svgGuestX-72+n%2*490, top+n/2*26+14, 13, "#1f2933", "start", s)
		n++
	}
}

// maxNamedSnapshots is how many snapshots the legend names.
const maxNamedSnapshots = 6

func (l *Layout) sharedWith() (out []string) {
	for i, s := range l.Snapshots {
		if i == maxNamedSnapshots {
			return append(out, fmt.Sprintf("and %d more snapshots", len(l.Snapshots)-i))
		}
		out = append(out, fmt.Sprintf("shared with snapshot '%s': %s", shorten(s.Name, 24), blockdev.FormatSize(s.Shared)))
	}
	return out
}

func text(b *strings.Builder, x, y, size int, colour, anchor, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="%d" fill="%s" text-anchor="%s">%s</text>`+"\n", x, y, size, colour, anchor, html.EscapeString(s))
}

// shorten cuts the middle out of a long name.
func shorten(s string, n int) string {
	r := []rune(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0xfffe || c == 0xffff {
			return '\ufffd' // not a character of XML
		}
		return c
	}, s))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n/2]) + "…" + string(r[len(r)-n/2+1:])
}
