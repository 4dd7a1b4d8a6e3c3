package system

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
	"github.com/qmon/qmon/vm/virt"
	"github.com/qmon/qmon/vm/virt/guest"
)

// makeMachine makes the machine; the board is nil for the one without a processor.
func makeMachine(o *options, p personality, port serial.Chardev) (*vm.Machine, *virt.Board, error) {
	clock, err := makeClock(o)
	if err != nil {
		return nil, nil, err
	}
	config := vm.Config{
		Type:       p.stream,
		Name:       o.name,
		UUID:       o.uuid,
		Clock:      clock,
		NoReboot:   o.noReboot,
		NoShutdown: o.noShutdown,
	}
	if p.machine == "none" {
		if port != nil {
			if err := port.Connect(sink{}); err != nil {
				return nil, nil, err
			}
		}
		return vm.New(config), nil, nil
	}
	boot, err := readBoot(o)
	if err != nil {
		return nil, nil, err
	}
	modern, err := modernSlots(o)
	if err != nil {
		return nil, nil, err
	}
	rtc, err := readRTC(o)
	if err != nil {
		return nil, nil, err
	}
	board, err := virt.New(virt.Config{
		Machine: config, RAM: o.memory, Boot: boot, Serial: port, RTC: rtc, Modern: modern,
	})
	if err != nil {
		return nil, nil, &usageError{text: err.Error()}
	}
	return board.Machine(), board, nil
}

// makeClock is what -icount asks for, else the host's. While all processors wait, time
// passes as the host's does, unless sleep=off lets it jump to the next timer.
func makeClock(o *options) (*vm.Clock, error) {
	shift, given := o.icount.Get("shift")
	if !given {
		return vm.NewHostClock(), nil
	}
	list := slices.Clone(o.icount)
	sleep, err := list.TakeBool("sleep", true)
	if err != nil {
		return nil, &usageError{"-icount", err.Error()}
	}
	clock := vm.NewAdaptiveClock()
	if shift != "auto" {
		n, err := strconv.Atoi(shift)
		if err != nil {
			return nil, err
		}
		clock = vm.NewInstructionClock(n)
	}
	clock.SetSleep(sleep)
	return clock, nil
}

// readBoot reads firmware, kernel and initial RAM disk, or chooses them: OpenSBI before a
// kernel, OpenSBI and U-Boot where both are installed, else the built-in guest.
func readBoot(o *options) (virt.Boot, error) {
	bios, kernel := o.bios, o.kernel
	firmware, haveFirmware := virt.InstalledFirmware()
	loader, haveLoader := virt.InstalledKernel()
	switch {
	case bios == "default", bios == "" && kernel != "":
		if !haveFirmware {
			return virt.Boot{}, &usageError{text: "Unable to find the RISC-V BIOS \"fw_dynamic.bin\""}
		}
		bios = firmware
	case bios == "" && haveFirmware && haveLoader:
		bios, kernel = firmware, loader
	case bios == "":
		bios = builtinGuest
	}
	boot := virt.Boot{Append: o.append}
	if bios == builtinGuest {
		boot.Kernel = &virt.Image{Name: "built-in guest", Data: guest.Program}
		return boot, nil
	}
	for _, part := range []struct {
		path, what string
		to         **virt.Image
	}{{bios, "firmware", &boot.Firmware}, {kernel, "kernel", &boot.Kernel}, {o.initrd, "initrd", &boot.Initrd}} {
		if part.path == "" || part.path == "none" {
			continue
		}
		image, err := virt.ReadImage(part.path)
		if err != nil {
			return virt.Boot{}, &usageError{text: fmt.Sprintf("could not load %s '%s': %s", part.what, part.path, blockdev.Message(err))}
		}
		*part.to = image
	}
	return boot, nil
}

// rtcLayouts are how -rtc base= writes a date.
var rtcLayouts = []string{"2006-01-02T15:04:05", "2006-01-02"}

func readRTC(o *options) (virt.RTC, error) {
	base, _ := o.rtc.Get("base")
	clock, _ := o.rtc.Get("clock")
	rtc := virt.RTC{Virtual: clock == "vm"}
	switch base {
	case "", "utc":
		return rtc, nil
	case "localtime":
		now := time.Now()
		_, offset := now.Zone()
		rtc.Base = now.Add(time.Duration(offset) * time.Second)
		return rtc, nil
	}
	for _, layout := range rtcLayouts {
		if t, err := time.Parse(layout, base); err == nil {
			rtc.Base = t
			return rtc, nil
		}
	}
	return rtc, &usageError{text: errors.New("invalid datetime format\nvalid formats: '2006-06-17T16:01:21' or '2006-06-17'").Error()}
}
