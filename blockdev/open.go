package blockdev

import (
	"context"
	"strings"
)

// OpenOptions say how Graph.Open opens.
type OpenOptions struct {
	// Driver names the driver; "" probes the format. Options may say it too ("driver").
	Driver string
	// Options for the node and, with dotted keys, its children.
	Options  Options
	NodeName string
	Mode     Mode
	// DetectZeroes is what is done about zeroes in a drive's writes; the option
	// detect-zeroes has precedence.
	DetectZeroes DetectZeroes
	// NoBacking leaves the backing file closed: what is unallocated reads as zeroes.
	NoBacking bool
	// Snapshot opens an internal snapshot (ID or name) instead of the present contents.
	Snapshot string
	// Gate opens what the image refers to; nil is DenyGate.
	Gate Gate
}

// Open opens filename, which may be a plain name, "protocol:..." or a "json:{...}"
// description, and everything it needs. The caller owns one reference: Unref it.
//
// filename is what a user gave; "" if the options say it all. A name found inside an image
// goes to [Graph.OpenPlain].
func (g *Graph) Open(ctx context.Context, filename string, o OpenOptions) (*Vertex, error) {
	if len(filename) > MaxFilename {
		return nil, Errorf(ErrLimit, "open", "", "file name is longer than %d bytes", MaxFilename)
	}
	if filename == "" && len(o.Options) > 0 {
		return g.OpenDescription(ctx, o.Options, o)
	}
	if text, ok := strings.CutPrefix(filename, "json:"); ok {
		described, err := ParseJSONOptions(text)
		if err != nil {
			return nil, err
		}
		for k, v := range o.Options {
			described[k] = v
		}
		return g.OpenDescription(ctx, described, o)
	}
	name, err := parseFilename(filename)
	if err != nil {
		return nil, err
	}
	return g.open(ctx, name, o)
}

// OpenPlain opens a plain name of a local file, whatever characters it has: no protocol
// prefix and no description is looked for. A Gate opens references with it.
func (g *Graph) OpenPlain(ctx context.Context, filename string, o OpenOptions) (*Vertex, error) {
	return g.open(ctx, plainFile(filename), o)
}

// OpenDescription opens what options alone describe, as -blockdev, drive_add -n,
// --image-opts and json: do. o.Options is ignored. "file" and "backing" may name nodes of
// the graph instead of describing them.
func (g *Graph) OpenDescription(ctx context.Context, description Options, o OpenOptions) (*Vertex, error) {
	if len(description) > maxOptions {
		return nil, Errorf(ErrLimit, "open", "", "more than %d options", maxOptions)
	}
	o.Options = description
	return g.open(ctx, nil, o)
}

// fileName is a name that selects a protocol and says what to open with it.
type fileName struct {
	driver  *Driver // nil for a plain name
	exact   bool    // "file:" was said: the name is a regular file's, not a drive's
	text    string  // as the user wrote it
	options Options // what the text means to the driver
}

// fileDriver is the protocol of names without a prefix.
const fileDriver = "file"

func plainFile(text string) *fileName {
	return &fileName{text: text, options: Options{"filename": text}}
}

// parseFilename splits the protocol prefix off. A colon behind a slash is part of a path.
func parseFilename(text string) (*fileName, error) {
	prefix, rest, ok := strings.Cut(text, ":")
	if !ok || strings.Contains(prefix, "/") || isDriveLetter(text) {
		return plainFile(text), nil
	}
	if prefix == fileDriver {
		if before, _, ok := strings.Cut(rest, ":"); ok && !strings.Contains(before, "/") && !isDriveLetter(rest) {
			rest = "./" + rest // so that the name alone means the same file
		}
		name := plainFile(rest)
		name.exact = true
		return name, nil
	}
	for _, d := range Drivers() {
		for _, p := range d.Prefixes {
			if p != prefix {
				continue
			}
			name := &fileName{driver: d, text: text, options: Options{"filename": text}}
			if d.ParseFilename != nil {
				o, err := d.ParseFilename(text)
				if err != nil {
					return nil, err
				}
				name.options = o
			}
			return name, nil
		}
	}
	return nil, Errorf(ErrNotFound, "open", text, "Unknown protocol '%s'", prefix)
}

