//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/vm/virt/guest"
)

// TestSCSIStateOfTheOther saves a machine with SCSI units, an attention about a new CD waiting,
// in one program and goes on in the other: QEMU from ours, ours from QEMU's.
func TestSCSIStateOfTheOther(t *testing.T) {
	peer.Need(t, "qemu-system-riscv64", "qemu-img", "xorriso")
	theirs, err := exec.LookPath("qemu-system-riscv64")
	if err != nil {
		t.Fatal(err)
	}
	ours := binary(t, "qemu-system-riscv64")
	for name, programs := range map[string][2]string{"QEMU from ours": {ours, theirs}, "ours from QEMU's": {theirs, ours}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join(dir, "guest.bin")
			if err := os.WriteFile(program, guest.Program, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, disk := range []string{"a", "b"} {
				peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", filepath.Join(dir, disk), "8M")
			}
			first := iso(t, dir, "first", "one\n")
			args := []string{
				"-machine", "virt", "-m", "64", "-nographic", "-nodefaults", "-serial", "mon:stdio", "-bios", program,
				"-drive", "if=none,id=a,format=qcow2,file=" + filepath.Join(dir, "a"), "-device", "virtio-blk-device,drive=a",
				"-device", "virtio-scsi-device,id=s0",
				"-drive", "if=none,id=b,format=qcow2,file=" + filepath.Join(dir, "b"), "-device", "scsi-hd,drive=b,bus=s0.0",
				"-drive", "if=none,id=cd,format=raw,media=cdrom,file=" + first, "-device", "scsi-cd,drive=cd,bus=s0.0",
			}
			s := startProgram(t, dir, programs[0], args...)
			s.expect("guest> ")
			s.expectGuest("cd", "label FIRST")
			s.switchFocus()
			s.expect("(qemu) ")
			for _, line := range []string{"change cd " + first + " raw", "savevm x"} {
				s.send(line + "\r")
				s.expect("\n(qemu) ")
			}
			s.send("quit\r")
			s.end()

			s = startProgram(t, dir, programs[1], append(args, "-loadvm", "x")...)
			s.expectTyping("\r", "guest> ")
			s.expectGuest("cd", "there is a new CD")
			s.expectGuest("cd", "label FIRST")
			s.expectGuest("eject", "the tray is open")
			s.send("\x01x")
			s.end()
		})
	}
}

// expectGuest types at the built-in guest's prompt and looks for text in the answer.
func (s *session) expectGuest(line, want string) {
	s.t.Helper()
	if out := s.guestCommand(line); !strings.Contains(out, want) {
		s.t.Errorf("%s: %s, want %q", line, out, want)
	}
}
