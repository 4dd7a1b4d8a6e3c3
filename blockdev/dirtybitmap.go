package blockdev

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

// Limits of a dirty bitmap. They are QEMU's.
const (
	MinDirtyGranularity = 512
	MaxDirtyGranularity = 1 << 31
	// MaxDirtyBytes is how long a bitmap may be, at 8 granules a byte.
	MaxDirtyBytes = 512 << 20
)

// DirtyBitmap notes which parts of a disk were written: a bit for each granule. It is safe
// for concurrent use. Memory is taken for the parts that are neither all clean nor all
// dirty.
type DirtyBitmap struct {
	shift uint // log2 of the granularity

	mu    sync.RWMutex
	size  int64        // of the disk, in bytes
	pages []*dirtyPage // nil is clean, fullDirtyPage is dirty
	dirty int64        // granules
}

const (
	dirtyPageBytes = 4096
	dirtyPageBits  = dirtyPageBytes * 8
)

// dirtyPage holds granules from the lowest bit on.
type dirtyPage [dirtyPageBits / 64]uint64

// fullDirtyPage stands for every page that is all dirty. It is never written.
var fullDirtyPage = func() *dirtyPage {
	p := new(dirtyPage)
	for i := range p {
		p[i] = ^uint64(0)
	}
	return p
}()

// NewDirtyBitmap makes a clean bitmap for a disk of size bytes. The granularity is in
// bytes, a power of two.
func NewDirtyBitmap(size, granularity int64) (*DirtyBitmap, error) {
	if granularity < MinDirtyGranularity || granularity > MaxDirtyGranularity || granularity&(granularity-1) != 0 {
		return nil, Errorf(ErrInvalid, "bitmap", "", "Granularity must be power of 2 and at least %d", MinDirtyGranularity)
	}
	d := &DirtyBitmap{shift: uint(bits.TrailingZeros64(uint64(granularity)))}
	return d, d.Resize(size)
}

// Size is the size of the disk in bytes.
func (d *DirtyBitmap) Size() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.size
}

// Granularity is how many bytes a bit stands for.
func (d *DirtyBitmap) Granularity() int64 { return 1 << d.shift }

// Dirty is how many bytes are dirty, in whole granules.
func (d *DirtyBitmap) Dirty() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.dirty << d.shift
}

// Resize changes the size of the disk. What is new is clean.
func (d *DirtyBitmap) Resize(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	granules := d.granules(size)
	if granules > MaxDirtyBytes*8 {
		return Errorf(ErrLimit, "bitmap", "", "Too much space will be occupied by the bitmap. Use larger granularity")
	}
	d.clear(granules, d.granules(d.size))
	pages := make([]*dirtyPage, (granules+dirtyPageBits-1)/dirtyPageBits)
	copy(pages, d.pages)
	d.pages, d.size = pages, size
	return nil
}

func (d *DirtyBitmap) granules(size int64) int64 {
	n := size >> d.shift
	if size&(1<<d.shift-1) != 0 {
		n++
	}
	return n
}

// Set makes every granule dirty that has a byte of the range.
func (d *DirtyBitmap) Set(off, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(off, n)
}

func (d *DirtyBitmap) set(off, n int64) {
	if n = min(n, d.size-off); n > 0 && off >= 0 {
		d.eachPage(off>>d.shift, d.granules(off+n), func(i int, from, to int64) {
			switch page := d.pages[i]; {
			case page == fullDirtyPage:
			case from == 0 && to == dirtyPageBits:
				d.dirty += dirtyPageBits - page.count()
				d.pages[i] = fullDirtyPage
			default:
				d.dirty += d.own(i).change(from, to, true)
			}
		})
	}
}

// Clear makes all clean.
func (d *DirtyBitmap) Clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.pages)
	d.dirty = 0
}

// clear makes a range of granules clean.
func (d *DirtyBitmap) clear(first, end int64) {
	d.eachPage(first, end, func(i int, from, to int64) {
		if d.pages[i] != nil {
			d.dirty -= d.own(i).change(from, to, false)
		}
	})
}

// eachPage calls f with each page that a range of granules lies in, and which of its bits.
func (d *DirtyBitmap) eachPage(first, end int64, f func(i int, from, to int64)) {
	for first < end {
		page, from := first/dirtyPageBits, first%dirtyPageBits
		to := min(dirtyPageBits, from+end-first)
		f(int(page), from, to)
		first += to - from
	}
}

