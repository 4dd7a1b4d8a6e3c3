package blockdev

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// childVertex is a child of a vertex, with the name that options have for it; "" if the
// image refers to it instead.
type childVertex struct {
	name   string
	vertex *Vertex
}

// defaultChildren are those of a driver that says nothing: formats.
var defaultChildren = []Child{{Name: "file"}}

// children are the kinds of children that a driver's nodes have.
func (d *Driver) children() []Child {
	if d == nil || d.Children == nil && !d.Protocol {
		return defaultChildren
	}
	return d.Children
}

// fileChild is the child that holds the bytes; ok is false if there is none.
func (d *Driver) fileChild() (c Child, ok bool) {
	all := d.children()
	i := slices.IndexFunc(all, func(c Child) bool { return !c.List })
	if i < 0 {
		return Child{}, false
	}
	return all[i], true
}

// openFile opens the child with the bytes: by name, by description, or a node that exists.
func (p *opening) openFile(ctx context.Context, name *fileName) (err error) {
	if name != nil && name.driver != nil && name.driver == p.driver {
		// The name says what is below: "blkdebug:rules:image".
		p.o.Options = p.o.Options.Clone()
		for k, v := range name.options {
			if _, ok := p.opts[k]; !ok {
				p.opts[k], p.o.Options[k] = v, v
			}
		}
		name = nil
	}
	c, ok := p.driver.fileChild()
	if !ok {
		return nil
	}
	p.file, err = p.openChild(ctx, c, c.Name, name)
	if err == nil && p.file == nil {
		if p.driver == nil {
			return Errorf(ErrInvalid, "open", "", "Must specify either driver or file")
		}
		return Errorf(ErrInvalid, "open", "", `A block device must be specified for "%s"`, c.Name)
	}
	return err
}

// openChild opens the child that options have key for, or that name says; nil if nothing
// does.
func (p *opening) openChild(ctx context.Context, c Child, key string, name *fileName) (*Vertex, error) {
	below := p.opts.Sub(key)
	node, isRef := p.opts.Take(key)
	if text, ok := p.opts.Take("x-" + key); ok {
		if described, ok := strings.CutPrefix(text, "json:"); ok {
			return p.openDescribed(ctx, described)
		}
		var err error
		if name, err = parseFilename(text); err != nil {
			return nil, err
		}
	}
	switch {
	case isRef && len(below) > 0:
		return nil, Errorf(ErrInvalid, "open", "", "Cannot reference an existing block device with additional options or a new filename")
	case isRef:
		return p.g.reference(node)
	case name == nil && len(below) == 0:
		return nil, nil
	}
	if _, twice := below["filename"]; twice && name != nil {
		return nil, Errorf(ErrInvalid, "open", "", "Can't specify 'file' and 'filename' options at the same time")
	}
	o := OpenOptions{Options: below, Mode: p.o.Mode, Gate: p.o.Gate}
	if _, ok := below["driver"]; !ok && !c.Image {
		if name == nil {
			name = plainFile(below["filename"])
		}
		d, err := name.lookup()
		if err != nil {
			return nil, err
		}
		o.Driver = d.Name
	}
	return p.g.open(ctx, name, o)
}

// openDescribed opens a child that a name behind a prefix describes in JSON.
func (p *opening) openDescribed(ctx context.Context, text string) (*Vertex, error) {
	options, err := ParseJSONOptions(text)
	if err != nil {
		return nil, err
	}
	return p.g.OpenDescription(ctx, options, OpenOptions{Mode: p.o.Mode, Gate: p.o.Gate})
}

// openOther is the driver's way to its further children.
func (p *opening) openOther(ctx context.Context, key string) (Node, error) {
	kind, _, _ := strings.Cut(key, ".")
	all := p.driver.children()
	i := slices.IndexFunc(all, func(c Child) bool { return c.Name == kind })
	v, err := p.openChild(ctx, all[i], key, nil)
	if v == nil || err != nil {
		return nil, err
	}
	p.others = append(p.others, childVertex{key, v})
	return v.Node, p.followMode(v)
}

// listLength counts the children of a list.
func (p *opening) listLength(name string) int {
	seen := map[int]bool{}
	for k := range p.opts {
		rest, ok := strings.CutPrefix(k, name+".")
		if !ok {
			continue
		}
		index, _, _ := strings.Cut(rest, ".")
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || i >= maxOptions {
			return -1
		}
		seen[i] = true
	}
	for i := range seen {
		if i >= len(seen) {
			return -1
		}
	}
	return len(seen)
}

// reference finds a node that options name, and adds a user to it.
func (g *Graph) reference(name string) (*Vertex, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.find(name)
	if v == nil {
		return nil, Errorf(ErrNotFound, "open", "", "Cannot find device='%s' nor node-name='%s'", name, name)
	}
	v.refs++
	return v, nil
}
