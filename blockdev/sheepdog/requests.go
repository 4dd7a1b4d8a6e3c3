package sheepdog

import (
	"context"
	"errors"
	"time"

	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// lookup finds a VDI: the working one, or the snapshot with that tag, or else number.
func (c *client) lookup(n vdiName) (p.VID, error) {
	o, err := c.call(named(p.OpLookup, n), n.encode(), nil)
	if err == nil {
		err = checkFound(n, o.VID)
	}
	return o.VID, err
}

// checkFound refuses what cannot be the id of a VDI that was found.
func checkFound(n vdiName, v p.VID) error {
	if !v.Valid() {
		return protocolError("the Sheepdog server calls VDI '%s' %#x, which is no VDI id", n.vdi, uint32(v))
	}
	return nil
}

// deleteVDI deletes a VDI, if its table names no objects.
func (c *client) deleteVDI(n vdiName) error {
	o, err := c.call(named(p.OpDeleteVDI, n), n.encode(), nil)
	if o.resent && gone(err) {
		return nil
	}
	return err
}

// named is a request about a VDI that goes by its name, which is the payload.
func named(op p.Opcode, n vdiName) p.Request { return p.Request{Opcode: op, SnapID: n.snapID} }

// readObject fills b from an object.
func (c *client) readObject(id p.ObjectID, b []byte, off uint32) error {
	_, err := c.call(p.Request{Opcode: p.OpRead, OID: id, Offset: off}, nil, b)
	return err
}

// writeObject writes to an object that exists. Who writes parts of an erasure code's
// stripes has the object alone.
func (c *client) writeObject(id p.ObjectID, b []byte, off uint32, policy uint8) error {
	if policy != 0 && splitsStripe(off, len(b)) {
		var err error
		if b, off, err = c.fillStripes(id, b, off); err != nil {
			return err
		}
	}
	_, err := c.call(p.Request{Opcode: p.OpWrite, OID: id, Offset: off, CopyPolicy: policy}, b, nil)
	return err
}

// splitsStripe tells if a range begins or ends within a stripe.
func splitsStripe(off uint32, n int) bool {
	return off%p.StripeSize != 0 || (int64(off)+int64(n))%p.StripeSize != 0
}

// fillStripes completes b by what the object holds around it.
func (c *client) fillStripes(id p.ObjectID, b []byte, off uint32) ([]byte, uint32, error) {
	head := int(off % p.StripeSize)
	size := (head + len(b) + p.StripeSize - 1) / p.StripeSize * p.StripeSize
	out, start := make([]byte, size), off-uint32(head)
	if err := c.readObject(id, out[:p.StripeSize], start); err != nil {
		return nil, 0, err
	}
	if last := size - p.StripeSize; last > 0 {
		if err := c.readObject(id, out[last:], start+uint32(last)); err != nil {
			return nil, 0, err
		}
	}
	copy(out[head:], b)
	return out, start, nil
}

// createObject makes an object of which b is all that is not zero, or, with from, not the
// same as there.
func (c *client) createObject(id, from p.ObjectID, b []byte, off uint32, policy uint8) error {
	req := p.Request{Opcode: p.OpCreateAndWrite, OID: id, Offset: off, CopyPolicy: policy}
	if from != 0 {
		req.Flags, req.CowOID = p.FlagCOW, from
	}
	_, err := c.call(req, b, nil)
	return err
}

// How long, and how often, a client looks if an object is gone that is about to be made.
const (
	lastRemovalWait   = 10 * time.Second
	firstRemovalPause = time.Millisecond
	lastRemovalPause  = 250 * time.Millisecond
)

// awaitRemoval returns when an object that no table names is not there. The daemon answers
// for a cleared table entry first and removes the object later, whatever was made of it in
// between: made again too early it would vanish, with its data. An object that stays is one
// that a crash left between making it and naming it, and is made again.
func (c *client) awaitRemoval(id p.ObjectID) error {
	pause := firstRemovalPause
	for end := time.Now().Add(c.removal); time.Now().Before(end); pause = min(2*pause, lastRemovalPause) {
		err := c.readObject(id, make([]byte, 1), 0)
		if errors.Is(err, p.NoObject) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-c.quit.Done():
		}
	}
	return nil
}

// flush asks the daemon to flush, until it says that it has nothing to. Each connection
// may lead to another daemon and asks again.
func (c *client) flush() error {
	conn, err := c.connection(context.Background())
	if err == nil && conn.flushless() {
		return nil
	}
	o, err := c.do(p.Request{Opcode: p.OpFlush}, nil, nil)
	if err == nil && o.Result == p.InvalidParams && conn != nil {
		conn.setFlushless()
		return nil
	}
	if err == nil {
		err = o.Result.Err()
	}
	return err
}