// own gives a page that may be written.
func (d *DirtyBitmap) own(i int) *dirtyPage {
	switch d.pages[i] {
	case nil:
		d.pages[i] = new(dirtyPage)
	case fullDirtyPage:
		page := *fullDirtyPage
		d.pages[i] = &page
	}
	return d.pages[i]
}

func (p *dirtyPage) count() int64 {
	n := 0
	if p != nil {
		for _, w := range p {
			n += bits.OnesCount64(w)
		}
	}
	return int64(n)
}

// change sets or clears bits and tells how many were not so before.
func (p *dirtyPage) change(from, to int64, on bool) int64 {
	changed := 0
	for from < to {
		n := min(64-from%64, to-from)
		mask := ^uint64(0) >> (64 - n) << (from % 64)
		w := &p[from/64]
		if on {
			changed += bits.OnesCount64(mask &^ *w)
			*w |= mask
		} else {
			changed += bits.OnesCount64(mask & *w)
			*w &^= mask
		}
		from += n
	}
	return int64(changed)
}

// Status tells if the byte at off is dirty, and how many of the n bytes from there on are
// the same. n is positive. What is behind the end of the disk, which may have become smaller
// since the caller looked, is clean.
func (d *DirtyBitmap) Status(off, n int64) (dirty bool, length int64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if off >= d.size {
		return false, n
	}
	n = min(n, d.size-off)
	first, end := off>>d.shift, d.granules(off+n)
	if page := d.pages[first/dirtyPageBits]; page != nil {
		dirty = page[first%dirtyPageBits/64]>>(first%64)&1 != 0
	}
	for g := first; g < end; {
		n, more := d.pages[g/dirtyPageBits].run(g%dirtyPageBits, dirty)
		if g += n; !more {
			end = min(end, g)
		}
	}
	return dirty, min(n, end<<d.shift-off)
}

// run counts the bits from at on that are as dirty says; more tells if that may go on in the
// next page.
func (p *dirtyPage) run(at int64, dirty bool) (n int64, more bool) {
	rest := dirtyPageBits - at
	if p == nil || p == fullDirtyPage {
		if same := dirty == (p != nil); !same {
			return 0, false
		}
		return rest, true
	}
	for n < rest {
		w := p[(at+n)/64]
		if dirty {
			w = ^w
		}
		in := (at + n) % 64
		if w >>= in; w != 0 {
			return n + int64(bits.TrailingZeros64(w)), false
		}
		n += 64 - in
	}
	return rest, true
}

// Merge makes dirty what is dirty in from, which is for a disk of the same size.
func (d *DirtyBitmap) Merge(from *DirtyBitmap) error {
	if d == from {
		return nil
	}
	size := d.Size()
	if other := from.Size(); size != other {
		return Errorf(ErrInvalid, "bitmap", "",
			"Bitmaps are of different sizes (destination size is %d, source size is %d) and can't be merged", size, other)
	}
	// Only one is locked at a time: somebody may merge the other way round.
	for off := int64(0); off < size; {
		dirty, n := from.Status(off, size-off)
		if dirty {
			d.Set(off, n)
		}
		off += n
	}
	return nil
}

// EncodedSize is how many bytes the bits take, at 8 granules a byte.
func (d *DirtyBitmap) EncodedSize() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return (d.granules(d.size) + 7) / 8
}

// Encode fills p with the bits from byte at on, the first granule in the lowest bit. What
// is behind the end is 0. at and the length of p are multiples of 8.
func (d *DirtyBitmap) Encode(p []byte, at int64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	clear(p)
	for i := 0; i < len(p); i += 8 {
		word := at/8 + int64(i)/8
		page := word / (dirtyPageBits / 64)
		if page >= int64(len(d.pages)) {
			return
		}
		if d.pages[page] != nil {
			binary.LittleEndian.PutUint64(p[i:], d.pages[page][word%(dirtyPageBits/64)])
		}
	}
}

// Decode sets what is set in p, the bits from byte at on as Encode gives them.
func (d *DirtyBitmap) Decode(p []byte, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	granules := d.granules(d.size)
	for i := 0; i < len(p); i += 8 {
		first := (at + int64(i)) * 8
		if first >= granules {
			return
		}
		w := binary.LittleEndian.Uint64(p[i:])
		if rest := granules - first; rest < 64 {
			w &= 1<<rest - 1
		}
		if w == 0 {
			continue
		}
		page := d.own(int(first / dirtyPageBits))
		old := &page[first%dirtyPageBits/64]
		d.dirty += int64(bits.OnesCount64(w &^ *old))
		*old |= w
	}
}
