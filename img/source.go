package img

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

// Session is what every call needs besides its image. The zero value opens images in a
// graph of their own and follows no references.
type Session struct {
	Graph *blockdev.Graph
	Gate  blockdev.Gate
	// Warn receives warnings, each a text of whole lines; nil drops them.
	Warn func(text string)
}

func (s Session) warn(text string) {
	if s.Warn != nil {
		s.Warn(text)
	}
}

func (s Session) graph() *blockdev.Graph {
	if s.Graph != nil {
		return s.Graph
	}
	return &blockdev.Graph{Notify: s.Warn}
}

// Source names an image to be opened.
type Source struct {
	// Filename is a plain name, "protocol:..." or "json:{...}".
	Filename string
	// Options describe the node in place of Filename, or beside it (--image-opts).
	Options blockdev.Options
	// Format is the driver; "" probes for one.
	Format string
	// Cache mode of the image.
	Cache blockdev.CacheMode
	// ForceShare takes no locks and accepts others writing; read-only uses only.
	ForceShare bool
	// Label is how messages name the image: Filename unless set.
	Label string
}

func (s Source) label() string {
	if s.Label != "" {
		return s.Label
	}
	return s.Filename
}

// access is how a call opens its image.
type access struct {
	writable  bool
	noIO      bool // metadata only
	check     bool // for a Checker
	noBacking bool
	unmap     bool
	snapshot  string // ID or name of an internal snapshot to open in place of the contents
}

func (s Session) open(ctx context.Context, src Source, a access) (*blockdev.Vertex, error) {
	return s.openIn(ctx, s.graph(), src, a)
}

// openIn opens src in g. The error says "Could not open 'name'" and the cause.
func (s Session) openIn(ctx context.Context, g *blockdev.Graph, src Source, a access) (*blockdev.Vertex, error) {
	v, err := g.Open(ctx, src.Filename, blockdev.OpenOptions{
		Driver:    src.Format,
		Options:   src.Options.Clone(),
		NoBacking: a.noBacking,
		Snapshot:  a.snapshot,
		Gate:      s.Gate,
		Mode: blockdev.Mode{
			Writable:   a.writable,
			Cache:      src.Cache,
			Unmap:      a.unmap,
			ForceShare: src.ForceShare,
			NoIO:       a.noIO,
			Check:      a.check,
		},
	})
	if err != nil {
		return nil, couldNotOpen(src.label(), err)
	}
	if a.writable && v.Probed && v.Driver.Name == "raw" {
		s.warn(ProbedRawWarning(src.label()))
	}
	return v, nil
}

// ProbedRawWarning says why writing to an image of guessed format is restricted: a guest
// could write another format's header into it, and the next probe would believe that.
func ProbedRawWarning(name string) string {
	return "WARNING: Image format was not specified for '" + name + "' and probing guessed raw.\n" +
		"         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n" +
		"         Specify the 'raw' format explicitly to remove the restrictions.\n"
}

func couldNotOpen(name string, err error) error {
	return wrap("open", name, "Could not open '"+name+"'", err)
}

// wrap puts a sentence before the cause of an error.
func wrap(op, file, text string, err error) error {
	return &blockdev.Error{Op: op, File: file, Offset: blockdev.NoOffset, Text: text, Err: err}
}

// release closes v after a use that may have failed already: the first error is the one
// that counts.
func release(v *blockdev.Vertex, err *error) {
	if cerr := v.Unref(); cerr != nil && *err == nil {
		*err = cerr
	}
}
