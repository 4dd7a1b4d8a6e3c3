package vmstate

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// Target is a machine that a stream is to be loaded into.
type Target struct {
	Machine string // type of the machine
	RAM     []Block
	// Sections must all be in the stream, in any order.
	Sections []Expected
	// Skips tells which sections and RAM blocks, known from other emulators' machines of
	// this type, hold nothing that this one has. nil skips none.
	Skips func(name string) bool
}

// Expected is a section that a machine loads.
type Expected struct {
	Name       string
	Instance   uint32
	Version    uint32
	MinVersion uint32
	New        func() any // pointer to a struct to decode into
	// Check tells if a decoded struct can be loaded; it changes nothing.
	Check func(state any, version uint32) error
}

// Loaded is a section that was decoded and checked.
type Loaded struct {
	Section
	// Index of the section in Target.Sections.
	Index int
}

// Stream is a stream that has been read once and fits its target.
type Stream struct {
	// Sections in the order of the stream.
	Sections []Loaded

	src    source
	target Target
	ramEnd int64 // offset behind the last record of RAM
}

// source is where a stream lies. Errors name it.
type source struct {
	r    io.ReaderAt
	size int64
	name string
}

// Read reads and checks the stream of size bytes in r, called name in errors: every
// section is decoded and accepted by its Check, every page of RAM has its place. Nothing
// of the target is changed. Errors have QEMU's words and the offset in the stream.
func Read(ctx context.Context, r io.ReaderAt, size int64, name string, t Target) (*Stream, error) {
	s := &Stream{src: source{r, size, name}, target: t}
	p := newParser(ctx, s.src, &s.target)
	if err := p.stream(); err != nil {
		return nil, p.locate(err)
	}
	s.Sections, s.ramEnd = p.loaded, p.ramEnd
	return s, nil
}

// LoadRAM reads the stream again and fills the target's blocks.
func (s *Stream) LoadRAM(ctx context.Context, progress Progress) error {
	p := newParser(ctx, s.src, &s.target)
	p.apply = true
	p.stop = s.ramEnd
	p.progress = progress
	err := p.stream()
	for _, b := range s.target.RAM {
		if b.Wrote != nil && len(b.Data) > 0 {
			b.Wrote(0, uint64(len(b.Data)))
		}
	}
	if err != nil {
		return p.locate(err)
	}
	return nil
}

// parser goes through a stream once.
type parser struct {
	ctx      context.Context
	d        *Decoder
	src      source
	target   *Target
	apply    bool  // fill RAM
	stop     int64 // offset to end at, 0 for the end of the stream
	progress Progress

	ram    ramParser
	loaded []Loaded
	ramEnd int64
	// lengths of sections as the description tells, read when first needed.
	lengths map[sectionKey]int64
}

type sectionKey struct {
	name     string
	instance uint32
}

func newParser(ctx context.Context, src source, t *Target) *parser {
	r := io.NewSectionReader(src.r, 0, src.size)
	buffer := int(max(min(src.size, streamBuffer), minBuffer))
	return &parser{ctx: ctx, src: src, target: t, d: newDecoder(r, buffer)}
}

// locate makes err an error of the block layer that tells the offset.
func (p *parser) locate(err error) error {
	if e := p.ctx.Err(); e != nil {
		return e
	}
	if p.d.err != nil && p.d.err != io.ErrUnexpectedEOF {
		return p.d.err // of the image, which tells where in it
	}
	return &blockdev.Error{Kind: blockdev.ErrCorrupt, Op: "load VM state", File: p.src.name, Offset: p.d.off, Err: err}
}

func (p *parser) stream() error {
	if err := p.header(); err != nil {
		return err
	}
	for p.stop == 0 || p.d.off < p.stop {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		kind := p.d.Uint8()
		if p.d.err != nil {
			return p.d.err
		}
		if kind == kindEOF {
			break
		}
		if err := p.any(kind); err != nil {
			return err
		}
	}
	if p.apply {
		return nil
	}
	return p.complete()
}

func (p *parser) header() error {
	head, version := p.d.Uint32(), p.d.Uint32()
	switch {
	case p.d.err != nil:
		return p.d.err
	case head != magic:
		return fmt.Errorf("Not a migration stream")
	case version != streamVersion:
		return fmt.Errorf("Unsupported migration stream version")
	case p.d.Uint8() != kindConfiguration:
		return fmt.Errorf("Configuration section missing")
	}
	n := p.d.Uint32()
	if n > maxMachine {
		return fmt.Errorf("machine type of %d bytes", n)
	}
	machine := make([]byte, n)
	p.d.Fill(machine)
	if p.d.err != nil {
		return p.d.err
	}
	if string(machine) != p.target.Machine {
		return fmt.Errorf("Machine type received is '%s' and local is '%s'", machine, p.target.Machine)
	}
	if name, ok := p.d.peekSubsection("configuration"); ok {
		return fmt.Errorf("unknown subsection '%s'", name)
	}
	return nil
}

