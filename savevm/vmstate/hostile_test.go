package vmstate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// header is a stream up to and including the configuration.
func header(machine string) []byte {
	var e Encoder
	e.Uint32(magic)
	e.Uint32(streamVersion)
	e.Uint8(kindConfiguration)
	e.Uint32(uint32(len(machine)))
	e.Bytes([]byte(machine))
	return e.buf
}

// ramStart is a stream whose RAM section starts with the words given and then breaks off.
func ramStart(fn func(e *Encoder)) []byte {
	e := Encoder{buf: header("virt")}
	e.Uint8(kindStart)
	e.Uint32(0)
	e.name("ram")
	e.Uint32(0)
	e.Uint32(ramVersion)
	fn(&e)
	return e.buf
}

func TestStreamsThatDoNotFit(t *testing.T) {
	replace := func(old, new string) []byte {
		p := mustWrite(t, testContents())
		if !bytes.Contains(p, []byte(old)) {
			t.Fatalf("stream has no %q", old)
		}
		return bytes.Replace(p, []byte(old), []byte(new), 1)
	}
	with := func(fn func(c *Contents)) []byte {
		c := testContents()
		fn(&c)
		return mustWrite(t, c)
	}
	whole := func(int) []byte { return mustWrite(t, testContents()) }
	sectionHead := "\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x05" // instance, version, reg
	tests := []struct {
		name   string
		stream []byte
		want   string
	}{
		{"empty", nil, "unexpected EOF"},
		{"other magic", []byte("QEVN\x00\x00\x00\x03"), "Not a migration stream"},
		{"other version", []byte("QEVM\x00\x00\x00\x04"), "Unsupported migration stream version"},
		{"no configuration", append([]byte("QEVM\x00\x00\x00\x03\x01"), 0), "Configuration section missing"},
		{"endless machine type", append([]byte("QEVM\x00\x00\x00\x03\x07"), 255, 255, 255, 255), "machine type of 4294967295 bytes"},
		{"other machine", with(func(c *Contents) { c.Machine = "xirt" }), "Machine type received is 'xirt' and local is 'virt'"},
		{"configuration subsection", append(header("virt"), "\x05\x12configuration/uuid"...), "unknown subsection 'configuration/uuid'"},
		{"unknown section", with(func(c *Contents) { c.Sections[0].Name = "foo" }),
			"Unknown savevm section or instance 'foo' 0. Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices"},
		{"unknown instance", with(func(c *Contents) { c.Sections[1].Instance = 2 }), "Unknown savevm section or instance 'bus/dev' 2."},
		{"section twice", with(func(c *Contents) { c.Sections[1].Instance = 0 }), "section 'bus/dev' 0 is there twice"},
		{"section missing", with(func(c *Contents) { c.Sections = c.Sections[:1] }), "section 'bus/dev' 1 is missing"},
		{"newer version", replace(sectionHead, "\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x05"), "unsupported version 4 for 'bus/dev' v3"},
		{"older version", replace(sectionHead, "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x05"),
			"bus/dev: incoming version_id 1 is too old for local minimum version_id  2"},
		{"refused by its device", replace(sectionHead, "\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x0b\xad"), "register out of range"},
		{"no footer of RAM", replace("\x7e", "\x7d"), "Missing section footer for ram"},
		{"footer of another", replace("\x7e\x00\x00\x00\x01", "\x7e\x00\x00\x00\x07"), "Mismatched section id in footer for ram"},
		{"smaller RAM", with(func(c *Contents) { c.RAM[0].Data = c.RAM[0].Data[pageSize:] }),
			"Size mismatch: ram0: 0x4000 != 0x5000: Invalid argument"},
		{"unknown block", with(func(c *Contents) { c.RAM[1].Name = "rom1" }), "Unknown ramblock \"rom1\", cannot accept migration"},
		{"block missing", with(func(c *Contents) { c.RAM = c.RAM[1:] }), "RAM block 'ram0' is missing"},
		{"cut off", whole(0)[:1000], "unexpected EOF"},
		{"ends after configuration", append(header("virt"), kindEOF), "the RAM section is incomplete"},
		{"unknown kind", append(header("virt"), 0x33), "Unknown savevm section type 51"},
		{"part of nothing", append(header("virt"), kindPart, 0, 0, 0, 9), "Unknown savevm section 9"},
		{"block larger than the sum", ramStart(func(e *Encoder) {
			e.Uint64(pageSize | ramSizes)
			e.name("ram0")
			e.Uint64(5 * pageSize)
		}), "does not fit the sum of all"},
		{"block of no size", ramStart(func(e *Encoder) {
			e.Uint64(pageSize | ramSizes)
			e.name("ram0")
			e.Uint64(0)
		}), "does not fit the sum of all"},
		{"page of no block", ramStart(func(e *Encoder) { e.Uint64(ramPage | ramContinue) }), "RAM record that continues none"},
		{"page of unknown block", ramStart(func(e *Encoder) {
			e.Uint64(ramPage)
			e.name("ram9")
		}), "Can't find block ram9"},
		{"page behind the block", ramStart(func(e *Encoder) {
			e.Uint64(5*pageSize | ramSizes)
			e.name("ram0")
			e.Uint64(5 * pageSize)
			e.Uint64(5*pageSize | ramFill)
			e.name("ram0")
		}), "Illegal RAM offset 5000"},
		{"compressed page", ramStart(func(e *Encoder) { e.Uint64(0x100) }), "unknown combination of RAM record flags: 0x100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := testTarget()
			_, err := read(tt.stream, target)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			var be *blockdev.Error
			if !errors.As(err, &be) || !errors.Is(err, blockdev.ErrCorrupt) || be.Offset > int64(len(tt.stream)) {
				t.Errorf("not an error with a place: %#v", err)
			}
			if target.RAM[0].Data[0] != 0x55 {
				t.Error("RAM was changed")
			}
		})
	}
}

