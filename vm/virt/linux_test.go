package virt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/savevm"
	"github.com/qmon/qmon/vm"
)

const linuxPrompt = "guest# "

// linuxBoot is Debian's OpenSBI and the Linux guest.
func linuxBoot(t *testing.T, arguments string) Boot {
	t.Helper()
	guest := peer.NeedLinux(t)
	return Boot{
		Firmware: readImage(t, peer.NeedFile(t, firmwarePaths...)),
		Kernel:   readImage(t, guest.Image),
		Append:   "console=ttyS0 " + arguments,
	}
}

// startLinux boots to the shell.
func startLinux(t *testing.T, config Config) (*Board, *console) {
	t.Helper()
	config.Machine.NoShutdown = true
	b, c := start(t, config)
	c.expect(t, linuxPrompt)
	return b, c
}

// powerOff leaves the shell and waits for the machine to be off.
func powerOff(t *testing.T, b *Board, c *console) {
	t.Helper()
	off := make(chan struct{})
	b.Machine().Subscribe(func(e vm.Event) {
		if e.Kind == vm.EventStop && e.State == vm.StateShutdown {
			close(off)
		}
	})
	c.input("exit\r")
	c.expect(t, "reboot: Power down")
	<-off
}

// TestLinuxBootsFromMemory: a kernel with its initial RAM disk reaches a shell and powers
// the machine off.
func TestLinuxBootsFromMemory(t *testing.T) {
	boot := linuxBoot(t, "")
	boot.Initrd = readImage(t, peer.NeedLinux(t).Initramfs)
	b, c := startLinux(t, Config{Boot: boot})
	for command, want := range map[string]string{
		"cat /proc/cmdline":                              "console=ttyS0 \n",
		"grep MemTotal /proc/meminfo":                    "MemTotal:  ",
		"cat /proc/cpuinfo":                              "rv64imafdc",
		"echo 7 | awk '{print $1 / 2 * 0.3}'":            "1.05\n", // the floating-point unit
		"seq 1 20000 | sha256sum":                        sum([]byte(sequence(20000))),
		"date +%Y":                                       "20",
		"for i in 1 2 3; do sleep 0.1; done; echo slept": "slept",
	} {
		if got := c.command(t, command, linuxPrompt); !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant %q", command, got, want)
		}
	}
	powerOff(t, b, c)
}

