package scsi_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	_ "github.com/qmon/qmon/formats/all"
	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/vm"
	"github.com/qmon/qmon/vm/scsi"
	"github.com/qmon/qmon/vm/virtio"
)

// ours is a machine of our own without a processor, and its monitor.
type ours struct {
	t       testing.TB
	machine *vm.Machine
	graph   *blockdev.Graph
	slot    *virtio.Slot
	host    *virtio.SCSI
	monitor *monitor.Monitor
}

func newOurs(t testing.TB) *ours {
	t.Helper()
	o := &ours{t: t, machine: vm.New(vm.Config{}), graph: &blockdev.Graph{}}
	m := o.machine
	if _, err := m.Memory().AddRAM("ram", 0x80000000, 64<<20); err != nil {
		t.Fatal(err)
	}
	o.slot = virtio.NewSlot(virtio.SlotConfig{
		Memory: m.Memory(), Base: slotBase, Bus: "virtio-mmio-bus.7", Legacy: true, Line: func(bool) {}, Log: m.Log(),
	})
	m.AddDevice(o.slot)
	host, err := virtio.NewSCSI(virtio.SCSIConfig{Machine: m, Slot: o.slot, ID: "s0"})
	if err != nil {
		t.Fatal(err)
	}
	o.host = host
	m.AddDevice(host)
	return o
}

// add makes a unit of a drive with a file in it, or without.
func (o *ours) add(name, file, format string, writable bool, c scsi.Config) *blockdev.Drive {
	o.t.Helper()
	d := blockdev.NewDrive(blockdev.DriveConfig{Name: name, ReadOnly: !writable})
	if file != "" {
		v, err := o.graph.Open(o.t.Context(), file, blockdev.OpenOptions{
			Driver: format, Mode: blockdev.Mode{Writable: writable, Unmap: true},
		})
		if err != nil {
			o.t.Fatal(err)
		}
		if err := d.Insert(v); err != nil {
			o.t.Fatal(err)
		}
	}
	if err := o.machine.Drives().Add(d); err != nil {
		o.t.Fatal(err)
	}
	c.Drive, c.Path = d, "/"+name
	c.Address.Target = o.host.FreeTarget()
	if _, err := o.host.AddUnit(c); err != nil {
		o.t.Fatal(err)
	}
	return d
}

// start lets the machine run until the test ends.
func (o *ours) start() *ours {
	ended := make(chan error, 1)
	go func() { ended <- o.machine.Run(context.Background()) }()
	o.monitor = monitor.New(monitor.Config{Machine: o.machine, Graph: o.graph})
	o.t.Cleanup(func() {
		o.machine.Quit(0, "test")
		if err := <-ended; !errors.As(err, new(*vm.QuitError)) {
			o.t.Error(err)
		}
		o.monitor.Close()
		if err := o.machine.Drives().Close(); err != nil {
			o.t.Error(err)
		}
	})
	return o
}

// on runs fn on the machine's goroutine.
func (o *ours) on(fn func() error) {
	o.t.Helper()
	var err error
	if e := o.machine.Do(func() { err = fn() }); e != nil || err != nil {
		o.t.Fatal(errors.Join(e, err))
	}
}

func (o *ours) write32(addr uint64, v uint32) {
	o.on(func() error { return o.slot.WriteMMIO(addr-slotBase, 4, uint64(v)) })
}

func (o *ours) read(addr uint64, n int) []byte {
	p := make([]byte, n)
	o.on(func() error { return o.machine.Memory().Read(addr, p) })
	return p
}

func (o *ours) write(addr uint64, p []byte) {
	o.on(func() error { return o.machine.Memory().Write(addr, p) })
}

func (o *ours) console(line string) string {
	var out bytes.Buffer
	o.monitor.Execute(o.t.Context(), &out, line)
	return out.String()
}
