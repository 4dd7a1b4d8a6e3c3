package img

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// MapOptions of [Map].
type MapOptions struct {
	Session
	Image Source
	// Start and Length are the range to be mapped, in bytes; Length -1 is all the rest.
	Start, Length int64
}

// MapEntry is a run of bytes that are stored in one way.
type MapEntry struct {
	Start  int64
	Length int64
	// Depth is how many backing files down the run was found.
	Depth int
	// Present: some image of the chain says what is there.
	Present bool
	// Zero: it reads as zeroes. Data: there may be stored bytes.
	Zero, Data bool
	// Offset where the bytes lie plainly in Filename; -1 if they do not.
	Offset   int64
	Filename string
}

// Mapping is what [Map] found, in order and without gaps.
type Mapping struct {
	Start   int64
	Entries []MapEntry
}

// Map tells where the contents of an image lie, through the whole chain. Where that cannot be
// read it fails with what was found before.
func Map(ctx context.Context, o MapOptions) (m *Mapping, err error) {
	g := o.graph()
	v, err := o.openIn(ctx, g, o.Image, access{})
	if err != nil {
		return nil, err
	}
	defer release(v, &err)
	n := blockdev.Unfiltered(v.Node) // filters do not change where the image lies
	end := v.Node.Size()
	if o.Length >= 0 && o.Start <= math.MaxInt64-o.Length {
		end = min(end, o.Start+o.Length)
	}
	m = &Mapping{Start: o.Start}
	for off := o.Start; off < end; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		st, err := blockdev.BlockStatus(n, off, end-off, nil)
		if err != nil {
			return m, wrap("map", o.Image.label(), "Could not read file metadata", err)
		}
		m.append(mapEntry(g, off, st))
		off += st.Len
	}
	return m, nil
}

func mapEntry(g *blockdev.Graph, off int64, st blockdev.Status) MapEntry {
	e := MapEntry{
		Start:   off,
		Length:  st.Len,
		Depth:   st.Depth,
		Present: st.Kind != blockdev.ExtentUnallocated,
		Zero:    st.Kind == blockdev.ExtentZero || st.Kind == blockdev.ExtentUnallocated && !st.Undefined,
		Data:    st.Kind == blockdev.ExtentData || st.Kind == blockdev.ExtentOpaque || st.Written,
		Offset:  -1,
	}
	if st.Node != nil && st.Kind != blockdev.ExtentOpaque {
		e.Offset = st.Host
		if w, ok := g.VertexOf(st.Node); ok {
			e.Filename = w.Filename
		}
	}
	return e
}

// append adds e, as part of the last entry where it goes on in the same way.
func (m *Mapping) append(e MapEntry) {
	if len(m.Entries) > 0 {
		last := &m.Entries[len(m.Entries)-1]
		next := *last
		next.Start, next.Length = e.Start, e.Length
		if next.Offset >= 0 {
			next.Offset += last.Length
		}
		if next == e {
			last.Length += e.Length
			return
		}
	}
	m.Entries = append(m.Entries, e)
}

// mapHeader is the first line of Text.
const mapHeader = "Offset          Length          Mapped to       File\n"

// Text renders the runs that hold data as qemu-img map does. It fails, with what could be
// rendered until then, if one of them does not lie plainly in a file.
func (m *Mapping) Text() (string, error) {
	var b strings.Builder
	b.WriteString(mapHeader)
	for _, e := range m.Entries {
		if !e.Data || e.Zero {
			continue
		}
		if e.Offset < 0 {
			return b.String(), blockdev.ErrorAt(blockdev.ErrNotSupported, "map", e.Filename, e.Start,
				"File contains external, encrypted or compressed clusters.")
		}
		fmt.Fprintf(&b, "%-16s%-16s%-16s%s\n", hex(e.Start), hex(e.Length), hex(e.Offset), e.Filename)
	}
	return b.String(), nil
}

// hex is C's %#x: zero has no prefix.
func hex(n int64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", n)
}

// mapLine is about how long a run's line of JSON is. An image may have millions.
const mapLine = 140

// JSON renders the runs as qemu-img map --output=json does, a line a run. A mapping of
// nothing shows one empty run.
func (m *Mapping) JSON() string {
	entries := m.Entries
	if len(entries) == 0 {
		entries = []MapEntry{{Start: m.Start, Offset: -1}}
	}
	b := make([]byte, 0, len(entries)*mapLine)
	for i, e := range entries {
		if i > 0 {
			b = append(b, ",\n"...)
		}
		b = strconv.AppendInt(append(b, `{ "start": `...), e.Start, 10)
		b = strconv.AppendInt(append(b, `, "length": `...), e.Length, 10)
		b = strconv.AppendInt(append(b, `, "depth": `...), int64(e.Depth), 10)
		b = strconv.AppendBool(append(b, `, "present": `...), e.Present)
		b = strconv.AppendBool(append(b, `, "zero": `...), e.Zero)
		b = strconv.AppendBool(append(b, `, "data": `...), e.Data)
		if e.Offset >= 0 {
			b = strconv.AppendInt(append(b, `, "offset": `...), e.Offset, 10)
		}
		b = append(b, '}')
	}
	return "[" + string(b) + "]\n"
}