func sequence(last int) string {
	var b strings.Builder
	for i := 1; i <= last; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// linuxRoot is a qcow2 image over the guest's root disk.
func linuxRoot(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.qcow2")
	g := &blockdev.Graph{}
	backing := blockdev.Reference{Kind: blockdev.RefBacking, Name: peer.NeedLinux(t).Root, Format: "raw"}
	if err := g.Create(t.Context(), "qcow2", path, 16<<20, nil, backing); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLinuxSeesFileSystems boots from an ext4 disk and mounts what other programs have
// made on three more: ext2, ISO 9660 with Joliet names, and FAT. What it writes, those
// programs find.
func TestLinuxSeesFileSystems(t *testing.T) {
	peer.Need(t, "mke2fs", "e2fsck", "debugfs", "xorriso", "mformat", "mcopy", "mtype", "fsck.fat")
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	data := []byte(sequence(50000))
	const name = "a rather long name.text"
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(tree, name)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	ext2, iso, fat := filepath.Join(dir, "ext2"), filepath.Join(dir, "iso"), filepath.Join(dir, "fat")
	peer.Run(t, "mke2fs", "-q", "-t", "ext2", "-d", tree, ext2, "8M")
	peer.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-J", "-o", iso, tree)
	peer.Run(t, "mformat", "-i", fat, "-C", "-T", "16384", "::")
	peer.Run(t, "mcopy", "-i", fat, file, "::"+name)

	disks := []Disk{{Drive: openBacked(t, linuxRoot(t))}}
	for _, path := range []string{ext2, iso, fat} {
		disks = append(disks, Disk{Drive: openDrive(t, path, "raw")})
	}
	b, c := startLinux(t, Config{Boot: linuxBoot(t, "root=/dev/vda rw"), Disks: disks})
	for _, step := range []struct{ disk, kind string }{{"vdb", "ext2"}, {"vdc", "iso9660"}, {"vdd", "vfat"}} {
		mount := fmt.Sprintf("mkdir /mnt/%[1]s; mount -t %[2]s /dev/%[1]s /mnt/%[1]s; sha256sum /mnt/%[1]s/*.text", step.disk, step.kind)
		want := sum(data) + "  /mnt/" + step.disk + "/" + name
		if got := c.command(t, mount, linuxPrompt); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", mount, got, want)
		}
	}
	c.command(t, "for d in vdb vdd; do seq 1 9000 > /mnt/$d/new; done; touch /mark; umount /mnt/vdb /mnt/vdc /mnt/vdd", linuxPrompt)
	powerOff(t, b, c)

	written := sequence(9000)
	if got := peer.Run(t, "debugfs", "-R", "cat new", ext2); got != written {
		t.Errorf("ext2 holds %d bytes, want %d", len(got), len(written))
	}
	if got := peer.Run(t, "mtype", "-i", fat, "::new"); got != written {
		t.Errorf("FAT holds %d bytes, want %d", len(got), len(written))
	}
	peer.Run(t, "e2fsck", "-fn", ext2)
	peer.Run(t, "fsck.fat", "-n", fat)
}

// TestUBootStartsLinux: the firmware that a board has finds the kernel on a disk with a
// partition, through the menu file that distributions write.
func TestUBootStartsLinux(t *testing.T) {
	peer.Need(t, "mformat", "mmd", "mcopy")
	guest := peer.NeedLinux(t)
	disk := filepath.Join(t.TempDir(), "disk")
	const start, size = 1 << 20, 31 << 20
	if err := os.WriteFile(disk, partitioned(start, size), 0o644); err != nil {
		t.Fatal(err)
	}
	menu := filepath.Join(t.TempDir(), "extlinux.conf")
	const entry = "default a\nlabel a\n kernel /Image\n initrd /initramfs\n append console=ttyS0 from-disk\n"
	if err := os.WriteFile(menu, []byte(entry), 0o644); err != nil {
		t.Fatal(err)
	}
	partition := fmt.Sprintf("%s@@%d", disk, start)
	peer.Run(t, "mformat", "-i", partition, "-T", strconv.Itoa(size/512), "::")
	peer.Run(t, "mmd", "-i", partition, "::extlinux")
	peer.Run(t, "mcopy", "-i", partition, menu, "::extlinux/extlinux.conf")
	peer.Run(t, "mcopy", "-i", partition, guest.Image, "::Image")
	peer.Run(t, "mcopy", "-i", partition, guest.Initramfs, "::initramfs")

	b, c := startLinux(t, Config{
		RAM:  256 << 20, // U-Boot puts what it loads behind the first 128 MiB
		Boot: debianBoot(t), Disks: []Disk{{Drive: openDrive(t, disk, "raw")}},
	})
	if got := c.command(t, "cat /proc/cmdline", linuxPrompt); !strings.Contains(got, "from-disk") {
		t.Errorf("command line: %s", got)
	}
	powerOff(t, b, c)
}

// partitioned is a disk with a master boot record and one FAT partition, both in bytes.
func partitioned(start, size uint32) []byte {
	disk := make([]byte, start+size)
	entry := disk[446:]
	entry[0], entry[4] = 0x80, 0x0c // to boot from; FAT32, by logical block address
	binary.LittleEndian.PutUint32(entry[8:], start/512)
	binary.LittleEndian.PutUint32(entry[12:], size/512)
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// openBacked is openDrive for a qcow2 image with a backing file.
func openBacked(t *testing.T, path string) *blockdev.Drive {
	t.Helper()
	g := &blockdev.Graph{}
	v, err := g.Open(t.Context(), path, blockdev.OpenOptions{
		Driver: "qcow2", Mode: blockdev.Mode{Writable: true}, Gate: blockdev.FollowGate{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return insert(t, blockdev.DriveConfig{Name: "d0"}, v)
}

// TestLinuxComesBack saves a guest that is writing to its disk, lets it go on and loads it
// again, here and on another machine: it goes on where it was, and its disk is sound.
func TestLinuxComesBack(t *testing.T) {
	peer.Need(t, "e2fsck", "qemu-img")
	image := linuxRoot(t)
	saved := 0
	t.Run("save", func(t *testing.T) {
		b, c := startLinuxOn(t, image)
		c.input("while :; do n=$((n+1)); seq 1 $n > /numbers; sync; echo tick $n $(sha256sum < /numbers); done\r")
		c.expectTick(t, 5)
		do(t, b, func() { b.Machine().Stop(vm.StatePaused) })
		if _, err := savevm.Save(t.Context(), b.Machine(), "a"); err != nil {
			t.Fatal(err)
		}
		saved = c.lastTick()
		do(t, b, func() {
			if err := b.Machine().Start(); err != nil {
				t.Error(err)
			}
		})
		c.expectTick(t, saved+5)
		for range 3 {
			load(t, b)
			c.expectTick(t, saved+2)
		}
	})
	t.Run("load", func(t *testing.T) {
		b, c := startLinuxOn(t, image)
		load(t, b)
		c.expectTick(t, saved+2)
		c.input("\x03")
		c.expect(t, linuxPrompt)
		powerOff(t, b, c)
	})
	raw := filepath.Join(t.TempDir(), "root.raw")
	peer.Run(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw)
	peer.Run(t, "e2fsck", "-fn", raw)
}

// startLinuxOn boots from a disk that snapshots are saved in.
func startLinuxOn(t *testing.T, image string) (*Board, *console) {
	t.Helper()
	drive := openBacked(t, image)
	b, c := startLinux(t, Config{Boot: linuxBoot(t, "root=/dev/vda rw"), Disks: []Disk{{Drive: drive}}})
	if err := b.Machine().Drives().Add(drive); err != nil {
		t.Fatal(err)
	}
	return b, c
}

// load goes back to the snapshot and on from there.
func load(t *testing.T, b *Board) {
	t.Helper()
	if err := savevm.Load(t.Context(), b.Machine(), "a"); err != nil {
		t.Fatal(err)
	}
	do(t, b, func() {
		if err := b.Machine().Start(); err != nil {
			t.Error(err)
		}
	})
}

// expectTick waits for round n of the guest's loop and what its file then holds.
func (c *console) expectTick(t *testing.T, n int) {
	t.Helper()
	c.expect(t, fmt.Sprintf("tick %d %s", n, sum([]byte(sequence(n)))))
}

var tick = regexp.MustCompile(`tick ([0-9]+) [0-9a-f]{64}`)

// lastTick is the last round that the guest has reported in full.
func (c *console) lastTick() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := tick.FindAllSubmatch(c.out, -1)
	n, _ := strconv.Atoi(string(all[len(all)-1][1]))
	return n
}
