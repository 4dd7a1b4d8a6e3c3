package kernel

import (
	"errors"
	"io/fs"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"

	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// Numbers of linux/nbd-netlink.h.
const (
	familyName    = "nbd"
	familyVersion = 1

	commandConnect    = 1
	commandDisconnect = 2

	attrIndex       = 1
	attrSize        = 2
	attrBlockSize   = 3
	attrServerFlags = 5
	attrSockets     = 7
	attrSocketItem  = 1
	attrSocketFD    = 1
)

// sectorSize is the smallest block of a device, in bytes; what does not fill one at the
// end of an export is not shown.
const sectorSize = 512

// family talks to the kernel's NBD client.
type family struct {
	conn *genetlink.Conn
	id   genetlink.Family
}

// dial is how family is reached; tests put their own kernel there.
var dial = func() (*genetlink.Conn, error) { return genetlink.Dial(nil) }

func openFamily() (*family, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	id, err := conn.GetFamily(familyName)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNoDriver
		}
		return nil, errors.Join(err, conn.Close())
	}
	return &family{conn, id}, nil
}

// request sends one command, and waits until the kernel has done it.
func request(device string, command uint8, attributes func(*netlink.AttributeEncoder)) (err error) {
	f, err := openFamily()
	if err != nil {
		return deviceError(device, err)
	}
	defer func() { _ = f.conn.Close() }() // all was said
	e := netlink.NewAttributeEncoder()
	attributes(e)
	data, err := e.Encode()
	if err != nil {
		return deviceError(device, err)
	}
	m := genetlink.Message{Header: genetlink.Header{Command: command, Version: familyVersion}, Data: data}
	if _, err := f.conn.Execute(m, f.id.ID, netlink.Request|netlink.Acknowledge); err != nil {
		var oe *netlink.OpError
		if errors.As(err, &oe) {
			err = oe.Err
		}
		return deviceError(device, err)
	}
	return nil
}

// Connect gives the device the connections, whose handshake has told info. The kernel
// keeps the sockets; the caller may close its own descriptors.
func Connect(device string, sockets []*os.File, info protocol.ExportInfo) error {
	n, err := index(device)
	if err != nil {
		return err
	}
	return request(device, commandConnect, func(e *netlink.AttributeEncoder) {
		e.Uint32(attrIndex, n)
		e.Uint64(attrSize, info.Size/sectorSize*sectorSize)
		e.Uint64(attrBlockSize, uint64(max(info.Blocks.Minimum, sectorSize)))
		e.Uint64(attrServerFlags, uint64(info.Flags))
		e.Nested(attrSockets, func(e *netlink.AttributeEncoder) error {
			for _, s := range sockets {
				e.Nested(attrSocketItem, func(e *netlink.AttributeEncoder) error {
					e.Uint32(attrSocketFD, uint32(s.Fd()))
					return nil
				})
			}
			return nil
		})
	})
}

// Disconnect ends the device's connections.
func Disconnect(device string) error {
	n, err := index(device)
	if err != nil {
		return err
	}
	return request(device, commandDisconnect, func(e *netlink.AttributeEncoder) { e.Uint32(attrIndex, n) })
}
