package virt

import (
	"bytes"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
	"github.com/qmon/qmon/vm/virt/guest"
)

const guestPrompt = "guest> "

var guestBoot = Boot{Kernel: &Image{Name: "built-in guest", Data: guest.Program}}

// startGuest runs the built-in guest on a disk in memory.
func startGuest(t *testing.T, config Config) (*Board, *console, *blockdev.Drive) {
	t.Helper()
	drive := memoryDrive(t, blockdev.DriveConfig{Name: "d0"}, 1<<20)
	config.Boot = guestBoot
	config.Disks = []Disk{{Drive: drive, Serial: "QMON0001"}}
	b, c := start(t, config)
	c.expect(t, guestPrompt)
	return b, c, drive
}

func TestGuestCommands(t *testing.T) {
	sector := bytes.Repeat([]byte{0xa5, 1, 2, 3}, 128)
	for _, modern := range []bool{false, true} {
		_, c, drive := startGuest(t, Config{Modern: modern})
		if _, err := drive.WriteAt(sector, 7*512); err != nil {
			t.Fatal(err)
		}
		transport := map[bool]string{false: "legacy", true: "modern"}[modern]
		for _, step := range []struct{ command, answer string }{
			{"help", "CRC-32 of sectors"},
			{"info", "memory: 128 MiB at 0x80000000"},
			{"info", "disk 0: 2048 sectors (1 MiB), writable, serial QMON0001, " + transport + " virtio at 0x10008000\n"},
			{"show 0 7", "00000e00: a5 01 02 03 a5 01 02 03"},
			{"dsum 0 7 1", "CRC-32 " + hex32(crc32.ChecksumIEEE(sector))},
			{"read 0 7 1 0x80100000", "1 sectors read\n"},
			{"sum 0x80100000 512", "CRC-32 " + hex32(crc32.ChecksumIEEE(sector))},
			{"write 0 9 1 0x80100000", "1 sectors written\n"},
			{"text 0 11 remember", "written\n"},
			{"show 0 11", "72 65 6d 65 6d 62 65 72 00"},
			{"poke 0x80200000 0x1122334455667788", ""},
			{"peek 0x80200000 8", "80200000: 88 77 66 55 44 33 22 11"},
			{"dsum 0 0 2k", "CRC-32 "},
			{"read 0 2047 2 0x80100000", "past the end of the disk\n"},
			{"read 0 0 1 0x1000", "that is not in memory\n"},
			{"show 1 0", "no such disk"},
			{"show 0", "not the right number of words"},
			{"show 0 x", "x is not a number\n"},
			{"peek 0 1", "fault 5 at 0x0000000000000000\n"},
			{"xyzzy", "xyzzy? help lists the commands\n"},
			{"hellp\x7f\x7fp", ""},
		} {
			if got := c.command(t, step.command, guestPrompt); !strings.Contains(got, step.answer) {
				t.Errorf("%s: %s:\n%s\nwant %q", transport, step.command, got, step.answer)
			}
		}
		got := make([]byte, 512)
		if _, err := drive.ReadAt(got, 9*512); err != nil || !bytes.Equal(got, sector) {
			t.Errorf("the disk does not hold what the guest wrote: %v", err)
		}
	}
}

func hex32(v uint32) string {
	const digits = "0123456789abcdef"
	var b [8]byte
	for i := range b {
		b[i] = digits[v>>(28-4*i)&15]
	}
	return string(b[:])
}

// TestGuestCounts runs on counted instructions: idle seconds take no time.
func TestGuestCounts(t *testing.T) {
	_, c, _ := startGuest(t, Config{Machine: vm.Config{Clock: vm.NewInstructionClock(3)}})
	c.input("count\r")
	c.expect(t, "count 20")
	c.input("x")
	c.expect(t, guestPrompt)
}

func TestGuestSeesAReadOnlyDisk(t *testing.T) {
	drive := memoryDrive(t, blockdev.DriveConfig{Name: "d0", ReadOnly: true}, 4096)
	_, c := start(t, Config{Boot: guestBoot, Disks: []Disk{{Drive: drive}}})
	c.expect(t, guestPrompt)
	for command, answer := range map[string]string{
		"info":       "8 sectors (0 MiB), read-only, no serial, ",
		"text 0 0 a": "the disk is read-only\n",
	} {
		if got := c.command(t, command, guestPrompt); !strings.Contains(got, answer) {
			t.Errorf("%s: %s", command, got)
		}
	}
}

func TestGuestReboots(t *testing.T) {
	b, c, _ := startGuest(t, Config{})
	c.command(t, "poke 0x80000000 0", guestPrompt)
	c.input("reboot\r")
	c.expect(t, "Type help.")
	c.expect(t, guestPrompt)
	if !b.Machine().Running() {
		t.Error("the machine stands still")
	}
}

func TestGuestPowersOff(t *testing.T) {
	b, c, _ := startGuest(t, Config{Machine: vm.Config{NoShutdown: true}})
	stopped := make(chan vm.RunState, 1)
	b.Machine().Subscribe(func(e vm.Event) {
		if e.Kind == vm.EventStop && e.State == vm.StateShutdown {
			stopped <- e.State
		}
	})
	c.input("off\r")
	<-stopped
}
