//go:build unix

package main

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

var loads = flag.Int("loads", 5, "how often the snapshot test goes back")

// The guest's part: one loop counts, and writes the number into a file on each of three disks;
// another reads the CD, past all caches. check looks at the last numbers written.
var snapshotScript = []string{
	"dmesg -n 1; mkdir -p /mnt/a /mnt/b /mnt/c /mnt/cd",
	"for d in a:vda b:vdb c:sda; do mkfs.ext2 /dev/${d#*:} > /dev/null; mount /dev/${d#*:} /mnt/${d%:*}; done",
	"mount -o ro /dev/sr0 /mnt/cd; cksum /mnt/cd/data.txt > /tmp/good; echo 0 > /tmp/n",
	"count() { n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); for m in a b c; do echo $n > /mnt/$m/$((n%1000)); done; echo $n > /tmp/n; [ $((n%20)) = 0 ] && sync; done; }",
	"look() { while [ ! -e /tmp/stop ]; do echo 3 > /proc/sys/vm/drop_caches; cksum /mnt/cd/data.txt 2> /dev/null | cmp -s - /tmp/good || echo CD IS WRONG > /tmp/bad; done; }",
	"check() { read n < /tmp/n; for m in a b c; do i=$((n>30?n-30:1)); while [ $i -le $n ]; do read v < /mnt/$m/$((i%1000)); [ $v -ge $i ] || echo LOST $m $i; i=$((i+1)); done; done; cat /tmp/bad 2>/dev/null; echo all checked; }",
	"count & look & sleep 1",
}

// TestSnapshotsUnderLoad saves Linux while it writes to three disks and reads a CD, and goes
// back again and again, each time with another CD in the drive.
func TestSnapshotsUnderLoad(t *testing.T) {
	peer.Need(t, "qemu-img", "xorriso", "e2fsck")
	dir := t.TempDir()
	cd, other := iso(t, dir, "data", strings.Repeat("0123456789abcdef\n", 8000)), iso(t, dir, "other", "x\n")
	var disks []string
	for _, name := range []string{"a", "b", "c"} {
		disk := filepath.Join(dir, name+".qcow2")
		peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", disk, "8M")
		disks = append(disks, disk)
	}
	s := bootLinux(t, "-hda", disks[0], "-hdb", disks[1], "-drive", "if=scsi,file="+disks[2], "-cdrom", cd)
	for _, line := range snapshotScript {
		s.shell(line)
	}
	s.monitor("savevm x")
	for range *loads {
		s.expectShell("check", "all checked")
		s.monitor("change ide1-cd0 -f " + other + " raw")
		s.expectMonitor("info block ide1-cd0", "other.iso")
		if said := s.monitor("loadvm x"); strings.Contains(said, "Error") {
			t.Fatal(said)
		}
		s.expectMonitor("info block ide1-cd0", "data.iso")
		if out := s.shell("check"); strings.Contains(out, "LOST") || strings.Contains(out, "WRONG") || !strings.Contains(out, "all checked") {
			t.Fatal(out)
		}
		s.monitor("savevm x")
	}
	s.shell("touch /tmp/stop; wait; umount /mnt/a /mnt/b /mnt/c")
	s.send("exit\r")
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, disk := range disks {
		raw := disk + ".raw"
		peer.Run(t, "qemu-img", "check", disk)
		peer.Run(t, "qemu-img", "convert", "-O", "raw", disk, raw)
		peer.Run(t, "e2fsck", "-fn", raw)
	}
}
