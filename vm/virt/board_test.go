package virt

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

// TestDeviceTreeOfTheConsole: info qtree has the devices in QEMU's order, the last made
// first, and the disk below its slot alone.
func TestDeviceTreeOfTheConsole(t *testing.T) {
	b, err := New(Config{
		RAM:   16 << 20,
		Disks: []Disk{{Drive: memoryDrive(t, blockdev.DriveConfig{Name: "d0"}, 4096), ID: "disk"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var types, buses []string
	for _, d := range slices.Backward(b.Machine().Devices()) {
		described, ok := d.(vm.Described)
		if !ok {
			continue
		}
		description := described.Describe()
		types = append(types, description.Type)
		for _, bus := range description.Buses {
			line := bus.Name
			for _, child := range bus.Devices {
				line += " " + child.Type + " " + child.ID
			}
			buses = append(buses, line)
		}
	}
	slot := "virtio-mmio"
	if diff := cmp.Diff([]string{
		"goldfish_rtc", "serial-mm", slot, slot, slot, slot, slot, slot, slot, slot, "riscv.sifive.test",
		"riscv.sifive.plic", "riscv.aclint.mtimer", "riscv.aclint.swi", "riscv.hart_array",
	}, types); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"virtio-mmio-bus.7 virtio-blk-device disk", "virtio-mmio-bus.6", "virtio-mmio-bus.5", "virtio-mmio-bus.4",
		"virtio-mmio-bus.3", "virtio-mmio-bus.2", "virtio-mmio-bus.1", "virtio-mmio-bus.0",
	}, buses); diff != "" {
		t.Error(diff)
	}
}

// TestSectionsAreInQEMUsOrder: RAM's section comes first in a stream, then these.
func TestSectionsAreInQEMUsOrder(t *testing.T) {
	b, err := New(Config{
		RAM:   16 << 20,
		Disks: []Disk{{Drive: memoryDrive(t, blockdev.DriveConfig{Name: "d0"}, 4096)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range b.Machine().States() {
		names = append(names, s.Section().Name)
	}
	if diff := cmp.Diff([]string{
		"timer", "cpu_common", "cpu", "riscv_mtimer", "riscv_sifive_plic", "serial", "goldfish_rtc",
		"virtio-mmio@0000000010008000/virtio-blk",
	}, names); diff != "" {
		t.Error(diff)
	}
}

func TestDisksTakeSlots(t *testing.T) {
	drive := func() *blockdev.Drive { return memoryDrive(t, blockdev.DriveConfig{Name: "d0"}, 4096) }
	b, err := New(Config{RAM: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ bus, err string }{
		{"", ""}, // slot 7
		{"virtio-mmio-bus.6", ""},
		{"", ""}, // slot 5
		{"virtio-mmio-bus.0", ""},
		{"virtio-mmio-bus.0", "Bus 'virtio-mmio-bus.0' is full"},
		{"foo", "Bus 'foo' not found"},
		{"", ""}, {"", ""}, {"", ""}, {"", ""},
		{"", "No 'virtio-bus' bus found for device 'virtio-blk-device'"},
	} {
		got := ""
		if err := b.AddDisk(Disk{Drive: drive(), Bus: test.bus}); err != nil {
			got = err.Error()
		}
		if got != test.err {
			t.Errorf("bus %q: %q, want %q", test.bus, got, test.err)
		}
	}
}

func TestHolesAreBusErrors(t *testing.T) {
	b, err := New(Config{RAM: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []uint64{0, 0xfff, 0x101024, 0x2004000 + 0x8000, 0x10000008, 0x10001200, 0x10009000, 0x81000000} {
		if _, err := b.Machine().Memory().Load(addr, 1); err == nil {
			t.Errorf("something answers at %#x", addr)
		}
	}
}
