//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qmon/qmon/internal/peer"
)

// nbdPeer is a server of somebody else on a unix socket, which can be killed and started again.
type nbdPeer struct {
	t      *testing.T
	socket string
	argv   []string
	stop   func()
}

// startNBD runs argv, in which SOCKET is where to listen.
func startNBD(t *testing.T, argv ...string) *nbdPeer {
	t.Helper()
	p := &nbdPeer{t: t, socket: filepath.Join(peer.SocketDir(t), "s")}
	for _, a := range argv {
		p.argv = append(p.argv, strings.ReplaceAll(a, "SOCKET", p.socket))
	}
	p.start()
	return p
}

func (p *nbdPeer) start() {
	p.t.Helper()
	p.stop = peer.Start(p.t, p.socket, p.argv...)
}

// bootFromNBD boots U-Boot with the disk that p exports.
func bootFromNBD(t *testing.T, p *nbdPeer, options string) *session {
	t.Helper()
	s := startSession(t, append(firmware(t),
		"-drive", "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path="+p.socket+",if=none,id=d0"+options,
		"-device", "virtio-blk-device,drive=d0,bus=virtio-mmio-bus.0")...)
	s.expect("Hit any key to stop autoboot")
	s.send(" ")
	s.expect("=> ")
	if out := s.guest("virtio scan; ls virtio 0"); !strings.Contains(out, "hello.txt") {
		t.Fatalf("ls: %s", out)
	}
	return s
}

const writeMark = "fatwrite virtio 0 84000000 mark.txt 200"

// TestGuestOutlivesItsServer: the server of a guest's disk is killed while the guest writes.
// Within reconnect-delay it comes back, and neither the guest nor the file has lost anything.
func TestGuestOutlivesItsServer(t *testing.T) {
	disk := fatDisk(t)
	p := startNBD(t, "qemu-nbd", "-t", "-e", "4", "-f", "qcow2", "-k", "SOCKET", disk)
	s := bootFromNBD(t, p, ",file.reconnect-delay=60")
	s.guest("mw.b 84000000 43 200")
	p.stop()
	s.send(writeMark + "\r")
	time.Sleep(300 * time.Millisecond) // the guest waits, and so does its request
	if out := s.monitor("info status"); !strings.Contains(out, "running") {
		t.Errorf("info status: %s", out)
	}
	p.start()
	s.expect("512 bytes written")
	s.switchFocus()
	s.expect("(qemu) ")
	s.send("quit\r")
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.stop()
	if got := readFile(t, disk, "mark.txt"); !bytes.Equal(got, bytes.Repeat([]byte("C"), 512)) {
		t.Errorf("mark.txt holds %q", got)
	}
}

// TestErrorPoliciesOfARemoteDisk: past the deadline a request fails, and the drive does what
// werror says; a machine that was stopped goes on where it was when the server is back.
func TestErrorPoliciesOfARemoteDisk(t *testing.T) {
	for policy, stops := range map[string]bool{"stop": true, "report": false, "enospc": false} {
		t.Run(policy, func(t *testing.T) {
			disk := fatDisk(t)
			p := startNBD(t, "qemu-nbd", "-t", "-e", "4", "-f", "qcow2", "-k", "SOCKET", disk)
			s := bootFromNBD(t, p, ",werror="+policy+",rerror="+strings.Replace(policy, "enospc", "report", 1))
			s.guest("mw.b 84000000 44 200")
			p.stop()
			if !stops {
				if out := s.guest(writeMark); strings.Contains(out, "512 bytes written") {
					t.Errorf("a write without a server succeeded: %s", out)
				}
				return
			}
			s.send(writeMark + "\r")
			s.switchFocus()
			s.expect("(qemu) ")
			for out := ""; !strings.Contains(out, "paused (io-error)"); {
				out = s.command("info status", "(qemu) ")
			}
			p.start()
			time.Sleep(1100 * time.Millisecond) // a client that has given up tries once a second
			s.command("cont", "(qemu) ")
			s.switchFocus()
			s.expect("512 bytes written")
		})
	}
}

// TestFullRemoteDisk: a server without space stops a machine whose drive says so.
func TestFullRemoteDisk(t *testing.T) {
	disk := fatDisk(t)
	raw, full := filepath.Join(t.TempDir(), "raw"), filepath.Join(t.TempDir(), "full")
	peer.Run(t, "qemu-img", "convert", "-O", "raw", disk, raw)
	p := startNBD(t, "nbdkit", "-f", "-U", "SOCKET", "--filter=error", "file", raw,
		"error-pwrite=ENOSPC", "error-pwrite-rate=100%", "error-pwrite-file="+full)
	s := bootFromNBD(t, p, ",werror=enospc")
	s.guest("mw.b 84000000 45 200")
	if err := os.WriteFile(full, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.send(writeMark + "\r")
	s.switchFocus()
	s.expect("(qemu) ")
	for out := ""; !strings.Contains(out, "paused (io-error)"); {
		out = s.command("info status", "(qemu) ")
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	s.command("cont", "(qemu) ")
	s.switchFocus()
	s.expect("512 bytes written")
}
