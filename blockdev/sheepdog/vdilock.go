package sheepdog

import (
	"errors"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// heldLock is which VDI a client has locked.
type heldLock struct {
	mu   sync.Mutex
	name vdiName
	vid  p.VID // 0 for none
}

func (l *heldLock) set(n vdiName, v p.VID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name, l.vid = n, v
}

func (l *heldLock) get() (vdiName, p.VID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.name, l.vid
}

// lock finds the working VDI of a name and locks it.
func (c *client) lock(n vdiName) (p.VID, error) {
	o, err := c.call(named(p.OpLock, n), n.encode(), nil)
	if err == nil {
		err = checkFound(n, o.VID)
	}
	if err != nil {
		return 0, lockError(o, err)
	}
	c.held.set(n, o.VID)
	return o.VID, nil
}

// release unlocks a VDI, whoever has locked it.
func (c *client) release(v p.VID) error {
	c.held.set(vdiName{}, 0)
	_, err := c.call(p.Request{Opcode: p.OpRelease, BaseVID: v}, nil, nil)
	return err
}

// relock asks for the lock again over a new connection: it is gone if all daemons were
// started anew. Mostly it is still there, and the answer is no.
func (c *client) relock(conn *conn, wait time.Duration) {
	n, v := c.held.get()
	if v == 0 {
		return
	}
	resp, err := conn.roundTrip(named(p.OpLock, n), n.encode(), nil, wait)
	if err != nil || resp.Result != p.Success || resp.VID == v {
		return
	}
	// Another client took a snapshot meanwhile, and the VDI that followed is its own.
	_, _ = conn.roundTrip(p.Request{Opcode: p.OpRelease, BaseVID: resp.VID}, nil, nil, wait)
}

// lockError says what to do about a lock, which a crash leaves behind.
func lockError(o outcome, err error) error {
	if !errors.Is(err, p.VDILocked) {
		return err
	}
	text := "it is open for writing somewhere"
	if o.resent {
		text = "it is open for writing somewhere, or this client has locked it before its connection broke"
	}
	return &blockdev.Error{Kind: blockdev.ErrInUse, Offset: blockdev.NoOffset, Err: err,
		Text: text + " (if its user crashed, the option break-lock=on takes the lock over)"}
}