// any reads one section.
func (p *parser) any(kind uint8) error {
	id := p.d.Uint32()
	switch kind {
	case kindStart, kindFull:
		key := sectionKey{p.d.name(), p.d.Uint32()}
		version := p.d.Uint32()
		if p.d.err != nil {
			return p.d.err
		}
		return p.newSection(kind, id, key, version)
	case kindPart, kindEnd:
		if !p.ram.open || id != p.ram.id {
			return fmt.Errorf("Unknown savevm section %d", id)
		}
		if err := p.ramRecords(); err != nil {
			return err
		}
		if kind == kindEnd {
			p.ram.open = false
		}
		return p.footer(ramName, id)
	}
	return fmt.Errorf("Unknown savevm section type %d", kind)
}

// footer reads the end of a section.
func (p *parser) footer(name string, id uint32) error {
	kind, found := p.d.Uint8(), p.d.Uint32()
	switch {
	case p.d.err != nil && p.d.err != io.ErrUnexpectedEOF:
		return p.d.err
	case p.d.err != nil || kind != kindFooter:
		return fmt.Errorf("Missing section footer for %s", name)
	case found != id:
		return fmt.Errorf("Mismatched section id in footer for %s - read 0x%x expected 0x%x", name, found, id)
	}
	return nil
}

func (p *parser) newSection(kind uint8, id uint32, key sectionKey, version uint32) error {
	var err error
	switch i := p.expected(key); {
	case key.name == ramName && kind == kindStart:
		if p.ram.seen {
			return fmt.Errorf("section '%s' %d is there twice", key.name, key.instance)
		}
		if version != ramVersion {
			return versionError(ramName, version, ramVersion, ramVersion)
		}
		p.ram.start(id)
		err = p.ramRecords()
	case kind == kindFull && i >= 0:
		err = p.device(i, version)
	case kind == kindFull && p.target.Skips != nil && p.target.Skips(key.name):
		err = p.skip(key)
	default:
		return fmt.Errorf("Unknown savevm section or instance '%s' %d. Make sure that your "+
			"current VM setup matches your saved VM setup, including any hotplugged devices",
			key.name, key.instance)
	}
	if err != nil {
		return err
	}
	return p.footer(key.name, id)
}

func (p *parser) expected(key sectionKey) int {
	return slices.IndexFunc(p.target.Sections, func(e Expected) bool {
		return e.Name == key.name && e.Instance == key.instance
	})
}

func versionError(name string, got, newest, oldest uint32) error {
	if got > newest {
		return fmt.Errorf("unsupported version %d for '%s' v%d", got, name, newest)
	}
	return fmt.Errorf("%s: incoming version_id %d is too old for local minimum version_id  %d", name, got, oldest)
}

// device decodes and checks the section of Target.Sections[i].
func (p *parser) device(i int, version uint32) error {
	e := p.target.Sections[i]
	if version > e.Version || version < e.MinVersion {
		return versionError(e.Name, version, e.Version, e.MinVersion)
	}
	if slices.ContainsFunc(p.loaded, func(l Loaded) bool { return l.Index == i }) {
		return fmt.Errorf("section '%s' %d is there twice", e.Name, e.Instance)
	}
	state := e.New()
	if err := p.d.Struct(structureName(e.Name), version, state); err != nil {
		return fmt.Errorf("error while loading state for instance 0x%x of device '%s': %w", e.Instance, e.Name, err)
	}
	if !p.apply && e.Check != nil {
		if err := e.Check(state, version); err != nil {
			return fmt.Errorf("error while loading state for instance 0x%x of device '%s': %w", e.Instance, e.Name, err)
		}
	}
	p.loaded = append(p.loaded, Loaded{Section{e.Name, e.Instance, version, state}, i})
	return nil
}

// complete tells if anything of the target was not in the stream.
func (p *parser) complete() error {
	if p.ram.open || !p.ram.seen {
		return fmt.Errorf("the RAM section is incomplete")
	}
	for i, e := range p.target.Sections {
		if !slices.ContainsFunc(p.loaded, func(l Loaded) bool { return l.Index == i }) {
			return fmt.Errorf("section '%s' %d is missing", e.Name, e.Instance)
		}
	}
	for i, b := range p.target.RAM {
		if !b.Optional && !p.ram.found[i] {
			return fmt.Errorf("RAM block '%s' is missing", b.Name)
		}
	}
	return nil
}
