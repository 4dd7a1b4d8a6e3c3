package server

import (
	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// statusExtents is how many extents one answer tells about: enough for minutes of copying,
// and found fast enough that the client does not wait.
const statusExtents = 4096

// answerStatus sends one chunk for every context that is asked for.
func (c *conn) answerStatus(r *request) error {
	contexts := r.contexts
	if contexts == nil {
		contexts = c.contexts.selected
	}
	found, err := c.collect(r)
	if err != nil {
		r.err = err
		return c.acknowledge(r)
	}
	wide := c.mode == protocol.ExtendedReplies
	kind := protocol.ChunkBlockStatus
	if wide {
		kind = protocol.ChunkBlockStatusExt
	}
	for i, m := range contexts {
		extents := extentsOf(found, m, r.Flags&protocol.CmdFlagOneExtent != 0)
		payload := protocol.AppendBlockStatus(nil, m.ID, extents, wide)
		if err := c.chunk(r, kind, i == len(contexts)-1, payload, nil); err != nil {
			return err
		}
	}
	return nil
}

// collect finds out how the range is stored, as far as one answer goes.
func (c *conn) collect(r *request) ([]blockdev.Status, error) {
	limit := statusExtents
	if r.Flags&protocol.CmdFlagOneExtent != 0 {
		limit = 64 // neighbours that differ in no context make one extent
	}
	var out []blockdev.Status
	for off, left := int64(r.Offset), int64(r.length); left > 0 && len(out) < limit; {
		s, err := c.export.Backend.Status(off, left)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
		off, left = off+s.Len, left-s.Len
	}
	return out, nil
}

// extentsOf sees the range through one context; neighbours with equal flags are one extent.
func extentsOf(found []blockdev.Status, m metaContext, one bool) []protocol.Extent {
	var out []protocol.Extent
	for _, s := range found {
		flags := m.flags(s)
		if last := len(out) - 1; last >= 0 && out[last].Flags == flags {
			out[last].Length += uint64(s.Len)
			continue
		}
		if one && len(out) == 1 {
			break
		}
		out = append(out, protocol.Extent{Length: uint64(s.Len), Flags: flags})
	}
	return out
}
