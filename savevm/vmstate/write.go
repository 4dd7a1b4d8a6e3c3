package vmstate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/qmon/qmon/blockdev"
)

// Contents is a machine's state to be written.
type Contents struct {
	Machine  string // type of the machine: "virt"
	RAM      []Block
	Sections []Section // in order
	Media    []blockdev.Medium
}

// Section is the state of one device to be written.
type Section struct {
	Name     string
	Instance uint32
	Version  uint32
	State    any // pointer to a struct: see the package's documentation
}

// partSize is how much RAM goes into one part of the RAM section.
const partSize = 16 << 20

// Write writes a stream to w, in pieces of a mebibyte, and returns its length in bytes. It
// stops when ctx is done. Besides one such piece and the sections of devices, one at a
// time, it holds nothing in memory.
func Write(ctx context.Context, w io.Writer, c Contents, progress Progress) (int64, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	s := &writer{ctx: ctx, w: bufio.NewWriterSize(w, streamBuffer), progress: progress}
	err := s.write(c)
	if err == nil {
		err = s.w.Flush()
	}
	return s.off, err
}

// writer writes a stream. Errors of w stay in w until Flush.
type writer struct {
	ctx      context.Context
	w        *bufio.Writer
	off      int64
	progress Progress
	lastID   uint32
	head     Encoder // of a record, used again for the next
}

func (s *writer) bytes(p []byte) {
	n, _ := s.w.Write(p)
	s.off += int64(n)
}

// encode writes what fn puts into an encoder.
func (s *writer) encode(fn func(e *Encoder)) {
	var e Encoder
	fn(&e)
	s.bytes(e.buf)
}

func (s *writer) write(c Contents) error {
	if len(c.Machine) > maxMachine {
		return fmt.Errorf("vmstate: machine type is longer than %d bytes", maxMachine)
	}
	s.encode(func(e *Encoder) {
		e.Uint32(magic)
		e.Uint32(streamVersion)
		e.Uint8(kindConfiguration)
		e.Uint32(uint32(len(c.Machine)))
		e.Bytes([]byte(c.Machine))
	})
	if err := s.ram(c.RAM); err != nil {
		return err
	}
	d := Description{PageSize: pageSize, Devices: []SectionDescription{}, Media: c.Media}
	for _, sec := range c.Sections {
		if err := s.section(sec, &d); err != nil {
			return err
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	s.encode(func(e *Encoder) {
		e.Uint8(kindEOF)
		e.Uint8(kindDescription)
		e.Uint32(uint32(len(text)))
	})
	s.bytes(text)
	return nil
}

// section writes a device's section and adds its description to d.
func (s *writer) section(sec Section, d *Description) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if sec.Name == "" || len(sec.Name) > maxName {
		return fmt.Errorf("vmstate: bad section name %q", sec.Name)
	}
	name := structureName(sec.Name)
	body, err := Marshal(name, sec.Version, sec.State)
	if err != nil {
		return err
	}
	desc, err := Describe(name, sec.Version, sec.State)
	if err != nil {
		return err
	}
	d.Devices = append(d.Devices, SectionDescription{ID: sec.Name, Instance: sec.Instance, StructDescription: desc})
	id := s.begin(kindFull, sec.Name, sec.Instance, sec.Version)
	s.bytes(body)
	s.end(id)
	return nil
}

// begin writes the header of a new section and returns its ID. IDs start at 1: QEMU takes
// a later part of section 0 for one of the first section it has not seen yet.
func (s *writer) begin(kind uint8, name string, instance, version uint32) uint32 {
	s.lastID++
	id := s.lastID
	s.encode(func(e *Encoder) {
		e.Uint8(kind)
		e.Uint32(id)
		e.name(name)
		e.Uint32(instance)
		e.Uint32(version)
	})
	return id
}

func (s *writer) end(id uint32) {
	s.encode(func(e *Encoder) {
		e.Uint8(kindFooter)
		e.Uint32(id)
	})
}

// ram writes the RAM section: the sizes of all blocks, then their pages in parts.
func (s *writer) ram(blocks []Block) error {
	total, err := checkBlocks(blocks)
	if err != nil {
		return err
	}
	id := s.begin(kindStart, ramName, 0, ramVersion)
	s.encode(func(e *Encoder) {
		e.Uint64(uint64(total) | ramSizes)
		for _, b := range blocks {
			e.name(b.Name)
			e.Uint64(uint64(roundToPage(len(b.Data))))
		}
		e.Uint64(ramEnd)
	})
	s.end(id)
	part := func(kind uint8, fn func() error) error {
		s.encode(func(e *Encoder) {
			e.Uint8(kind)
			e.Uint32(id)
		})
		if err := fn(); err != nil {
			return err
		}
		s.encode(func(e *Encoder) { e.Uint64(ramEnd) })
		s.end(id)
		return nil
	}
	var done int64
	for _, b := range blocks {
		for off := 0; off < len(b.Data); off += partSize {
			p := b.Data[off:min(off+partSize, len(b.Data))]
			if err := part(kindPart, func() error { return s.pages(b.Name, off, p) }); err != nil {
				return err
			}
			done += roundToPage(len(p))
			s.progress(done, total)
		}
	}
	return part(kindEnd, func() error { return nil })
}

// checkBlocks returns the sum of the blocks' sizes.
func checkBlocks(blocks []Block) (int64, error) {
	if len(blocks) > maxBlocks {
		return 0, fmt.Errorf("vmstate: more than %d blocks of RAM", maxBlocks)
	}
	seen := map[string]bool{}
	var total int64
	for _, b := range blocks {
		if b.Name == "" || len(b.Name) > maxName || seen[b.Name] {
			return 0, fmt.Errorf("vmstate: bad or repeated name of a RAM block: %q", b.Name)
		}
		seen[b.Name] = true
		total += roundToPage(len(b.Data))
	}
	return total, nil
}

// roundToPage is n rounded up to whole pages, as blocks are in the stream.
func roundToPage(n int) int64 { return (int64(n) + pageSize - 1) &^ (pageSize - 1) }

// zeroPage is what pages are compared with.
var zeroPage [pageSize]byte

// pages writes the records of data, which lies at off in the block called name. The first
// record of a part names its block.
func (s *writer) pages(name string, off int, data []byte) error {
	var last [pageSize]byte
	for i := 0; i < len(data); i += pageSize {
		if i%streamBuffer == 0 && s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		page := data[i:min(i+pageSize, len(data))]
		if len(page) < pageSize {
			copy(last[:], page)
			page = last[:]
		}
		zero := bytes.Equal(page, zeroPage[:])
		s.record(uint64(off+i), name, i > 0, zero)
		if !zero {
			s.bytes(page)
		}
	}
	return nil
}

// record writes what stands in front of a page, and all of a zero page.
func (s *writer) record(addr uint64, name string, same, zero bool) {
	e := &s.head
	e.buf = e.buf[:0]
	flags := uint64(ramPage)
	if zero {
		flags = ramFill
	}
	if same {
		flags |= ramContinue
	}
	e.Uint64(addr | flags)
	if !same {
		e.name(name)
	}
	if zero {
		e.Uint8(0)
	}
	s.bytes(e.buf)
}