// A description whose lengths make no sense does not make a reader skip.
func TestHostileDescriptions(t *testing.T) {
	field := func(size int64, n int) StructDescription {
		return StructDescription{Fields: []FieldDescription{{Size: size, ArrayLen: n}}}
	}
	for _, s := range []StructDescription{
		field(-1, 0), field(1, -1), field(maxSkip+1, 0), field(maxSkip, 2), field(1<<40, 1<<40),
		{Fields: []FieldDescription{{Size: maxSkip}, {Size: maxSkip}}},
		{Subsections: []StructDescription{field(-20, 0)}},
		{Subsections: []StructDescription{field(maxSkip, 0)}},
	} {
		if n, err := s.checkedLength(); err == nil {
			t.Errorf("%+v: length %d", s, n)
		}
	}
	target := testTarget()
	target.Sections = target.Sections[:1]
	target.Skips = func(string) bool { return true }
	p := mustWrite(t, testContents())
	if _, err := read(p, target); err != nil {
		t.Errorf("skipping by a good description: %v", err)
	}
	cut := p[:bytes.LastIndexByte(p, kindDescription)]
	if _, err := read(cut, target); err == nil || !strings.Contains(err.Error(), "no description") {
		t.Errorf("without a description: %v", err)
	}
	bad := bytes.ReplaceAll(p, []byte(`"size":2`), []byte(`"size":3`))
	if _, err := read(bad, target); err == nil {
		t.Error("skipped to a wrong place and went on")
	}
	long := append([]byte(nil), p...)
	binary.BigEndian.PutUint32(long[bytes.LastIndexByte(p, kindDescription)+1:], 1<<31)
	if _, err := read(long, target); err == nil {
		t.Error("a description longer than the stream was believed")
	}
}

// FuzzRead looks for streams that make the reader panic, or that it accepts and then
// fails to load.
func FuzzRead(f *testing.F) {
	f.Add(mustWrite(f, testContents()))
	f.Add(header("virt"))
	f.Add(ramStart(func(e *Encoder) { e.Uint64(ramEnd) }))
	f.Add(realStream(f)[:4096])
	f.Fuzz(func(t *testing.T, p []byte) {
		target := testTarget()
		target.Skips = func(name string) bool { return name == "skipped" }
		s, err := read(p, target)
		if err != nil {
			return
		}
		if err := s.LoadRAM(context.Background(), nil); err != nil {
			t.Errorf("accepted and not loaded: %v", err)
		}
	})
}
