package vm

import (
	"encoding/binary"
	"fmt"
	"sort"
)

// Memory is a machine's physical address space: regions that do not overlap. It belongs to
// the machine's goroutine; devices' goroutines may touch the Data of a region between
// taking a request and completing it, as DMA does.
type Memory struct {
	regions []*Region // sorted by Base
}

// RegionKind says what lies in a region.
type RegionKind uint8

const (
	RegionRAM RegionKind = iota + 1
	RegionROM
	RegionIO
)

// Region is a range of the address space.
type Region struct {
	Name string
	Kind RegionKind
	Base uint64 // first address
	Size uint64 // bytes
	// Data is the contents of RAM and ROM, len Size. Its address never changes. Writers
	// other than processors call Wrote afterwards.
	Data []byte
	// IO is the device behind an I/O region.
	IO MMIO

	watchers []func(off, n uint64)
}

// Wrote tells whoever caches what Data holds (decoded instructions) that n bytes at off
// have changed.
func (r *Region) Wrote(off, n uint64) {
	for _, w := range r.watchers {
		w(off, n)
	}
}

// Watch has fn called after every change of Data that is not a processor's own store.
func (r *Region) Watch(fn func(off, n uint64)) { r.watchers = append(r.watchers, fn) }

// maxData bounds a region of RAM or ROM: more than a host has, less than a slice can hold.
const maxData = 1 << 44

// AddRAM adds size bytes of RAM at base.
func (m *Memory) AddRAM(name string, base, size uint64) (*Region, error) {
	return m.add(&Region{Name: name, Kind: RegionRAM, Base: base, Size: size})
}

// AddROM adds size bytes that processors cannot write.
func (m *Memory) AddROM(name string, base, size uint64) (*Region, error) {
	return m.add(&Region{Name: name, Kind: RegionROM, Base: base, Size: size})
}

// AddIO adds a device's registers.
func (m *Memory) AddIO(name string, base, size uint64, io MMIO) (*Region, error) {
	return m.add(&Region{Name: name, Kind: RegionIO, Base: base, Size: size, IO: io})
}

func (m *Memory) add(r *Region) (*Region, error) {
	i := sort.Search(len(m.regions), func(i int) bool { return m.regions[i].Base >= r.Base })
	end := r.Base + r.Size - 1
	if r.Size == 0 || end < r.Base {
		return nil, fmt.Errorf("region %s: bad size %#x at %#x", r.Name, r.Size, r.Base)
	}
	if i < len(m.regions) && m.regions[i].Base <= end {
		return nil, fmt.Errorf("region %s at %#x overlaps %s", r.Name, r.Base, m.regions[i].Name)
	}
	if i > 0 && m.regions[i-1].Base+m.regions[i-1].Size-1 >= r.Base {
		return nil, fmt.Errorf("region %s at %#x overlaps %s", r.Name, r.Base, m.regions[i-1].Name)
	}
	if r.Kind != RegionIO {
		if r.Size > maxData {
			return nil, fmt.Errorf("region %s: %#x bytes are too many", r.Name, r.Size)
		}
		r.Data = make([]byte, r.Size)
	}
	m.regions = append(m.regions, nil)
	copy(m.regions[i+1:], m.regions[i:])
	m.regions[i] = r
	return r, nil
}

// Regions lists the regions by address.
func (m *Memory) Regions() []*Region { return m.regions }

// Find returns the region that holds addr, nil for a hole.
func (m *Memory) Find(addr uint64) *Region {
	i := sort.Search(len(m.regions), func(i int) bool { return m.regions[i].Base > addr })
	if i == 0 {
		return nil
	}
	if r := m.regions[i-1]; addr-r.Base < r.Size {
		return r
	}
	return nil
}

// BusError is an access to an address where nothing answers.
type BusError struct{ Addr uint64 }

func (e *BusError) Error() string { return fmt.Sprintf("nothing at address %#x", e.Addr) }

// Bytes returns n bytes of RAM or ROM at addr in place, nil if they are not all in one
// such region. DMA works on it; writers call Wrote.
func (m *Memory) Bytes(addr, n uint64) (*Region, []byte) {
	r := m.Find(addr)
	if r == nil || r.Data == nil || n > r.Size-(addr-r.Base) {
		return nil, nil
	}
	off := addr - r.Base
	return r, r.Data[off : off+n : off+n]
}

// Read copies memory at addr into p; I/O regions are read byte by byte.
func (m *Memory) Read(addr uint64, p []byte) error {
	for len(p) > 0 {
		r := m.Find(addr)
		if r == nil {
			return &BusError{addr}
		}
		n := min(uint64(len(p)), r.Size-(addr-r.Base))
		if r.Data != nil {
			copy(p[:n], r.Data[addr-r.Base:])
		} else {
			n = 1
			v, err := r.IO.ReadMMIO(addr-r.Base, 1)
			if err != nil {
				return err
			}
			p[0] = byte(v)
		}
		p, addr = p[n:], addr+n
	}
	return nil
}

// Write copies p to RAM at addr, as a device's DMA would; ROM and I/O refuse.
func (m *Memory) Write(addr uint64, p []byte) error {
	for len(p) > 0 {
		r := m.Find(addr)
		if r == nil || r.Kind != RegionRAM {
			return &BusError{addr}
		}
		off := addr - r.Base
		n := copy(r.Data[off:], p)
		r.Wrote(off, uint64(n))
		p, addr = p[n:], addr+uint64(n)
	}
	return nil
}

// Load reads an integer of size 1, 2, 4 or 8 bytes as a processor's load would.
func (m *Memory) Load(addr uint64, size int) (uint64, error) {
	r := m.Find(addr)
	if r == nil || uint64(size) > r.Size-(addr-r.Base) {
		return 0, &BusError{addr}
	}
	off := addr - r.Base
	if r.Data == nil {
		return r.IO.ReadMMIO(off, size)
	}
	var b [8]byte
	copy(b[:size], r.Data[off:])
	return binary.LittleEndian.Uint64(b[:]), nil
}

// Store writes an integer of size 1, 2, 4 or 8 bytes as a processor's store would, except
// that caches of RAM are told (see Region.Wrote).
func (m *Memory) Store(addr uint64, size int, v uint64) error {
	r := m.Find(addr)
	if r == nil || r.Kind == RegionROM || uint64(size) > r.Size-(addr-r.Base) {
		return &BusError{addr}
	}
	off := addr - r.Base
	if r.Data == nil {
		return r.IO.WriteMMIO(off, size, v)
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	copy(r.Data[off:off+uint64(size)], b[:size])
	r.Wrote(off, uint64(size))
	return nil
}
