//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinuxWorksInAHostFolder has Linux's own FAT driver read, write, rename and remove in a
// folder of the host, as a disk and as a floppy.
func TestLinuxWorksInAHostFolder(t *testing.T) {
	for name, c := range map[string]struct{ option, device string }{
		"disk":   {"if=virtio,format=raw,file=fat:rw:", "/dev/vda1"},
		"floppy": {"if=floppy,format=raw,file=fat:floppy:rw:", "/dev/sda"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, contents := range map[string]string{
				"a rather long name.txt": "read by Linux\n", "gone.txt": "x", "old name.txt": "kept\n", "Grüße.txt": "hello\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(contents), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s := bootLinux(t, "-drive", c.option+dir)
			s.expectShell("mkdir -p /mnt; mount -t vfat "+c.device+" /mnt && cat '/mnt/a rather long name.txt' /mnt/Gr*.txt", "read by Linux")
			s.shell("mkdir '/mnt/new folder'; seq 1 2000 > '/mnt/new folder/numbers'; rm /mnt/gone.txt; mv '/mnt/old name.txt' '/mnt/new folder/new name.txt'")
			s.shell("umount /mnt; sync; sleep 2")
			s.expectShell("mount -t vfat "+c.device+" /mnt && wc -l '/mnt/new folder/numbers'", "2000 ")
			s.shell("umount /mnt")
			s.send("exit\r")
			if status := s.end(); status != 0 {
				t.Errorf("exit status %d", status)
			}
			numbers, err := os.ReadFile(filepath.Join(dir, "new folder", "numbers"))
			if err != nil || !strings.HasSuffix(string(numbers), "\n1999\n2000\n") {
				t.Errorf("numbers: %d bytes, %v", len(numbers), err)
			}
			if kept, err := os.ReadFile(filepath.Join(dir, "new folder", "new name.txt")); err != nil || string(kept) != "kept\n" {
				t.Errorf("new name.txt: %q, %v", kept, err)
			}
			for _, gone := range []string{"gone.txt", "old name.txt"} {
				if _, err := os.Stat(filepath.Join(dir, gone)); err == nil {
					t.Errorf("%s is still there", gone)
				}
			}
		})
	}
}
