package vmstate

import (
	"fmt"
	"slices"
)

// ramParser is where the reading of the RAM section stands.
type ramParser struct {
	seen  bool
	open  bool // between start and end
	sized bool // the list of blocks has been read
	id    uint32
	// blocks of the stream: by name, the target's index or -1 for one to be skipped, and
	// the size.
	blocks map[string]streamBlock
	found  map[int]bool // target's blocks that are in the stream
	last   streamBlock  // that ramContinue means
	named  bool         // last is valid

	total, done int64
	reported    int64
}

type streamBlock struct {
	index int // in Target.RAM, -1 for none
	size  uint64
}

func (r *ramParser) start(id uint32) {
	*r = ramParser{seen: true, open: true, id: id, blocks: map[string]streamBlock{}, found: map[int]bool{}}
}

// ramRecords reads records up to the end of a section.
func (p *parser) ramRecords() error {
	for n := 0; ; n++ {
		if n%(streamBuffer/pageSize) == 0 && p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		word := p.d.Uint64()
		if p.d.err != nil {
			return p.d.err
		}
		addr, flags := word&^(pageSize-1), word&(pageSize-1)
		switch flags &^ ramContinue {
		case ramEnd:
			p.ramEnd = p.d.off + 5 // and the footer
			return nil
		case ramSizes:
			if err := p.ramSizes(addr); err != nil {
				return err
			}
		case ramFill, ramPage:
			if err := p.ramPage(addr, flags); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown combination of RAM record flags: 0x%x", flags)
		}
	}
}

// ramSizes reads the list of blocks, whose sizes add up to total.
func (p *parser) ramSizes(total uint64) error {
	r := &p.ram
	if r.sized {
		return fmt.Errorf("second list of RAM blocks")
	}
	r.sized = true
	for total > 0 {
		name, size := p.d.name(), p.d.Uint64()
		switch {
		case p.d.err != nil:
			return p.d.err
		case size > total || size == 0:
			return fmt.Errorf("RAM block '%s' of %#x bytes does not fit the sum of all", name, size)
		case len(r.blocks) == maxBlocks:
			return fmt.Errorf("more than %d RAM blocks", maxBlocks)
		}
		if _, twice := r.blocks[name]; twice {
			return fmt.Errorf("RAM block '%s' is there twice", name)
		}
		b, err := p.match(name, size)
		if err != nil {
			return err
		}
		r.blocks[name] = b
		total -= size
	}
	return nil
}

// match finds the target's block of a name.
func (p *parser) match(name string, size uint64) (streamBlock, error) {
	i := slices.IndexFunc(p.target.RAM, func(b Block) bool { return b.Name == name })
	if i < 0 {
		if p.target.Skips == nil || !p.target.Skips(name) {
			return streamBlock{}, fmt.Errorf("Unknown ramblock \"%s\", cannot accept migration", name)
		}
		return streamBlock{-1, size}, nil
	}
	local := uint64(roundToPage(len(p.target.RAM[i].Data)))
	if size != local {
		return streamBlock{}, fmt.Errorf("Size mismatch: %s: 0x%x != 0x%x: Invalid argument", name, size, local)
	}
	p.ram.found[i] = true
	p.ram.total += int64(size)
	return streamBlock{i, size}, nil
}

// ramPage reads a page and, if this is the pass that does it, puts it in its place.
func (p *parser) ramPage(addr, flags uint64) error {
	b, err := p.ramBlock(flags&ramContinue != 0)
	if err != nil {
		return err
	}
	if addr >= b.size {
		return fmt.Errorf("Illegal RAM offset %x", addr)
	}
	fill := flags&ramFill != 0
	if !p.apply || b.index < 0 {
		if fill {
			p.d.Skip(1)
		} else {
			p.d.Skip(pageSize)
		}
		return p.d.err
	}
	p.place(p.target.RAM[b.index].Data[addr:], fill)
	p.ram.done += pageSize
	if p.progress != nil && p.ram.done-p.ram.reported >= partSize {
		p.ram.reported = p.ram.done
		p.progress(min(p.ram.done, p.ram.total), p.ram.total)
	}
	return p.d.err
}

// place reads a page to the start of dst. A block's last page may be longer than what the
// machine has of it.
func (p *parser) place(dst []byte, fill bool) {
	n := min(len(dst), pageSize)
	if !fill {
		p.d.Fill(dst[:n])
		p.d.Skip(int64(pageSize - n))
		return
	}
	c := p.d.Uint8()
	if p.d.err != nil {
		return
	}
	clear(dst[:n])
	if c != 0 {
		for i := range dst[:n] {
			dst[i] = c
		}
	}
}

// ramBlock is the block that a record is about: the last one, or the one it names.
func (p *parser) ramBlock(same bool) (streamBlock, error) {
	r := &p.ram
	if same {
		if !r.named {
			return streamBlock{}, fmt.Errorf("RAM record that continues none")
		}
		return r.last, nil
	}
	name := p.d.name()
	if p.d.err != nil {
		return streamBlock{}, p.d.err
	}
	b, ok := r.blocks[name]
	if !ok {
		return b, fmt.Errorf("Can't find block %s", name)
	}
	r.last, r.named = b, true
	return b, nil
}
