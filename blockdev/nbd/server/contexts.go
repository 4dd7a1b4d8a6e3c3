package server

import (
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// metaContext is one kind of block status that an export has.
type metaContext struct {
	protocol.Context
	// extent says what state the bytes at off have, and how many of n are alike.
	extent func(off, n int64) (protocol.Extent, error)
}

// IDs of contexts; those of bitmaps follow in their order.
const (
	allocationID uint32 = iota
	depthID
	firstBitmapID
)

// metaContexts are those that e offers.
func (e *Export) metaContexts() []metaContext {
	status := func(flags func(blockdev.Status) uint64) func(off, n int64) (protocol.Extent, error) {
		return func(off, n int64) (protocol.Extent, error) {
			s, err := e.Backend.Status(off, n)
			return protocol.Extent{Length: uint64(s.Len), Flags: flags(s)}, err
		}
	}
	out := []metaContext{{protocol.Context{ID: allocationID, Name: protocol.ContextAllocation}, status(allocationFlags)}}
	if e.AllocationDepth {
		out = append(out, metaContext{protocol.Context{ID: depthID, Name: protocol.ContextDepth}, status(depthFlags)})
	}
	for i, b := range e.Bitmaps {
		c := protocol.Context{ID: firstBitmapID + uint32(i), Name: protocol.ContextBitmap + b.Name}
		out = append(out, metaContext{c, b.extent})
	}
	return out
}

// Bitmap is a dirty bitmap that clients may look at as the context
// qemu:dirty-bitmap:Name. It has the export's size.
type Bitmap struct {
	Name  string
	Dirty *blockdev.DirtyBitmap
}

func (b Bitmap) extent(off, n int64) (protocol.Extent, error) {
	dirty, length := b.Dirty.Status(off, n)
	e := protocol.Extent{Length: uint64(length)}
	if dirty {
		e.Flags = protocol.StateDirty
	}
	return e, nil
}

// allocationFlags are those of base:allocation, as QEMU sets them: what reads as zeroes
// without being stored as data is a hole.
func allocationFlags(s blockdev.Status) uint64 {
	switch s.Kind {
	case blockdev.ExtentZero, blockdev.ExtentUnallocated:
		return protocol.StateHole | protocol.StateZero
	}
	return 0
}

// depthFlags count the layers down to the one that has the bytes, from 1; 0 is none.
func depthFlags(s blockdev.Status) uint64 {
	if s.Kind == blockdev.ExtentUnallocated {
		return 0
	}
	return uint64(s.Depth) + 1
}

// contextSet is what OptSetMetaContext selected, for the export that it named.
type contextSet struct {
	export   *Export
	selected []metaContext
}

// keepFor forgets the selection if it was made for another export.
func (s *contextSet) keepFor(e *Export) {
	if s.export != e {
		*s = contextSet{}
	}
}

// subset picks contexts by ID; ok is false if one was not selected.
func (s *contextSet) subset(ids []uint32) (out []metaContext, ok bool) {
	for _, id := range ids {
		found := false
		for _, m := range s.selected {
			if m.ID == id {
				out, found = append(out, m), true
			}
		}
		if !found {
			return nil, false
		}
	}
	return out, len(out) > 0
}

// metaContext answers OptListMetaContext and OptSetMetaContext.
func (c *conn) metaContext(o protocol.Option, data []byte) error {
	if o == protocol.OptSetMetaContext {
		c.contexts = contextSet{} // whatever comes of this one
	}
	q, err := protocol.DecodeContextRequest(data)
	if err != nil {
		return c.refuse(o, protocol.RepErrInvalid, err.Error())
	}
	if c.mode == protocol.SimpleReplies {
		return c.refuse(o, protocol.RepErrInvalid,
			"request option '"+o.String()+"' when structured reply is not negotiated")
	}
	e := c.server.lookup(q.Name)
	if e == nil {
		return c.refuse(o, protocol.RepErrUnknown, "export '"+q.Name+"' not present")
	}
	listing := o == protocol.OptListMetaContext
	var found []metaContext
	for _, m := range e.metaContexts() {
		if listing && len(q.Queries) == 0 || m.matches(q.Queries, listing) {
			found = append(found, m)
		}
	}
	for _, m := range found {
		answer := m.Context
		if listing {
			answer.ID = 0 // it means nothing here
		}
		if err := c.reply(o, protocol.RepMetaContext, answer.Append(nil)); err != nil {
			return err
		}
	}
	if !listing {
		c.contexts = contextSet{e, found}
	}
	return c.reply(o, protocol.RepAck, nil)
}

// matches tells if one of the queries asks for m: by name or, in a list, by namespace.
func (m *metaContext) matches(queries []string, listing bool) bool {
	for _, q := range queries {
		if q == m.Name || listing && strings.HasSuffix(q, ":") && strings.HasPrefix(m.Name, q) {
			return true
		}
	}
	return false
}