// lookup finds the name's driver.
func (f *fileName) lookup() (*Driver, error) {
	if f.driver != nil {
		return f.driver, nil
	}
	for _, d := range Drivers() {
		if d.ClaimsName != nil && !f.exact && d.ClaimsName(f.options["filename"]) {
			return d, nil
		}
	}
	return LookupDriver(fileDriver)
}

// opening is one vertex on its way into the graph.
type opening struct {
	g      *Graph
	o      OpenOptions
	opts   Options // the node's own, and those of children that are not described yet
	common commonOptions
	file   *Vertex
	others []childVertex // opened for the driver beside file
	driver *Driver
	probed bool
	// described is set if the backing file was given by the user, not by the image.
	described bool
	text      string
}

// open opens a node: name is the file name given, nil if the options say it all.
func (g *Graph) open(ctx context.Context, name *fileName, o OpenOptions) (*Vertex, error) {
	p := &opening{g: g, o: o, opts: o.Options.Clone()}
	if err := p.parseCommon(); err != nil {
		return nil, err
	}
	var err error
	if p.common.driver != "" {
		if p.driver, err = LookupDriver(p.common.driver); err != nil {
			return nil, err
		}
	}
	if p.driver != nil && p.driver.Protocol {
		return p.openProtocol(ctx, name)
	}
	if err := p.openFile(ctx, name); err != nil {
		p.abandon()
		return nil, err
	}
	v, err := p.openFormat(ctx)
	if err != nil {
		p.abandon()
		return nil, err
	}
	if o.Snapshot != "" {
		return g.openSnapshot(v, o.Snapshot)
	}
	return v, nil
}

// abandon closes what was opened for a vertex that will not be.
func (p *opening) abandon() {
	for _, c := range append(p.others, childVertex{vertex: p.file}) {
		if c.vertex != nil {
			_ = c.vertex.Unref() // the reason for giving up is reported instead
		}
	}
}

// openProtocol opens a node that holds bytes itself.
func (p *opening) openProtocol(ctx context.Context, name *fileName) (*Vertex, error) {
	if name != nil {
		p.text = name.text
		for k, v := range name.options {
			if _, ok := p.opts[k]; !ok {
				p.opts[k] = v
			}
		}
	}
	if f, ok := p.opts["filename"]; ok {
		p.text = f
	}
	values, err := p.driver.OpenOptions.Parse(p.opts)
	if err != nil {
		return nil, p.optionError(err)
	}
	node, err := p.driver.Open(ctx, OpenRequest{Filename: p.text, Options: values, Mode: p.o.Mode})
	if err != nil {
		return nil, err
	}
	return p.vertex(node)
}

// openFormat opens the format over p.file, probing for it if need be, and its backing.
func (p *opening) openFormat(ctx context.Context) (*Vertex, error) {
	if p.file != nil {
		p.text = p.file.Filename
	}
	if p.driver == nil {
		d, err := ProbeFormat(p.file.Node, p.file.Filename)
		if err != nil {
			return nil, err
		}
		p.driver, p.probed = d, true
	}
	values, err := p.driver.OpenOptions.Parse(p.formatOptions())
	if err != nil {
		return nil, p.optionError(err)
	}
	r := OpenRequest{
		Filename: p.text, Options: values, Probed: p.probed,
		OpenChild: p.openOther, ListLength: p.listLength, OpenReference: p.openReference,
		Notify: p.g.Notify,
	}
	if p.file != nil {
		r.File, r.FileDriver, r.BaseName = p.file.Node, p.file.driverName(), p.file.BaseName
		if err := p.followMode(p.file); err != nil {
			return nil, err
		}
	}
	r.Mode = p.o.Mode
	node, err := p.driver.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	v, err := p.vertex(node)
	if err != nil {
		return nil, err
	}
	p.file, p.others = nil, nil // v's now
	if err := p.openBacking(ctx, v); err != nil {
		_ = v.Unref() // the reason for giving up is reported instead
		return nil, err
	}
	v.Filename = v.describe(p.described)
	return v, nil
}

