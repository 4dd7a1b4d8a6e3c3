package sheeptest

import (
	"bytes"
	"time"

	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// garbageVID is in failed answers to NEW_VDI.
const garbageVID = 0x7f2a

// maxVersion is the highest protocol version that the daemon accepts.
const maxVersion = 2

// handle carries out a request. It is nil for one that kills the daemon.
func (c *Cluster) handle(r p.Request, payload []byte) (*p.Response, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := &p.Response{Opcode: r.Opcode, ID: r.ID, Epoch: c.epoch}
	switch {
	case r.Version > maxVersion:
		resp.Result = p.VerMismatch
		return resp, nil
	case r.Opcode == p.OpDefaults:
		if !c.config.Unformatted {
			resp.Copies, resp.Shift = c.config.Copies, p.DefaultShift
		}
		return resp, nil
	case c.config.Unformatted:
		resp.Result = p.WaitForFormat
		return resp, nil
	}
	var out []byte
	switch r.Opcode {
	case p.OpCreateAndWrite, p.OpRead, p.OpWrite, p.OpRemove, p.OpDiscard:
		out, resp.Result = c.objectRequest(r, payload)
	case p.OpNewVDI:
		c.newVDIRequest(r, payload, resp)
	case p.OpLock, p.OpLookup, p.OpDeleteVDI:
		if !c.named(r, payload, resp) {
			return nil, nil
		}
	case p.OpRelease:
		delete(c.locked, r.BaseVID)
	case p.OpReadVDIs:
		out, resp.Result = c.bitmap(r.DataLength)
	default: // FLUSH_VDI among them: there is no cache
		resp.Result = p.InvalidParams
	}
	resp.DataLength = uint32(len(out))
	return resp, out
}

func (c *Cluster) objectRequest(r p.Request, payload []byte) ([]byte, p.Result) {
	o, size := c.objects[r.OID], c.objectSize(r.OID)
	if r.Opcode == p.OpCreateAndWrite {
		return nil, c.create(r, payload, size)
	}
	if r.Opcode == p.OpDiscard {
		return nil, c.discard(r.OID)
	}
	if o == nil {
		if r.Opcode == p.OpRead && c.erasureCoded(r.OID) {
			return make([]byte, r.DataLength), p.NoObject // as many bytes as were asked for, all the same
		}
		return nil, p.NoObject
	}
	switch r.Opcode {
	case p.OpRead:
		out := make([]byte, r.DataLength)
		o.read(out, int64(r.Offset), size)
		return out, p.Success
	case p.OpRemove:
		delete(c.objects, r.OID)
		delete(c.ledgers, r.OID)
	case p.OpWrite:
		switch {
		case o.readOnly:
			return nil, p.ReadOnly
		case r.OID.IsInode():
			c.writeInode(o, payload, int64(r.Offset))
		default:
			o.write(c.padded(r, payload), int64(r.Offset), size)
		}
	}
	return nil, p.Success
}

// padded is what the daemon makes of a write that begins with a stripe of an erasure code
// and does not fill it.
func (c *Cluster) padded(r p.Request, payload []byte) []byte {
	if !c.erasureCoded(r.OID) || r.Offset%p.StripeSize != 0 || len(payload) >= p.StripeSize {
		return payload
	}
	return append(bytes.Clone(payload), make([]byte, p.StripeSize-len(payload))...)
}

// erasureCoded tells if an object is kept as strips.
func (c *Cluster) erasureCoded(id p.ObjectID) bool {
	inode := c.objects[p.InodeID(id.VID())]
	return !id.IsInode() && inode != nil && inode.header().CopyPolicy != 0
}

// create makes an object, or wipes the one that is there.
func (c *Cluster) create(r p.Request, payload []byte, size int64) p.Result {
	o := &object{}
	if r.Flags&p.FlagCOW != 0 {
		parent := c.objects[r.CowOID]
		if parent == nil {
			return p.NoObject
		}
		o.data = bytes.Clone(parent.data)
	}
	o.write(payload, int64(r.Offset), size)
	c.objects[r.OID] = o
	return p.Success
}

// discard clears the table entry and removes the object, whoever else refers to it.
func (c *Cluster) discard(id p.ObjectID) p.Result {
	inode := c.objects[p.InodeID(id.VID())]
	if inode == nil {
		return p.NoObject
	}
	if inode.entry(id.Index()) != 0 {
		c.writeInode(inode, make([]byte, p.EntrySize), int64(p.EntryOffset(id.Index())))
		delete(c.objects, id)
	}
	return p.Success
}

func (c *Cluster) newVDIRequest(r p.Request, payload []byte, resp *p.Response) {
	if len(payload) != p.NameSize {
		resp.Result = p.InvalidParams
		return
	}
	resp.VID, resp.Result = c.newVDI(r, name(payload), time.Now())
	resp.Copies, resp.Shift = c.config.Copies, p.DefaultShift
	if resp.Result != p.Success {
		resp.VID = garbageVID
		return
	}
	n := c.objects[p.InodeID(resp.VID)].header()
	resp.Copies, resp.Shift = n.Copies, n.Shift
}

// named carries out what begins with a lookup. It is false where the daemon dies.
func (c *Cluster) named(r p.Request, payload []byte, resp *p.Response) bool {
	tag := ""
	switch len(payload) {
	case p.LookupSize:
		tag = name(payload[p.NameSize:])
	case p.NameSize:
		if r.SnapID != 0 && c.hasSnapshot(name(payload)) {
			return false
		}
	default:
		resp.Result = p.InvalidParams
		return true
	}
	resp.VID, resp.Result = c.find(name(payload), tag, r.SnapID)
	if resp.Result != p.Success {
		return true
	}
	if r.Opcode == p.OpDeleteVDI {
		c.deleteVDI(resp.VID)
		return true
	}
	n := c.objects[p.InodeID(resp.VID)].header()
	resp.Copies, resp.Shift = n.Copies, n.Shift
	if r.Opcode == p.OpLock && c.config.Locking {
		if c.locked[resp.VID] {
			resp.Result = p.VDILocked
		}
		c.locked[resp.VID] = true
	}
	return true
}

func (c *Cluster) hasSnapshot(vdi string) bool {
	for id, o := range c.objects {
		if !id.IsInode() {
			continue
		}
		if n := o.header(); n.Name == vdi && n.IsSnapshot() {
			return true
		}
	}
	return false
}

func (c *Cluster) bitmap(length uint32) ([]byte, p.Result) {
	if length != p.BitmapSize {
		return nil, p.InvalidParams
	}
	out := make([]byte, p.BitmapSize)
	for v := range c.used {
		out[v/8] |= 1 << (v % 8)
	}
	return out, p.Success
}

// name is a NUL-padded field.
func name(b []byte) string {
	b, _, _ = bytes.Cut(b[:p.NameSize], []byte{0})
	return string(b)
}
