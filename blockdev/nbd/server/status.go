package server

import "github.com/qmon/qmon/blockdev/nbd/protocol"

// statusExtents is how many extents one answer tells about: enough for minutes of copying,
// and found fast enough that the client does not wait.
const statusExtents = 4096

// answerStatus sends one chunk for every context that is asked for.
func (c *conn) answerStatus(r *request) error {
	contexts := r.contexts
	if contexts == nil {
		contexts = c.contexts.selected
	}
	wide := c.mode == protocol.ExtendedReplies
	kind := protocol.ChunkBlockStatus
	if wide {
		kind = protocol.ChunkBlockStatusExt
	}
	for i, m := range contexts {
		extents, err := m.collect(r)
		if err != nil {
			r.err = err
			return c.acknowledge(r)
		}
		payload := protocol.AppendBlockStatus(nil, m.ID, extents, wide)
		if err := c.chunk(r, kind, i == len(contexts)-1, payload, nil); err != nil {
			return err
		}
	}
	return nil
}

// collect sees the range through one context, as far as one answer goes; neighbours with
// equal flags are one extent.
func (m *metaContext) collect(r *request) ([]protocol.Extent, error) {
	one := r.Flags&protocol.CmdFlagOneExtent != 0
	var out []protocol.Extent
	off, left := int64(r.Offset), int64(r.length)
	for range statusExtents {
		if left == 0 {
			break
		}
		e, err := m.extent(off, left)
		if err != nil {
			return nil, err
		}
		last := len(out) - 1
		switch {
		case last >= 0 && out[last].Flags == e.Flags:
			out[last].Length += e.Length
		case last >= 0 && one:
			return out, nil
		default:
			out = append(out, e)
		}
		off, left = off+int64(e.Length), left-int64(e.Length)
	}
	return out, nil
}
