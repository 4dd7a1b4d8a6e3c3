//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

const linuxPrompt = "guest# "

// bootLinux starts the program with the Linux guest, which has its files in memory.
func bootLinux(t *testing.T, more ...string) *session {
	t.Helper()
	guest := peer.NeedLinux(t)
	s := startSession(t, append([]string{
		"-machine", "virt", "-m", "128", "-nographic",
		"-bios", peer.NeedFile(t, "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"),
		"-kernel", guest.Image, "-initrd", guest.Initramfs, "-append", "console=ttyS0 quiet",
	}, more...)...)
	s.expect("\n" + linuxPrompt)
	return s
}

// shell runs a line in Linux.
func (s *session) shell(line string) string { s.t.Helper(); return s.command(line, linuxPrompt) }

// expectShell runs a line in Linux and looks for text in what it prints.
func (s *session) expectShell(line, want string) {
	s.t.Helper()
	if out := s.shell(line); !strings.Contains(out, want) {
		s.t.Errorf("%s: %s\nwant %q", line, out, want)
	}
}

// expectMonitor is the same at the monitor.
func (s *session) expectMonitor(line, want string) {
	s.t.Helper()
	if out := s.monitor(line); !strings.Contains(out, want) {
		s.t.Errorf("%s: %s\nwant %q", line, out, want)
	}
}

// iso makes a CD with one file by xorriso.
func iso(t *testing.T, dir, name, contents string) string {
	t.Helper()
	tree := filepath.Join(dir, name+".tree")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, name+".txt"), []byte(contents), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+".iso")
	peer.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-J", "-V", strings.ToUpper(name), "-o", path, tree)
	return path
}

// TestLinuxChangesCDs has a CD mounted, locked, ejected by the guest and by the monitor, and
// changed.
func TestLinuxChangesCDs(t *testing.T) {
	peer.Need(t, "xorriso")
	dir := t.TempDir()
	first, second := iso(t, dir, "first", "one\n"), iso(t, dir, "second", strings.Repeat("two\n", 200000))
	s := bootLinux(t, "-cdrom", first)
	s.shell("mkdir -p /mnt")
	s.expectShell("mount -o ro /dev/sr0 /mnt && cat /mnt/first.txt", "one")
	s.expectMonitor("info block", "Removable device: locked, tray closed")
	const locked = "Error: Device 'ide1-cd0' is locked and force was not specified, wait for tray to open and try again"
	s.expectMonitor("eject ide1-cd0", locked)
	s.expectMonitor("change ide1-cd0 "+second+" raw", locked)
	s.expectShell("cat /mnt/first.txt; umount /mnt", "one")

	s.expectShell("eject /dev/sr0; echo status $?", "status 0")
	s.expectMonitor("info block", "Removable device: not locked, tray open")
	s.monitor("change ide1-cd0 " + second + " raw")
	s.expectMonitor("info block", "tray closed")
	s.expectShell("mount -o ro /dev/sr0 /mnt && wc -c /mnt/*", "800000 /mnt/second.txt")
	size := peer.Run(t, "stat", "-c", "%s", second)
	s.expectShell("blockdev --getsize64 /dev/sr0", strings.TrimSpace(size))

	// By force, under the guest's hands: it reads no more, and not the next CD's bytes either.
	s.shell("echo 3 > /proc/sys/vm/drop_caches")
	s.monitor("eject -f ide1-cd0")
	s.expectShell("cat /mnt/second.txt > /dev/null; echo status $?", "status 1")
	s.monitor("change ide1-cd0 " + first + " raw")
	s.expectShell("cat /mnt/second.txt > /dev/null; echo status $?", "status 1")
	s.shell("umount /mnt")
	s.expectShell("mount -o ro /dev/sr0 /mnt && cat /mnt/first.txt", "one")

	// Nothing in the drive.
	s.shell("umount /mnt")
	s.monitor("eject ide1-cd0")
	s.expectShell("mount -o ro /dev/sr0 /mnt; echo status $?", "No medium found")
	s.send("exit\r")
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestLinuxSwapsFloppies writes to one floppy and reads another, of another size.
func TestLinuxSwapsFloppies(t *testing.T) {
	peer.Need(t, "mformat", "mcopy", "mtype", "fsck.fat")
	dir := t.TempDir()
	big, small, text := filepath.Join(dir, "big.img"), filepath.Join(dir, "small.img"), filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("on the small one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "mformat", "-C", "-f", "1440", "-i", big, "::")
	peer.Run(t, "mformat", "-C", "-f", "720", "-i", small, "::")
	peer.Run(t, "mcopy", "-i", small, text, "::text")
	s := bootLinux(t, "-drive", "if=floppy,format=raw,file="+big)
	s.expectShell("mkdir -p /mnt; blockdev --getsz /dev/sda", "2880")
	s.expectShell("mount -t vfat /dev/sda /mnt && seq 1 20000 > /mnt/numbers && ls /mnt", "numbers")
	s.expectMonitor("eject floppy0", "is locked")
	s.shell("umount /mnt")
	s.monitor("change floppy0 " + small + " raw")
	s.expectShell("blockdev --getsz /dev/sda", "1440")
	s.expectShell("mount -t vfat /dev/sda /mnt && cat /mnt/text", "on the small one")
	s.shell("umount /mnt")
	s.monitor("eject floppy0")
	s.expectShell("mount -t vfat /dev/sda /mnt; echo status $?", "No medium found")
	s.monitor("change floppy0 " + big + " raw")
	s.expectShell("mount -t vfat /dev/sda /mnt && wc -l /mnt/numbers", "20000 /mnt/numbers")
	s.shell("umount /mnt")
	s.monitor("change floppy0 " + small + " raw read-only")
	s.expectShell("mount -t vfat -o rw /dev/sda /mnt; echo x > /mnt/x; echo status $?", "Read-only")
	s.send("\x01x")
	s.end()
	if got := peer.Run(t, "mtype", "-i", big, "::numbers"); !strings.HasPrefix(got, "1\n2\n") {
		t.Errorf("numbers holds %d bytes", len(got))
	}
	peer.Run(t, "fsck.fat", "-n", big)
}

// TestLinuxUsesSCSIDisks writes a file system, discards, and sees the disk grow.
func TestLinuxUsesSCSIDisks(t *testing.T) {
	peer.Need(t, "qemu-img", "e2fsck")
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", disk, "32M")
	s := bootLinux(t, "-drive", "if=scsi,format=qcow2,discard=unmap,file="+disk)
	s.expectShell("mkdir -p /mnt; mkfs.ext2 /dev/sda > /dev/null && mount /dev/sda /mnt && echo mounted", "mounted")
	out := s.shell("head -c 1m /dev/urandom > /mnt/noise; sha256sum /mnt/noise")
	sum := strings.Fields(out[strings.Index(out, "\n"):])[0]
	s.expectShell("umount /mnt; mount /dev/sda /mnt; sha256sum /mnt/noise", sum)
	s.expectShell("rm /mnt/noise; sync; fstrim -v /mnt", "bytes trimmed")
	s.shell("umount /mnt")
	s.monitor("block_resize scsi0-hd0 48M")
	s.expectShell("sleep 1; blockdev --getsz /dev/sda", "98304")
	s.expectShell("blkdiscard /dev/sda; head -c 1048576 /dev/sda | tr -d '\\0' | wc -c", "\n0")
	s.send("\x01x")
	s.end()
	peer.Run(t, "qemu-img", "check", disk)
}
