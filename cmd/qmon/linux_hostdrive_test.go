//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

// TestLinuxUsesHostDrives gives the guest a disk of the host, past its cache, and lets it
// change a CD for another that is a drive of the host, too.
func TestLinuxUsesHostDrives(t *testing.T) {
	peer.Need(t, "xorriso", "mformat", "mtype", "fsck.fat")
	disk, _ := peer.LoopDevice(t, 8<<20)
	peer.Run(t, "mformat", "-i", disk, "-T", "16384", "::")
	cd, _ := peer.LoopDevice(t, 2<<20)
	dir := t.TempDir()
	first, second := iso(t, dir, "first", "one\n"), iso(t, dir, "second", strings.Repeat("two\n", 1000))
	burn(t, second, cd)

	s := bootLinux(t, "-drive", "if=virtio,format=raw,cache=none,discard=unmap,file="+disk, "-cdrom", first)
	s.expectShell("mkdir -p /mnt; blockdev --getsize64 /dev/vda", "8388608")
	s.expectShell("mount -t vfat /dev/vda /mnt && seq 1 20000 > /mnt/numbers; umount /mnt; echo status $?", "status 0")
	s.monitor("change ide1-cd0 " + cd + " raw")
	s.expectMonitor("info block", cd+" (raw, read-only)")
	s.expectShell("blockdev --getsize64 /dev/sr0", "2097152")
	s.expectShell("mount -o ro /dev/sr0 /mnt && wc -l /mnt/second.txt; umount /mnt", "1000 /mnt/second.txt")
	s.monitor("eject ide1-cd0")
	burn(t, first, cd) // the drive is nobody's now
	s.monitor("change ide1-cd0 " + cd)
	s.expectShell("mount -o ro /dev/sr0 /mnt && cat /mnt/first.txt; umount /mnt", "one")
	s.send("exit\r")
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if got := peer.Run(t, "mtype", "-i", disk, "::numbers"); !strings.HasSuffix(got, "\n20000\n") {
		t.Errorf("numbers holds %d bytes", len(got))
	}
	peer.Run(t, "fsck.fat", "-n", disk)
}

// burn copies an image to a device.
func burn(t *testing.T, image, device string) {
	t.Helper()
	peer.Run(t, "dd", "if="+image, "of="+device, "bs=64k", "conv=notrunc,fsync", "status=none")
}
