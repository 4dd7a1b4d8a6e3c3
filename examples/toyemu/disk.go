package main

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

var errTooMany = errors.New("more bytes than the console has room for")

// The disk controller's registers: where in memory, which sector, and a command, whose
// register reads as 1 after an error.
const (
	diskAddress = 0
	diskSector  = 4
	diskCommand = 8

	diskRead  = 1
	diskWrite = 2

	sectorBytes = 512
)

type diskState struct {
	Address uint32 `vmstate:"address"`
	Sector  uint32 `vmstate:"sector"`
	Failed  bool   `vmstate:"failed"`
}

// disk moves sectors between a drive and memory while the processor waits.
type disk struct {
	name    string
	machine *vm.Machine
	drive   *blockdev.Drive
	state   diskState
}

var (
	_ vm.Device = (*disk)(nil)
	_ vm.MMIO   = (*disk)(nil)
	_ vm.State  = (*disk)(nil)
)

func (d *disk) Name() string       { return d.name }
func (d *disk) Reset()             { d.state = diskState{} }
func (d *disk) States() []vm.State { return []vm.State{d} }

func (d *disk) ReadMMIO(off uint64, _ int) (uint64, error) {
	if off == diskCommand && d.state.Failed {
		return 1, nil
	}
	return 0, nil
}

func (d *disk) WriteMMIO(off uint64, _ int, v uint64) error {
	switch off {
	case diskAddress:
		d.state.Address = uint32(v)
	case diskSector:
		d.state.Sector = uint32(v)
	case diskCommand:
		d.state.Failed = d.transfer(v) != nil
	}
	return nil
}

func (d *disk) transfer(command uint64) error {
	buf, off := make([]byte, sectorBytes), int64(d.state.Sector)*sectorBytes
	memory := d.machine.Memory()
	switch command {
	case diskRead:
		if _, err := d.drive.ReadAt(buf, off); err != nil {
			return err
		}
		return memory.Write(uint64(d.state.Address), buf)
	case diskWrite:
		if err := memory.Read(uint64(d.state.Address), buf); err != nil {
			return err
		}
		_, err := d.drive.WriteAt(buf, off)
		return err
	}
	return errors.New("no such command")
}

func (d *disk) Section() vm.Section {
	return vm.Section{Name: "toydisk/" + d.name, Version: 1, MinVersion: 1}
}
func (d *disk) New() any                { return new(diskState) }
func (d *disk) Check(any, uint32) error { return nil }
func (d *disk) Save() (any, error)      { s := d.state; return &s, nil }
func (d *disk) Load(s any, _ uint32) error {
	d.state = *s.(*diskState)
	return nil
}
