package vvfat

import (
	"os"

	"github.com/qmon/qmon/blockdev"
)

// overlay holds the sectors that the guest wrote: in a sparse file that has no name any
// more, with a map of which they are.
//
//	pages:  0 | - | 2 | - ...     one bit a sector; a page that is missing has none set
type overlay struct {
	f     *os.File
	name  string // to be removed at the end, "" if it is already
	pages map[uint32]*page
}

// page is the map of 2 MiB of the disk, so that the map takes a 4096th of what was written.
type page [pageSectors / 64]uint64

const pageSectors = 4096

func newOverlay() (*overlay, error) {
	f, err := os.CreateTemp(blockdev.TemporaryFolder(), temporaryPrefix+"*")
	if err != nil {
		return nil, err
	}
	o := &overlay{f: f, pages: map[uint32]*page{}}
	if os.Remove(f.Name()) != nil {
		o.name = f.Name() // Windows lets nobody unlink an open file
	}
	return o, nil
}

func (o *overlay) close() error {
	err := o.f.Close()
	if o.name != "" {
		if rerr := os.Remove(o.name); err == nil {
			err = rerr
		}
	}
	return err
}

func (o *overlay) has(sector uint32) bool {
	p := o.pages[sector/pageSectors]
	return p != nil && p[sector%pageSectors/64]>>(sector%64)&1 != 0
}

// run tells if the sector was written, and of how many of the next count sectors the same
// is true.
func (o *overlay) run(sector, count uint32) (written bool, n uint32) {
	written = o.has(sector)
	for n = 1; n < count; n++ {
		s := sector + n
		if s%pageSectors == 0 && o.pages[s/pageSectors] == nil && !written {
			n += min(pageSectors, count-n) - 1
			continue
		}
		if o.has(s) != written {
			break
		}
	}
	return written, min(n, count)
}

func (o *overlay) read(p []byte, sector uint32) error {
	_, err := o.f.ReadAt(p, int64(sector)*sectorSize)
	return err
}

func (o *overlay) write(p []byte, sector uint32) error {
	if _, err := o.f.WriteAt(p, int64(sector)*sectorSize); err != nil {
		return err
	}
	for end := sector + uint32(len(p)/sectorSize); sector < end; sector++ {
		at := sector / pageSectors
		if o.pages[at] == nil {
			o.pages[at] = new(page)
		}
		o.pages[at][sector%pageSectors/64] |= 1 << (sector % 64)
	}
	return nil
}

// forget makes sectors unwritten again.
func (o *overlay) forget(sector, count uint32) {
	for end := sector + count; sector < end; sector++ {
		if p := o.pages[sector/pageSectors]; p != nil {
			p[sector%pageSectors/64] &^= 1 << (sector % 64)
		}
	}
}
