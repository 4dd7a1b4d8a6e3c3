package monitor_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/internal/peer"
)

// TestNBDServerOfTheMonitor: what QEMU 7.2 answers to the same lines, and what a client
// finds.
func TestNBDServerOfTheMonitor(t *testing.T) {
	socket := filepath.Join(peer.SocketDir(t), "s")
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{
			image("create", "-f", "qcow2", "@DIR@/a.qcow2", "1M"), image("create", "-f", "raw", "@DIR@/b.raw", "1M"),
		},
		Setup: []string{
			"-nodefaults", "-drive", "if=none,id=disk,file=@DIR@/a.qcow2", "-drive", "if=none,id=guest,file=@DIR@/b.raw,format=raw",
			"-drive", "if=none,id=empty,media=cdrom",
		},
	})
	if err := b.drive("guest").Attach("/guest", nil); err != nil {
		t.Fatal(err)
	}
	const notRunning = "Error: NBD server not running\n"
	b.expect(mon,
		[2]string{"nbd_server_stop", notRunning},
		[2]string{"nbd_server_add disk", notRunning},
		[2]string{"nbd_server_add hda", "Error: Cannot find device='hda' nor node-name='hda'\n"},
		[2]string{"nbd_server_remove x", "Error: Export 'x' is not found\n"},
		[2]string{"nbd_server_start", "nbd_server_start: string expected\nTry \"help nbd_server_start\" for more information\n"},
		[2]string{"nbd_server_start foo", "Error: error parsing address 'foo'\n"},
		[2]string{"nbd_server_start -w unix:" + socket, "Error: -w only valid together with -a\n"},
		[2]string{"nbd_server_start unix:@DIR@/no/s", "Error: Failed to bind socket to @DIR@/no/s: No such file or directory\n"},
		[2]string{"nbd_server_start unix:" + socket, ""},
		[2]string{"nbd_server_start unix:" + socket, "Error: NBD server already running\n"},
		[2]string{"nbd_server_add empty", "Error: Device 'empty' has no medium\n"},
		[2]string{"nbd_server_add -w disk name", ""},
		[2]string{"nbd_server_add disk name", "Error: Block export id 'name' is already in use\n"},
		[2]string{"nbd_server_add guest", ""},
	)
	connect := func(export string) *client.Client {
		t.Helper()
		c, err := client.Connect(t.Context(), client.Config{
			Dial: nbd.Address{Network: "unix", Path: socket}.Dial, Address: socket, Export: export,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := connect("name")
	if c.Info().Flags&protocol.FlagCanMultiConn == 0 {
		t.Error("clients are told to use one connection")
	}
	if _, err := c.WriteAt([]byte("written"), 5000); err != nil {
		t.Error(err)
	}
	got := make([]byte, 7)
	if _, err := b.drive("disk").ReadAt(got, 5000); err != nil || !bytes.Equal(got, []byte("written")) {
		t.Errorf("the drive has %q, %v", got, err)
	}
	if _, err := connect("guest").WriteAt([]byte("x"), 0); err == nil {
		t.Error("a client wrote to a disk that is the guest's")
	}
	name := b.drive("guest").Medium().Name
	b.expect(mon,
		[2]string{"nbd_server_remove name", "Error: export 'name' still in use\nUse mode='hard' to force client disconnect\n"},
		[2]string{"nbd_server_remove -f name", ""},
		[2]string{"nbd_server_add -w guest other", "Error: Permission conflict on node '" + name +
			"': permissions 'write' are both required by an unnamed block device (uses node '" + name +
			"' as 'root' child) and unshared by block device 'guest' (uses node '" + name + "' as 'root' child).\n"},
		[2]string{"nbd_server_stop", ""},
	)
	if _, err := c.ReadAt(got, 0); err == nil {
		t.Error("a client is served after the end")
	}
	b.expect(mon, [2]string{"nbd_server_start -a unix:" + socket, ""})
	connect("disk")
	if err := mon.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if b.drive("disk").Medium() == nil {
		t.Error(blockdev.ErrNoMedium)
	}
}
