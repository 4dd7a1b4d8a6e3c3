package blockdev

import (
	"context"
	"os"
	"path/filepath"
)

// chainKey finds the chain that is being opened in a context.
type chainKey struct{}

// chain is the way from the image the user gave down to the one being opened. A gate
// passes it on with its context.
type chain struct {
	above *chain
	file  Node
	depth int
}

// identifier is a node that knows which file of the host it is, to find loops.
type identifier interface{ FileInfo() (os.FileInfo, error) }

// follow opens what an image refers to, through the gate. o is how the image is open, own
// are options for what it refers to.
func (g *Graph) follow(ctx context.Context, ref Reference, file *Vertex, o OpenOptions, own Options) (*Vertex, error) {
	above, _ := ctx.Value(chainKey{}).(*chain)
	c := &chain{above: above, depth: 1}
	if above != nil {
		c.depth = above.depth + 1
	}
	if file != nil {
		c.file = file.Node
		if above.holds(c.file) {
			return nil, Errorf(ErrInvalid, "open", ref.Parent, "Backing file '%s' creates an infinite loop.", ref.Parent)
		}
	}
	if file != nil && !filepath.IsAbs(ref.Name) {
		var err error
		if ref.Parent, err = file.BaseName(); err != nil {
			return nil, err
		}
	}
	if c.depth > MaxBackingChain {
		return nil, Errorf(ErrLimit, "open", ref.Parent, "the backing chain is longer than %d images", MaxBackingChain)
	}
	gate := o.Gate
	if gate == nil {
		gate = DenyGate{}
	}
	mode := o.Mode
	mode.Writable = ref.Kind != RefBacking && mode.Writable
	return gate.OpenReference(context.WithValue(ctx, chainKey{}, c), g, ref, OpenOptions{
		Driver: ref.Format, Options: own, Mode: mode, Gate: o.Gate,
	})
}

// holds tells if the file of n is one of those on the way.
func (c *chain) holds(n Node) bool {
	id, ok := n.(identifier)
	if !ok {
		return false
	}
	info, err := id.FileInfo()
	if err != nil {
		return false
	}
	for ; c != nil; c = c.above {
		if other, ok := c.file.(identifier); ok {
			if i, err := other.FileInfo(); err == nil && os.SameFile(info, i) {
				return true
			}
		}
	}
	return false
}

// openBacking opens the backing file of v: the one that options describe, else the one
// that the image names.
func (p *opening) openBacking(ctx context.Context, v *Vertex) error {
	below := p.opts.Sub("backing")
	node, isRef := p.opts.Take("backing")
	n, ok := v.Node.(Backed)
	if !ok {
		return p.refuseBacking(below, node, isRef)
	}
	if isRef && node == "" || p.o.NoBacking {
		p.described = isRef
		return nil
	}
	p.described = isRef || describesNode(below)
	b, err := p.backingVertex(ctx, v, n.BackingReference(), node, below)
	if err != nil {
		return &Error{Op: "open", File: v.Filename, Offset: NoOffset, Text: "Could not open backing file", Err: err}
	}
	if b == nil {
		return nil
	}
	return v.SetBacking(b)
}

// backingVertex opens the node that is to be below v, nil for none: the node named, else
// the one described, else what the image refers to, with the options given for it.
func (p *opening) backingVertex(ctx context.Context, v *Vertex, ref Reference, node string, below Options) (*Vertex, error) {
	if node != "" {
		return p.g.reference(node)
	}
	if ref.Name != "" && saysFormatOnly(below) {
		ref.Format, _ = below.Take("driver")
	}
	if describesNode(below) {
		o := OpenOptions{Mode: p.o.Mode, Gate: p.o.Gate}
		o.Mode.Writable = false
		if _, ok := below["driver"]; !ok {
			o.Driver = ref.Format
		}
		return p.g.OpenDescription(ctx, below, o)
	}
	if ref.Name == "" {
		return nil, nil
	}
	ref.Kind = RefBacking
	return p.g.follow(ctx, ref, v.file, p.o, below)
}

// describesNode tells if options say what to open, not only how.
func describesNode(o Options) bool {
	for _, k := range []string{"driver", "filename", "file", "file.driver", "file.filename"} {
		if _, ok := o[k]; ok {
			return true
		}
	}
	return false
}

// saysFormatOnly tells if options name the format of a file that they do not name.
func saysFormatOnly(o Options) bool {
	d, err := LookupDriver(o["driver"])
	if err != nil || d.Protocol {
		return false
	}
	rest := o.Clone()
	delete(rest, "driver")
	return !describesNode(rest)
}

// refuseBacking complains about backing options of a node that has no backing file.
func (p *opening) refuseBacking(below Options, node string, isRef bool) error {
	switch {
	case isRef && node != "":
		return p.unknownOption("backing")
	case len(below) > 0:
		return p.unknownOption("backing." + below.Keys()[0])
	}
	return nil
}
