package client

import (
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// BlockStatus asks how the range is stored, in one of the contexts that the server has.
// The extents begin at off; together they may end before, but not past, the range's end,
// and there is at least one.
func (c *Client) BlockStatus(context string, off, n int64) ([]protocol.Extent, error) {
	if err := c.inside("map", off, n); err != nil {
		return nil, err
	}
	id := uint32(0)
	found := false
	for _, m := range c.first.contexts {
		if m.Name == context {
			id, found = m.ID, true
		}
	}
	if !found {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "map", c.config.Address, "the export has no metadata context '%s'", context)
	}
	n = min(n, maxRange)
	if n == 0 {
		return nil, blockdev.ErrorAt(blockdev.ErrRange, "map", c.config.Address, off, "no bytes to ask about")
	}
	r := &call{request: protocol.Request{Command: protocol.CmdBlockStatus, Offset: uint64(off), Length: uint64(n)}}
	if err := c.do("map", r); err != nil {
		return nil, err
	}
	return cut(r.extents[id], uint64(n)), nil
}

// cut drops what reaches past n bytes.
func cut(extents []protocol.Extent, n uint64) []protocol.Extent {
	for i, e := range extents {
		if e.Length >= n {
			extents[i].Length = n
			return extents[:i+1]
		}
		n -= e.Length
	}
	return extents
}

// ExtentAt is the first extent of BlockStatus. Extents that the server has told about
// shortly before are remembered, as a copy asks for one after the other.
func (c *Client) ExtentAt(context string, off, n int64) (protocol.Extent, error) {
	if e, ok := c.status.find(context, off, n); ok {
		return e, nil
	}
	age := c.status.begin()
	// More than is asked for: what comes behind will be wanted next. A last block that is not
	// whole may not be asked about.
	block := int64(c.first.info.Blocks.Minimum)
	ahead := max(n, min(lookAhead, c.Size()/block*block-off))
	extents, err := c.BlockStatus(context, off, ahead)
	if err != nil {
		return protocol.Extent{}, err
	}
	if len(extents) == 0 {
		return protocol.Extent{}, blockdev.ErrorAt(blockdev.ErrCorrupt, "map", c.config.Address, off, "the server has left out the context '%s'", context)
	}
	c.status.keep(age, context, off, extents)
	return cut(extents[:1:1], uint64(n))[0], nil
}

const (
	// lookAhead is how far block status is asked for, in bytes.
	lookAhead = 64 << 20
	// statusAge is how long an answer is believed: others may write to the export.
	statusAge = time.Second
)

// statusCache is the latest answer to a block status.
type statusCache struct {
	mu      sync.Mutex
	changes uint64 // writes of our own make answers worthless
	taken   time.Time
	context string
	off     int64
	extents []protocol.Extent
}

// forget drops the answer, and one that is on its way.
func (s *statusCache) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.extents = nil
}

func (s *statusCache) begin() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// keep notes an answer unless something was written since it was asked for.
func (s *statusCache) keep(age uint64, context string, off int64, extents []protocol.Extent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == age {
		s.taken, s.context, s.off, s.extents = time.Now(), context, off, append([]protocol.Extent(nil), extents...)
	}
}

// find looks the extent at off up, cut to n bytes.
func (s *statusCache) find(context string, off, n int64) (protocol.Extent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.context != context || off < s.off || time.Since(s.taken) > statusAge {
		return protocol.Extent{}, false
	}
	at := s.off
	for _, e := range s.extents {
		end := at + int64(e.Length)
		if off < end {
			return protocol.Extent{Length: uint64(min(n, end-off)), Flags: e.Flags}, true
		}
		at = end
	}
	return protocol.Extent{}, false
}