// followMode makes the node read-only where its child is: the file fell back, or the node
// named is read-only.
func (p *opening) followMode(child *Vertex) error {
	if !p.o.Mode.Writable || child.Mode().Writable {
		return nil
	}
	p.o.Mode.Writable = false
	if !p.o.Mode.AutoReadOnly {
		return Errorf(ErrReadOnly, "open", p.text, "Block node is read-only")
	}
	return nil
}

// formatOptions are the driver's own: those of its children stay out.
func (p *opening) formatOptions() Options {
	own := p.opts.Clone()
	for _, c := range append(p.driver.children(), Child{Name: "backing"}) {
		own.Sub(c.Name)
		own.Take(c.Name)
		own.Take("x-" + c.Name)
	}
	return own
}

// openReference is the driver's way to other files: through the gate.
func (p *opening) openReference(ctx context.Context, ref Reference) (Node, error) {
	v, err := p.g.follow(ctx, ref, p.file, p.o, nil)
	if err != nil {
		return nil, err
	}
	p.others = append(p.others, childVertex{vertex: v})
	return v.Node, nil
}

// vertex puts the opened node into the graph.
func (p *opening) vertex(node Node) (*Vertex, error) {
	v := &Vertex{
		Node: node, Driver: p.driver, Options: p.o.Options.Clone(), Probed: p.probed,
		mode: p.o.Mode, file: p.file, others: p.others, detectZeroes: p.common.detectZeroes,
	}
	if r, ok := node.(interface{ Writable() bool }); ok {
		v.mode.Writable = r.Writable()
	}
	v.Filename = p.text
	if p.driver.Protocol {
		v.Filename = describeProtocol(p.driver, p.text, p.opts)
		if f, ok := node.(interface{ Filename() string }); ok && f.Filename() != "" {
			v.Filename = f.Filename()
		}
	}
	if err := p.g.insert(v, p.common.nodeName); err != nil {
		return nil, firstError([]error{err, node.Close()})
	}
	return v, nil
}

// openSnapshot puts the internal snapshot, by ID or name, in v's place.
func (g *Graph) openSnapshot(v *Vertex, id string) (*Vertex, error) {
	s, err := g.snapshotVertex(v, id)
	if err != nil {
		_ = v.Unref() // the reason for giving up is reported instead
	}
	return s, err
}

func (g *Graph) snapshotVertex(v *Vertex, id string) (*Vertex, error) {
	store, ok := v.Node.(Snapshotter)
	if !ok {
		return nil, Errorf(ErrNotSupported, "open", v.Filename,
			"Block format '%s' used by device '' does not support temporarily loading internal snapshots", v.driverName())
	}
	s, err := FindSnapshot(store, id)
	if err != nil {
		return nil, err
	}
	node, err := store.OpenSnapshot(s.ID)
	if err != nil {
		return nil, err
	}
	out := &Vertex{
		Node: node, Driver: v.Driver, Filename: v.Filename, Options: v.Options, Probed: v.Probed,
		mode: v.mode, others: []childVertex{{vertex: v}},
	}
	out.mode.Writable = false
	if err := g.insert(out, ""); err != nil {
		return nil, firstError([]error{err, node.Close()})
	}
	return out, nil
}

// FindSnapshot finds an internal snapshot by ID or, if there is none, by name.
func FindSnapshot(s Snapshotter, idOrName string) (Snapshot, error) {
	list, err := s.Snapshots()
	if err != nil {
		return Snapshot{}, err
	}
	for _, snap := range list {
		if snap.ID == idOrName {
			return snap, nil
		}
	}
	for _, snap := range list {
		if snap.Name == idOrName {
			return snap, nil
		}
	}
	return Snapshot{}, Errorf(ErrNotFound, "open", "", "Can't find snapshot")
}
