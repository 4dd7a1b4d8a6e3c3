package vm

import (
	"bytes"
	"errors"
	"testing"
)

// registers is a device of 16 bytes that remembers its last access.
type registers struct {
	off  uint64
	size int
	v    uint64
}

var errRegisters = errors.New("bus error")

func (r *registers) ReadMMIO(off uint64, size int) (uint64, error) {
	r.off, r.size = off, size
	if off == 12 {
		return 0, errRegisters
	}
	return 0x40 + off, nil
}

func (r *registers) WriteMMIO(off uint64, size int, v uint64) error {
	*r = registers{off, size, v}
	return nil
}

func newMemory(t *testing.T) (*Memory, *registers) {
	t.Helper()
	m, io := &Memory{}, &registers{}
	for _, add := range []func() (*Region, error){
		func() (*Region, error) { return m.AddRAM("ram", 0x8000, 0x1000) },
		func() (*Region, error) { return m.AddROM("rom", 0x1000, 0x100) },
		func() (*Region, error) { return m.AddIO("io", 0x2000, 0x10, io) },
	} {
		if _, err := add(); err != nil {
			t.Fatal(err)
		}
	}
	return m, io
}

func TestRegionsDoNotOverlap(t *testing.T) {
	for _, test := range []struct {
		name       string
		base, size uint64
		ok         bool
	}{
		{"a hole", 0x3000, 0x100, true},
		{"right below", 0x7000, 0x1000, true},
		{"right above", 0x9000, 0x1000, true},
		{"the last page", ^uint64(0xfff), 0x1000, true},
		{"nothing", 0x3000, 0, false},
		{"past the end of the address space", ^uint64(0xfff), 0x1001, false},
		{"the beginning of RAM", 0x7001, 0x1000, false},
		{"the end of RAM", 0x8fff, 1, false},
		{"all of RAM", 0x7000, 0x3000, false},
		{"more than there is", 0x10000, 1 << 60, false},
	} {
		m, _ := newMemory(t)
		if _, err := m.AddROM("new", test.base, test.size); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestFind(t *testing.T) {
	m, _ := newMemory(t)
	for addr, want := range map[uint64]string{
		0: "", 0xfff: "", 0x1000: "rom", 0x10ff: "rom", 0x1100: "", 0x200f: "io", 0x2010: "",
		0x8000: "ram", 0x8fff: "ram", 0x9000: "", ^uint64(0): "",
	} {
		got := ""
		if r := m.Find(addr); r != nil {
			got = r.Name
		}
		if got != want {
			t.Errorf("%#x is in %q, want %q", addr, got, want)
		}
	}
}

func TestBytesAreWithinOneRegion(t *testing.T) {
	m, _ := newMemory(t)
	for _, test := range []struct {
		addr, n uint64
		ok      bool
	}{
		{0x8000, 0x1000, true}, {0x8fff, 1, true}, {0x8fff, 2, false}, {0x8000, 1 << 63, false},
		{0x1000, 0x100, true}, {0x2000, 1, false}, {0x0, 1, false}, {0x8001, ^uint64(0), false},
	} {
		if _, b := m.Bytes(test.addr, test.n); (b != nil) != test.ok {
			t.Errorf("%#x bytes at %#x: %v", test.n, test.addr, b != nil)
		}
	}
}

func TestProcessorAccess(t *testing.T) {
	m, io := newMemory(t)
	var watched [][2]uint64
	ram := m.Find(0x8000)
	ram.Watch(func(off, n uint64) { watched = append(watched, [2]uint64{off, n}) })
	for _, size := range []int{1, 2, 4, 8} {
		const v = 0x1122334455667788
		if err := m.Store(0x8010, size, v); err != nil {
			t.Fatal(err)
		}
		want := uint64(v) & (1<<(8*size) - 1)
		if size == 8 {
			want = v
		}
		if got, err := m.Load(0x8010, size); err != nil || got != want {
			t.Errorf("size %d: %#x, %v", size, got, err)
		}
	}
	if len(watched) != 4 || watched[3] != [2]uint64{0x10, 8} {
		t.Errorf("watched %v", watched)
	}
	if err := m.Store(0x2004, 4, 7); err != nil || *io != (registers{4, 4, 7}) {
		t.Errorf("%v, device saw %+v", err, *io)
	}
	if _, err := m.Load(0x200c, 4); !errors.Is(err, errRegisters) {
		t.Errorf("the device's error is lost: %v", err)
	}
	var bus *BusError
	if err := m.Store(0x1000, 4, 1); !errors.As(err, &bus) || bus.Addr != 0x1000 {
		t.Errorf("store to ROM: %v", err)
	}
	if _, err := m.Load(0x8ffd, 4); !errors.As(err, &bus) {
		t.Errorf("load across the end: %v", err)
	}
}

func TestReadAndWriteAcrossRegions(t *testing.T) {
	m, _ := newMemory(t)
	if _, err := m.AddRAM("more", 0x9000, 0x10); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{1, 2, 3}, 6)
	if err := m.Write(0x8ff8, want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if err := m.Read(0x8ff8, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if err := m.Read(0x2002, got[:3]); err != nil || !bytes.Equal(got[:3], []byte{0x42, 0x43, 0x44}) {
		t.Errorf("device: %v, %v", got[:3], err)
	}
	if m.Read(0x900f, got) == nil || m.Write(0x900f, got) == nil || m.Write(0x1000, got) == nil {
		t.Error("a hole or ROM took it")
	}
}
