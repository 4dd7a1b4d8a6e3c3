package vhdx

import (
	"encoding/binary"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// Section 2.5.1.1: payload block states, the low bits of an entry. Above them are 17
// reserved bits, and then the place of the block in the file, in MiB.
const (
	blockNotPresent    = 0
	blockUndefined     = 1
	blockZero          = 2
	blockUnmapped      = 3
	blockPresent       = 6 // also of a sector bitmap block
	blockPartlyPresent = 7 // only if there is a parent
	stateMask          = 7
	offsetShift        = 20
)

const (
	batEntrySize   = 8
	entriesPerPage = logSector / batEntrySize
	// maxPages bounds the pages of the table in memory to 16 MiB, enough for 2 Mi blocks.
	maxPages = 4096
	// maxDirtyPages is how many may wait to be written: a commit takes some of them at a
	// time, and the more wait the longer a flush takes.
	maxDirtyPages = 1024
)

// bat is the block allocation table. Pages are read as they are needed. Its user locks.
type bat struct {
	file       blockdev.Node
	name       string
	at         span // the part in use, in whole pages
	blocks     int64
	chunkRatio int64
	pages      map[int64]*batPage
	dirty      int
}

// batPage is a page of the table in memory. One that is dirty, or on its way to the file,
// stays there.
type batPage struct {
	data  [logSector]byte
	dirty bool
	busy  bool
}

func newBAT(file blockdev.Node, name string, region span, m *metadata) (*bat, error) {
	need := m.batEntries() * batEntrySize
	if need > region.len {
		return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, region.off,
			"VHDX BAT of %d bytes is too small for the disk", region.len)
	}
	return &bat{
		file: file, name: name, blocks: m.blocks(), chunkRatio: m.chunkRatio(),
		at:    span{region.off, (need + logSector - 1) / logSector * logSector},
		pages: map[int64]*batPage{},
	}, nil
}

// place is the page that has the entry of a block, and where in it. After the entries of a
// chunk comes one for its sector bitmap, section 2.5.
func (t *bat) place(block int64) (page, at int64) {
	i := block + block/t.chunkRatio
	return i / entriesPerPage, i % entriesPerPage * batEntrySize
}

// bitmapEntry is the entry for the sector bitmap block of a chunk: the page, and where in it.
func (t *bat) bitmapEntry(chunk int64) (*batPage, int64, error) {
	i := (chunk+1)*(t.chunkRatio+1) - 1
	p, err := t.page(i / entriesPerPage)
	return p, i % entriesPerPage * batEntrySize, err
}

func (t *bat) page(i int64) (*batPage, error) {
	if p := t.pages[i]; p != nil {
		return p, nil
	}
	if len(t.pages) >= maxPages {
		t.trim()
	}
	p := &batPage{}
	if _, err := t.file.ReadAt(p.data[:], t.at.off+i*logSector); err != nil {
		return nil, err
	}
	t.pages[i] = p
	return p, nil
}

// trim forgets the pages that are as in the file.
func (t *bat) trim() {
	for i, p := range t.pages {
		if !p.dirty && !p.busy {
			delete(t.pages, i)
		}
	}
}

func (t *bat) get(block int64) (uint64, error) {
	i, at := t.place(block)
	p, err := t.page(i)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(p.data[at:]), nil
}

// setPresent says that a block is at host.
func (t *bat) setPresent(block, host int64) error {
	i, at := t.place(block)
	p, err := t.page(i)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(p.data[at:], uint64(host)|blockPresent)
	if !p.dirty {
		p.dirty = true
		t.dirty++
	}
	return nil
}

// takeDirty takes copies of at most n dirty pages, which count as on their way until
// settle is called.
func (t *bat) takeDirty(n int64) []logPage {
	var out []logPage
	for i, p := range t.pages {
		if int64(len(out)) == n {
			break
		}
		if p.dirty {
			p.dirty, p.busy = false, true
			t.dirty--
			out = append(out, logPage{t.at.off + i*logSector, slices.Clone(p.data[:])})
		}
	}
	slices.SortFunc(out, func(a, b logPage) int { return int(min(max(a.off-b.off, -1), 1)) })
	return out
}

// settle ends what takeDirty began. Pages that did not reach the file are dirty again.
func (t *bat) settle(pages []logPage, written bool) {
	for _, lp := range pages {
		p := t.pages[(lp.off-t.at.off)/logSector]
		p.busy = false
		if !written && !p.dirty {
			p.dirty = true
			t.dirty++
		}
	}
}
