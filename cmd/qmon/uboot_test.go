//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

// firmware are the options that boot Debian's OpenSBI and U-Boot.
func firmware(t *testing.T) []string {
	return []string{"-machine", "virt", "-m", "128", "-nographic",
		"-bios", peer.NeedFile(t, "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"),
		"-kernel", peer.NeedFile(t, "/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf")}
}

// fatDisk makes a qcow2 with a FAT file system that holds hello.txt, all by other tools.
func fatDisk(t *testing.T) string {
	t.Helper()
	peer.Need(t, "mformat", "mcopy", "qemu-img")
	dir := t.TempDir()
	raw, hello := filepath.Join(dir, "fat.raw"), filepath.Join(dir, "hello.txt")
	if err := os.WriteFile(hello, []byte("hello from mtools\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "mformat", "-C", "-i", raw, "-T", "65536", "::")
	peer.Run(t, "mcopy", "-i", raw, hello, "::hello.txt")
	disk := filepath.Join(dir, "disk.qcow2")
	peer.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk)
	return disk
}

// readFile copies a file out of the FAT file system in a disk, with other people's tools.
func readFile(t *testing.T, disk, name string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	peer.Run(t, "qemu-img", "check", disk)
	peer.Run(t, "qemu-img", "convert", "-O", "raw", disk, raw)
	return []byte(peer.Run(t, "mtype", "-i", raw, "::"+name))
}

// bootUBoot starts the program and stops U-Boot's countdown.
func bootUBoot(t *testing.T, disk string, more ...string) *session {
	t.Helper()
	args := append(firmware(t), "-drive", "file="+disk+",format=qcow2,if=none,id=d0",
		"-device", "virtio-blk-device,drive=d0,bus=virtio-mmio-bus.0")
	s := startSession(t, append(args, more...)...)
	s.expect("Hit any key to stop autoboot")
	s.send(" ")
	s.expect("=> ")
	return s
}

// mark sets a variable, fills memory with a byte, and writes that memory to mark.txt.
func (s *session) mark(name string, fill string) {
	s.t.Helper()
	s.guest("setenv mark " + name)
	s.guest("mw.b 84000000 " + fill + " 200")
	if out := s.guest("fatwrite virtio 0 84000000 mark.txt 200"); !strings.Contains(out, "512 bytes written") {
		s.t.Fatalf("fatwrite: %s", out)
	}
}

// checkMark checks all three.
func (s *session) checkMark(name string, fill string) {
	s.t.Helper()
	if out := s.guest("printenv mark"); !strings.Contains(out, "mark="+name) {
		s.t.Errorf("variable: %s", out)
	}
	want := strings.TrimSuffix(strings.Repeat(fill+" ", 16), " ")
	if out := s.guest("md.b 84000000 10"); !strings.Contains(out, want) {
		s.t.Errorf("memory: %s", out)
	}
	if out := s.guest("fatload virtio 0 85000000 mark.txt"); !strings.Contains(out, "512 bytes read") {
		s.t.Errorf("fatload: %s", out)
	}
	if out := s.guest("md.b 85000000 10"); !strings.Contains(out, want) {
		s.t.Errorf("file: %s", out)
	}
}

func TestUBootSavesTheMachineAndBringsItBack(t *testing.T) {
	disk := fatDisk(t)
	s := bootUBoot(t, disk)
	if out := s.guest("virtio scan; ls virtio 0"); !strings.Contains(out, "hello.txt") {
		t.Fatalf("ls: %s", out)
	}
	s.mark("one", "41")
	s.monitor("savevm a")
	s.mark("two", "42")
	s.checkMark("two", "42")
	s.monitor("loadvm a")
	s.checkMark("one", "41")
	if out := s.monitor("info snapshots"); !strings.Contains(out, " a ") {
		t.Errorf("info snapshots: %s", out)
	}
	s.switchFocus()
	s.expect("(qemu) ")
	s.send("quit\r")
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if got := readFile(t, disk, "mark.txt"); !bytes.Equal(got, bytes.Repeat([]byte("A"), 512)) {
		t.Errorf("mark.txt holds %q", got)
	}
	if list := peer.Run(t, "qemu-img", "snapshot", "-l", disk); !strings.Contains(list, " a ") {
		t.Errorf("qemu-img does not list the snapshot: %s", list)
	}

	args := append(firmware(t), "-drive", "file="+disk+",format=qcow2,if=none,id=d0",
		"-device", "virtio-blk-device,drive=d0,bus=virtio-mmio-bus.0", "-loadvm", "a")
	again := startSession(t, args...)
	again.expectTyping("\r", "=> ")
	again.checkMark("one", "41")
	again.send("\x01x")
	again.end()
}

func checksum(t *testing.T, file string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

func TestSnapshotOptionLeavesTheImageAlone(t *testing.T) {
	disk := fatDisk(t)
	before := checksum(t, disk)
	s := bootUBoot(t, disk, "-snapshot")
	s.guest("virtio scan")
	s.mark("one", "41")
	s.monitor("savevm a")
	s.mark("two", "42")
	s.monitor("loadvm a")
	s.checkMark("one", "41")
	s.send("\x01x")
	s.end()
	if checksum(t, disk) != before {
		t.Error("the image has changed")
	}
}

func TestCommitKeepsTheChangesOfASnapshotRun(t *testing.T) {
	for name, commit := range map[string]func(*session){
		"commit all": func(s *session) { s.monitor("commit all") },
		"C-a s":      func(s *session) { s.send("\x01s") },
	} {
		t.Run(name, func(t *testing.T) {
			disk := fatDisk(t)
			s := bootUBoot(t, disk, "-snapshot")
			s.guest("virtio scan")
			s.mark("one", "41")
			commit(s)
			s.guest("printenv mark")
			s.send("\x01x")
			s.end()
			if got := readFile(t, disk, "mark.txt"); !bytes.Equal(got, bytes.Repeat([]byte("A"), 512)) {
				t.Errorf("mark.txt holds %q", got)
			}
		})
	}
}
