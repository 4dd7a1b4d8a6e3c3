// Command toyemu is an emulator of a machine that exists nowhere else, with the console,
// the disks and the snapshots of qmon: what an author of an emulator has to write, and no
// more. cpu.go is its processor, console.go and disk.go its devices, program.go what runs.
//
//	go run ./examples/toyemu a.qcow2 b.qcow2
//
// Type + to count, p to print the count, w to write it to both disks, r to read it back;
// C-a c for the (qemu) prompt.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	"github.com/qmon/qmon/blockdev/driveopt"
	_ "github.com/qmon/qmon/formats/all"
	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

func main() {
	defer serial.RestoreTerminals()
	if err := run(os.Args[1:], "mon:stdio"); err != nil {
		serial.RestoreTerminals()
		fmt.Fprintln(os.Stderr, "toyemu:", err)
		os.Exit(1)
	}
}

// toy is the whole machine.
type toy struct {
	machine *vm.Machine
	monitor *monitor.Monitor
	lines   serial.Set
}

// run emulates until the monitor's quit or C-a x. terminal is what -serial takes.
func run(images []string, terminal string) (err error) {
	t := &toy{machine: vm.New(vm.Config{Type: "toy"})}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.build(images, terminal); err != nil {
		return err
	}
	t.machine.Reset("")
	if err := t.machine.Start(); err != nil {
		return err
	}
	err = t.machine.Run(context.Background())
	if quit := new(vm.QuitError); errors.As(err, &quit) {
		return nil
	}
	return err
}

// build puts the machine together.
func (t *toy) build(images []string, terminal string) error {
	m := t.machine
	ram, err := m.Memory().AddRAM("toy.ram", 0, ramBytes)
	if err != nil {
		return err
	}
	processor := &cpu{memory: m.Memory()}
	m.AddCPU(processor)
	m.OnReset(func() {
		clear(ram.Data)
		copy(ram.Data, program())
	})
	disks := &driveopt.Builder{
		Graph:  &blockdev.Graph{},
		Gate:   blockdev.FollowGate{},
		Drives: m.Drives(),
		Board:  driveopt.Board{Default: "ide", Interfaces: map[string]driveopt.Controller{"ide": {Buses: 1, Units: 2}}},
	}
	for i, name := range images {
		drive, err := disks.Add(context.Background(), driveopt.New(name, "", i))
		if err != nil {
			return err
		}
		d := &disk{name: drive.Name(), machine: m, drive: drive}
		if err := drive.Attach(d.name, nil); err != nil {
			return err
		}
		if _, err := m.Memory().AddIO(d.name, disksAt+uint64(i)*disksApart, disksApart, d); err != nil {
			return err
		}
		m.AddDevice(d)
	}
	t.monitor = monitor.New(monitor.Config{Machine: m, Drives: disks, Graph: disks.Graph, Gate: disks.Gate, Chardevs: t.lines.All})
	return t.addConsole(processor, terminal)
}

// addConsole makes the character device, with the guest's console and a monitor on it.
func (t *toy) addConsole(processor *cpu, terminal string) error {
	config, err := serial.Parse("serial0", terminal)
	if err != nil {
		return err
	}
	config.Hooks = serial.MuxHooks{Quit: func() { t.machine.Quit(0, vm.ReasonHostUI) }}
	line, err := t.lines.Open(config)
	if err != nil {
		return err
	}
	port, err := serial.Attach(line)
	if err != nil {
		return err
	}
	place, err := serial.Attach(line) // before the first is used: nothing typed gets lost
	if err != nil {
		return err
	}
	c := &console{machine: t.machine, line: port, irq: processor.wake}
	if _, err := t.machine.Memory().AddIO("console", consoleAt, 8, c); err != nil {
		return err
	}
	t.machine.AddDevice(c)
	if err := port.Connect(c); err != nil {
		return err
	}
	_, err = t.monitor.Attach(place, monitor.SessionOptions{Color: true})
	return err
}

// close ends consoles and disks.
func (t *toy) close() error {
	var err error
	if t.monitor != nil {
		err = t.monitor.Close()
	}
	return errors.Join(err, t.machine.Drives().Close(), t.lines.Close())
}
