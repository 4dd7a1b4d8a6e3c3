//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fatFolder makes a directory for a disk, and boots U-Boot with it.
func fatFolder(t *testing.T, options string, more ...string) (*session, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "boot"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"hello.txt": "hello", "boot/a long name.bin": strings.Repeat("b", 20000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := append(firmware(t), "-drive", "file=fat:"+options+dir+",format=raw,if=none,id=d0",
		"-device", "virtio-blk-device,drive=d0,bus=virtio-mmio-bus.0")
	s := startSession(t, append(args, more...)...)
	s.expect("Hit any key to stop autoboot")
	s.send(" ")
	s.expect("=> ")
	s.guest("virtio scan")
	return s, dir
}

// fatWrite has U-Boot write 512 times the byte to a file.
func (s *session) fatWrite(name, fill string) {
	s.t.Helper()
	s.guest("mw.b 84000000 " + fill + " 200")
	if out := s.guest("fatwrite virtio 0:1 84000000 " + name + " 200"); !strings.Contains(out, "512 bytes written") {
		s.t.Fatalf("fatwrite: %s", out)
	}
}

// expectFile tells if a file holds 512 times the byte; 0 for a file that is not there.
func expectFile(t *testing.T, dir, name string, fill byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	switch {
	case fill == 0 && os.IsNotExist(err):
	case fill == 0:
		t.Errorf("%s is there", name)
	case err != nil || !bytes.Equal(got, bytes.Repeat([]byte{fill}, 512)):
		t.Errorf("%s holds %q, %v", name, got, err)
	}
}

func TestUBootReadsAndWritesADirectory(t *testing.T) {
	for _, kind := range []string{"rw:", "32:rw:"} {
		t.Run(kind, func(t *testing.T) {
			s, dir := fatFolder(t, kind)
			if out := s.guest("ls virtio 0:1"); !strings.Contains(out, "hello.txt") || !strings.Contains(out, "boot/") {
				t.Errorf("ls: %s", out)
			}
			if out := s.guest(`load virtio 0:1 85000000 "boot/a long name.bin"`); !strings.Contains(out, "20000 bytes read") {
				t.Errorf("load: %s", out)
			}
			s.fatWrite("new.txt", "41")
			s.fatWrite("boot/deep.txt", "42")
			s.switchFocus()
			s.expect("(qemu) ")
			s.send("quit\r")
			if status := s.end(); status != 0 {
				t.Errorf("exit status %d", status)
			}
			expectFile(t, dir, "new.txt", 'A')
			expectFile(t, dir, "boot/deep.txt", 'B')
		})
	}
}

func TestSnapshotsOverADirectory(t *testing.T) {
	s, dir := fatFolder(t, "rw:", "-snapshot")
	s.fatWrite("one.txt", "41")
	s.monitor("savevm a")
	s.fatWrite("two.txt", "42")
	s.monitor("loadvm a")
	if out := s.guest("ls virtio 0:1"); !strings.Contains(out, "one.txt") || strings.Contains(out, "two.txt") {
		t.Errorf("ls: %s", out)
	}
	expectFile(t, dir, "one.txt", 0)
	s.monitor("commit all")
	expectFile(t, dir, "one.txt", 'A')
	expectFile(t, dir, "two.txt", 0)
	hello := filepath.Join(dir, "hello.txt")
	if err := os.WriteFile(hello, []byte("changed by a person"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := s.monitor("loadvm a"); !strings.Contains(out, hello) {
		t.Errorf("loadvm: %s", out)
	}
	s.send("\x01x")
	s.end()
}
