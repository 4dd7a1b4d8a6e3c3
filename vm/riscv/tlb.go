package riscv

import "github.com/qmon/qmon/vm"

const (
	pageShift = 12
	pageSize  = 1 << pageShift
	pageMask  = pageSize - 1
)

// tlbSize is the number of entries of each direct-mapped table: enough for the working set
// of a kernel (1 MiB each for loads and stores), small enough to clear in a microsecond.
const tlbSize = 256

// noTag is a tag that no address has: tags are page-aligned.
const noTag = ^uint64(0)

// pageBytes is one page of RAM or ROM.
type pageBytes = [pageSize]byte

// tlbEntry maps a virtual page to its bytes.
type tlbEntry struct {
	tag  uint64
	page *pageBytes
}

// tlbTable is a direct-mapped table for one kind of access.
type tlbTable [tlbSize]tlbEntry

// find gives the page of an access to va of align+1 bytes, nil if the table does not know
// it or the access is not aligned: then the slow path decides.
func (t *tlbTable) find(va, align uint64) *pageBytes {
	e := &t[va>>pageShift%tlbSize]
	if va&(^uint64(pageMask)|align) != e.tag {
		return nil
	}
	return e.page
}

func (t *tlbTable) set(va uint64, p *pageBytes) {
	t[va>>pageShift%tlbSize] = tlbEntry{va &^ pageMask, p}
}

// forget takes the page of va out.
func (t *tlbTable) forget(va uint64) {
	if e := &t[va>>pageShift%tlbSize]; e.tag == va&^pageMask {
		*e = tlbEntry{tag: noTag}
	}
}

func (t *tlbTable) clear() {
	for i := range t {
		t[i] = tlbEntry{tag: noTag}
	}
}

// fetchEntry maps a virtual page to its decoded instructions.
type fetchEntry struct {
	tag  uint64
	page *codePage
}

// A tlbContext holds what one way of looking at memory has translated. Modes have their
// own, so that a trap does not flush.
type tlbContext struct {
	load, store tlbTable
	fetch       [tlbSize]fetchEntry
	used        bool // holds entries
}

// Contexts. Instruction fetch never looks at SUM and uses ctxS.
const (
	ctxU = iota
	ctxS
	ctxSUM // S mode with mstatus.SUM
	ctxM
	ctxCount
)

func (c *tlbContext) clear() {
	c.load.clear()
	c.store.clear()
	c.clearFetch()
	c.used = false
}

func (c *tlbContext) clearFetch() {
	for i := range c.fetch {
		c.fetch[i] = fetchEntry{tag: noTag}
	}
}

// flushTLB forgets all translations.
func (h *Hart) flushTLB() {
	for i := range h.contexts {
		h.contexts[i].clear()
	}
	h.super = noAddresses
}

// flushTranslated forgets the translations that depend on satp and page tables.
func (h *Hart) flushTranslated() {
	for i := range h.contexts {
		if c := &h.contexts[i]; i != ctxM && c.used {
			c.clear()
		}
	}
	h.super = noAddresses
}

// flushPage forgets the translation of one address. That of a superpage has become entries
// for many pages, which are not known any more: all are forgotten.
func (h *Hart) flushPage(va uint64) {
	if h.super.holds(va) {
		h.flushTranslated()
		return
	}
	for i := range h.contexts {
		c := &h.contexts[i]
		if i == ctxM || !c.used {
			continue
		}
		c.load.forget(va)
		c.store.forget(va)
		if e := &c.fetch[va>>pageShift%tlbSize]; e.tag == va&^pageMask {
			*e = fetchEntry{tag: noTag}
		}
	}
}

// addressRange is all addresses from first to last.
type addressRange struct{ first, last uint64 }

var noAddresses = addressRange{first: ^uint64(0)}

func (r *addressRange) holds(va uint64) bool { return va >= r.first && va <= r.last }

// include makes the range hold others, too, and what lies between.
func (r *addressRange) include(first, last uint64) {
	r.first, r.last = min(r.first, first), max(r.last, last)
}

// updateContext selects the contexts after a change of mode or mstatus.
func (h *Hart) updateContext() {
	h.codeCtx = &h.contexts[contextOf(h.priv, 0)]
	h.dataCtx = &h.contexts[contextOf(h.dataMode(), h.csrs.mstatus)]
}

func contextOf(mode uint8, mstatus uint64) int {
	switch {
	case mode == modeM:
		return ctxM
	case mode == modeU:
		return ctxU
	case mstatus&mstatusSUM != 0:
		return ctxSUM
	}
	return ctxS
}

// dataMode is the mode whose rights loads and stores have (privileged specification,
// 3.1.6.3).
func (h *Hart) dataMode() uint8 {
	if h.csrs.mstatus&mstatusMPRV != 0 {
		return uint8(h.csrs.mstatus >> mppShift & 3)
	}
	return h.priv
}

// fillTLB remembers a translation if the whole page is RAM (or ROM, for loads) and the
// PMP treats all of it alike. Pages with decoded code stay out of the store table: their
// stores must be seen.
func (h *Hart) fillTLB(va, pa uint64, acc access, r *vm.Region) {
	base := pa &^ pageMask
	off := base - r.Base
	if r.Data == nil || base < r.Base || off+pageSize > r.Size || !h.pmp.uniform(base) {
		return
	}
	h.dataCtx.used = true
	page := (*pageBytes)(r.Data[off : off+pageSize])
	switch {
	case acc == accessLoad:
		h.dataCtx.load.set(va, page)
	case r.Kind == vm.RegionRAM && !h.code.live(base):
		h.dataCtx.store.set(va, page)
	}
}

// forgetStores takes a page out of the store tables, as it now holds decoded code.
func (h *Hart) forgetStores(p *pageBytes) {
	for i := range h.contexts {
		t := &h.contexts[i].store
		for j := range t {
			if t[j].page == p {
				t[j] = tlbEntry{tag: noTag}
			}
		}
	}
}
