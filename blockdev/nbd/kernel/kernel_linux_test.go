package kernel

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// answer makes the package talk to f instead of the kernel.
func answer(t *testing.T, f genltest.Func) {
	family := genetlink.Family{ID: 42, Name: familyName, Version: familyVersion}
	was := dial
	dial = func() (*genetlink.Conn, error) { return genltest.Dial(genltest.ServeFamily(family, f)), nil }
	t.Cleanup(func() { dial = was })
}

// TestConnectMessage: the bytes are those that linux/nbd-netlink.h describes.
func TestConnectMessage(t *testing.T) {
	socket, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	got := map[uint16]uint64{}
	var fds []uint32
	answer(t, func(m genetlink.Message, _ netlink.Message) ([]genetlink.Message, error) {
		if len(m.Data) == 0 {
			return nil, io.EOF // the acknowledgement is waited for
		}
		if m.Header.Command != commandConnect {
			t.Errorf("command %d", m.Header.Command)
		}
		d, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return nil, err
		}
		for d.Next() {
			switch d.Type() {
			case attrIndex:
				got[d.Type()] = uint64(d.Uint32())
			case attrSockets:
				d.Nested(func(d *netlink.AttributeDecoder) error {
					for d.Next() {
						d.Nested(func(d *netlink.AttributeDecoder) error {
							for d.Next() {
								fds = append(fds, d.Uint32())
							}
							return d.Err()
						})
					}
					return d.Err()
				})
			default:
				got[d.Type()] = d.Uint64()
			}
		}
		return nil, d.Err()
	})
	info := protocol.ExportInfo{Size: 1<<20 + 7, Flags: protocol.FlagHasFlags | protocol.FlagSendFlush, Blocks: protocol.BlockSizes{Minimum: 4096}}
	if err := Connect("/dev/nbd3", []*os.File{socket, socket}, info); err != nil {
		t.Fatal(err)
	}
	want := map[uint16]uint64{attrIndex: 3, attrSize: 1 << 20, attrBlockSize: 4096, attrServerFlags: 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := uint32(socket.Fd()); !cmp.Equal(fds, []uint32{n, n}) {
		t.Errorf("sockets are %v", fds)
	}
}

func TestTheKernelRefuses(t *testing.T) {
	answer(t, func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) {
		return nil, genltest.Error(int(syscall.EBUSY))
	})
	for device, want := range map[string]string{
		"/dev/nbd0": "Failed to set up NBD device '/dev/nbd0': Device or resource busy",
		"/dev/null": "Failed to set up NBD device '/dev/null': not a device of the kernel's NBD client",
		"nbd-1":     "Failed to set up NBD device 'nbd-1': not a device of the kernel's NBD client",
	} {
		if err := Disconnect(device); blockdev.Message(err) != want {
			t.Errorf("%s: %q", device, blockdev.Message(err))
		}
	}
}

func TestKernelWithoutNBD(t *testing.T) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		t.Skip(err)
	}
	_, err = conn.GetFamily(familyName)
	conn.Close()
	if err == nil {
		t.Skip("this kernel has NBD")
	}
	if err := Disconnect("/dev/nbd0"); !errors.Is(err, ErrNoDriver) {
		t.Error(err)
	}
}
