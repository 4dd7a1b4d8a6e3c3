package riscv

import "github.com/qmon/qmon/vm"

const (
	pageParcels = pageSize / 2
	// maxCodePages bounds the decoded-instruction cache: 2048 pages of code, 67 MB.
	maxCodePages = 2048
	// storesToData is how many stores into a page of decoded code make it a page of data
	// again: relocated code and stacks beside code would be slow for ever otherwise.
	storesToData = 64
)

// codeOps are the ops of a page, by parcel. The two behind the page end it: a 32-bit
// instruction in the last parcel steps over the first.
type codeOps [pageParcels + 2]op

// codePage is a physical page with its decoded instructions.
type codePage struct {
	ops    codeOps
	base   uint64 // physical address
	bytes  *pageBytes
	epoch  uint64 // of the cache when ops were decoded
	stores int    // into the page since it became code
	live   bool   // holds decoded ops: stores must be looked at
}

// codeCache holds the decoded pages.
type codeCache struct {
	hart    *Hart
	pages   map[uint64]*codePage // by physical address
	watched map[*vm.Region]bool
	// epoch grows with every FENCE.I: pages of an older one are decoded anew.
	epoch uint64
}

func (c *codeCache) init(h *Hart) {
	*c = codeCache{hart: h, pages: map[uint64]*codePage{}, watched: map[*vm.Region]bool{}}
}

// forget makes all pages stale; the fetch tables must be cleared as well, and the run loop
// left.
func (c *codeCache) forget() { c.epoch++ }

// live tells if stores to the page at pa must be looked at.
func (c *codeCache) live(pa uint64) bool {
	p := c.pages[pa]
	return p != nil && p.live
}

// page gives the code page at physical address base, which lies in r, making it if needed.
func (c *codeCache) page(base uint64, r *vm.Region) *codePage {
	p := c.pages[base]
	if p == nil {
		if len(c.pages) >= maxCodePages {
			clear(c.pages)
			for i := range c.hart.contexts {
				c.hart.contexts[i].clearFetch()
			}
		}
		off := base - r.Base
		p = &codePage{base: base, bytes: (*pageBytes)(r.Data[off : off+pageSize]), epoch: c.epoch}
		p.end()
		c.pages[base] = p
		c.watch(r)
	}
	if p.epoch != c.epoch {
		p.undecode()
		p.epoch = c.epoch
	}
	return p
}

// end puts the marks behind the page.
func (p *codePage) end() {
	p.ops[pageParcels] = marker(opLeave)
	p.ops[pageParcels+1] = marker(opLeave)
}

// undecode forgets all ops of the page. Stores to it need not be looked at any more.
func (p *codePage) undecode() {
	if p.live {
		clear(p.ops[:])
		p.end()
	}
	p.live, p.stores = false, 0
}

// watch has DMA into the region noticed.
func (c *codeCache) watch(r *vm.Region) {
	if c.watched[r] {
		return
	}
	c.watched[r] = true
	r.Watch(func(off, n uint64) { c.changed(r.Base+off, n) })
}

// changed undecodes the pages of a range.
func (c *codeCache) changed(pa, n uint64) {
	if n == 0 {
		return
	}
	first, last := pa&^pageMask, pa+n-1
	if (last-first)>>pageShift > uint64(len(c.pages)) {
		for base, p := range c.pages {
			if base >= first && base <= last {
				p.undecode()
			}
		}
		return
	}
	for base := first; base <= last; base += pageSize {
		if p := c.pages[base]; p != nil {
			p.undecode()
		}
	}
}

// wrote undecodes what a store of the hart, within one page, has changed.
func (c *codeCache) wrote(pa, size uint64) {
	p := c.pages[pa&^pageMask]
	if p == nil || !p.live {
		return
	}
	if p.stores++; p.stores > storesToData {
		p.undecode()
		return
	}
	first, last := pa&pageMask/2, (pa+size-1)&pageMask/2
	if first > 0 {
		first-- // a 32-bit instruction before may reach into it
	}
	for i := first; i <= last; i++ {
		p.ops[i] = op{}
	}
}

// decode decodes the instruction at parcel i.
func (c *codeCache) decode(p *codePage, i uint32) {
	if !p.live {
		p.live = true
		c.hart.forgetStores(p.bytes)
	}
	at := int(i) * 2
	low := uint32(le.Uint16(p.bytes[at:]))
	switch {
	case isCompressed(low):
		p.ops[i] = decode(low)
	case at+4 > pageSize:
		p.ops[i] = marker(opCross)
	default:
		p.ops[i] = decode(le.Uint32(p.bytes[at:]))
	}
}

// singleStep executes the instruction that no code page can hold: one that crosses pages,
// or lies where the PMP or the region ends inside of the page. All its other ops leave, so
// that the run loop comes back to look pc up after it.
type singleStep struct {
	ops  codeOps
	at   uint32
	word uint32
}

// set makes the op at parcel i the given instruction.
func (s *singleStep) set(i, word uint32) *codeOps {
	if s.ops[0].code == opUndecoded {
		for k := range s.ops {
			s.ops[k] = marker(opLeave)
		}
	}
	if s.at != i || s.word != word || s.ops[i].code == opLeave {
		s.ops[s.at] = marker(opLeave)
		s.ops[i] = decode(word)
		s.at, s.word = i, word
	}
	return &s.ops
}

// lookup finds the code page that pc lies in, for the present mode: nil if it lies where no
// page can be kept. Not ok means that an exception has been raised.
func (h *Hart) lookup(pc uint64) (page *codePage, ok bool) {
	e := &h.codeCtx.fetch[pc>>pageShift%tlbSize]
	if e.tag == pc&^pageMask {
		return e.page, true
	}
	pa, ok := h.fetchAddress(pc)
	if !ok {
		return nil, false
	}
	base := pa &^ pageMask
	r := h.region(pa)
	if r == nil || r.Data == nil || base < r.Base || base-r.Base+pageSize > r.Size || !h.pmp.uniform(base) {
		return nil, true
	}
	p := h.code.page(base, r)
	*e = fetchEntry{pc &^ pageMask, p}
	h.codeCtx.used = true
	return p, true
}

// lookupSingle fetches the one instruction at pc, parcel by parcel.
func (h *Hart) lookupSingle(pc uint64) *codeOps {
	word, ok := h.fetchParcel(pc)
	if ok && !isCompressed(word) {
		var high uint32
		high, ok = h.fetchParcel(pc + 2)
		word |= high << 16
	}
	if !ok {
		return nil
	}
	return h.single.set(uint32(pc&pageMask/2), word)
}

func (h *Hart) fetchParcel(pc uint64) (uint32, bool) {
	pa, ok := h.fetchAddress(pc)
	if !ok {
		return 0, false
	}
	_, b := h.mem.Bytes(pa, 2)
	if b == nil {
		return 0, h.raise(accessFetch.accessFault(), pc)
	}
	return uint32(le.Uint16(b)), true
}

// fetchAddress translates the address of a parcel and asks the PMP.
func (h *Hart) fetchAddress(pc uint64) (uint64, bool) {
	m := h.translate(pc, accessFetch, h.priv, false)
	if !m.ok {
		return 0, h.raise(m.fault, pc)
	}
	if !h.pmp.allows(m.pa, 2, accessFetch, h.priv) {
		return 0, h.raise(accessFetch.accessFault(), pc)
	}
	return m.pa, true
}
