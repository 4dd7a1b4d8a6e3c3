package virt

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/u-root/u-root/pkg/dt"

	"github.com/qmon/qmon/vm/riscv"
)

// Handles of the nodes that others refer to.
const (
	handleCPU = iota + 1
	handleCPUInterrupts
	handlePLIC
	handleTest
)

// Interrupts of a hart, as its interrupt controller numbers them.
const (
	hartSoftware           = 3
	hartTimer              = 7
	hartSupervisorExternal = 9
	hartMachineExternal    = 11
)

// serialPath is where firmware finds its console.
const serialPath = "/soc/serial@10000000"

// Sizes that the tree tells where the memory map has less: what is behind the registers of
// these devices is empty.
const (
	treeRTCSize    = 0x1000
	treeUARTSize   = 0x100
	treeCLINTSize  = 0x10000
	treeVirtioSize = 0x1000
)

// treeConfig is what of the device tree depends on the user.
type treeConfig struct {
	ram                    uint64
	append                 string
	initrdStart, initrdEnd uint64
	fixed                  bool // no random numbers: every run is the same
}

// encode makes the device tree as firmware gets it (Devicetree Specification 0.4, chapter
// 5). The order of nodes is QEMU's: guests number disks by it.
func (c treeConfig) encode() ([]byte, error) {
	chosen, err := c.chosen()
	if err != nil {
		return nil, err
	}
	root := node("", cells("#address-cells", 2), cells("#size-cells", 2),
		words("compatible", "riscv-virtio"), words("model", "riscv-virtio,qemu"))
	root.Children = []*dt.Node{
		chosen,
		syscon("poweroff", "syscon-poweroff", finisherPass),
		syscon("reboot", "syscon-reboot", finisherReset),
		node(fmt.Sprintf("memory@%x", uint64(RAMBase)), words("device_type", "memory"), reg(RAMBase, c.ram)),
		cpus(),
		soc(),
	}
	tree := dt.FDT{
		Header:   dt.Header{Magic: dt.Magic, Version: 17, LastCompVersion: 16},
		RootNode: root,
	}
	var out bytes.Buffer
	_, err = tree.Write(&out)
	return out.Bytes(), err
}

func (c treeConfig) chosen() (*dt.Node, error) {
	seed := make([]byte, 32)
	if !c.fixed {
		if _, err := rand.Read(seed); err != nil {
			return nil, err
		}
	}
	n := node("chosen")
	if c.append != "" {
		n.Properties = append(n.Properties, words("bootargs", c.append))
	}
	if c.initrdEnd != 0 {
		n.Properties = append(n.Properties,
			quad("linux,initrd-start", c.initrdStart), quad("linux,initrd-end", c.initrdEnd))
	}
	n.Properties = append(n.Properties, dt.Property{Name: "rng-seed", Value: seed}, words("stdout-path", serialPath))
	return n, nil
}

// syscon is a node that tells which value of the finisher's register does what.
func syscon(name, compatible string, value uint32) *dt.Node {
	return node(name, cells("value", value), cells("offset", 0), cells("regmap", handleTest),
		words("compatible", compatible))
}

func cpus() *dt.Node {
	controller := node("interrupt-controller", cells("#interrupt-cells", 1), empty("interrupt-controller"),
		words("compatible", "riscv,cpu-intc"), cells("phandle", handleCPUInterrupts))
	cpu := node("cpu@0", cells("phandle", handleCPU), words("device_type", "cpu"), cells("reg", 0),
		words("status", "okay"), words("compatible", "riscv"),
		words("riscv,isa", riscv.ISA), words("mmu-type", riscv.MMUType))
	cpu.Children = []*dt.Node{controller}
	core := node("core0", cells("cpu", handleCPU))
	cluster := node("cluster0")
	cluster.Children = []*dt.Node{core}
	cpuMap := node("cpu-map")
	cpuMap.Children = []*dt.Node{cluster}
	all := node("cpus", cells("#address-cells", 1), cells("#size-cells", 0), cells("timebase-frequency", Timebase))
	all.Children = []*dt.Node{cpu, cpuMap}
	return all
}

func soc() *dt.Node {
	n := node("soc", cells("#address-cells", 2), cells("#size-cells", 2),
		words("compatible", "simple-bus"), empty("ranges"))
	n.Children = []*dt.Node{
		device("rtc", rtcBase, treeRTCSize, rtcIRQ, "google,goldfish-rtc"),
		device("serial", uartBase, treeUARTSize, uartIRQ, "ns16550a", cells("clock-frequency", uartClock)),
		node(fmt.Sprintf("test@%x", finisherBase), cells("phandle", handleTest), reg(finisherBase, finisherSize),
			words("compatible", "sifive,test1", "sifive,test0", "syscon")),
	}
	for slot := Slots - 1; slot >= 0; slot-- {
		n.Children = append(n.Children, device("virtio_mmio", virtioBase+uint64(slot)*virtioStride,
			treeVirtioSize, uint32(virtioIRQ+slot), "virtio,mmio"))
	}
	n.Children = append(n.Children,
		node(fmt.Sprintf("plic@%x", plicBase), cells("phandle", handlePLIC), cells("riscv,ndev", plicSources),
			reg(plicBase, plicSize),
			cells("interrupts-extended", handleCPUInterrupts, hartMachineExternal,
				handleCPUInterrupts, hartSupervisorExternal),
			empty("interrupt-controller"), words("compatible", "sifive,plic-1.0.0", "riscv,plic0"),
			cells("#address-cells", 0), cells("#interrupt-cells", 1)),
		node(fmt.Sprintf("clint@%x", swiBase),
			cells("interrupts-extended", handleCPUInterrupts, hartSoftware, handleCPUInterrupts, hartTimer),
			reg(swiBase, treeCLINTSize), words("compatible", "sifive,clint0", "riscv,clint0")))
	return n
}

// device is a node with registers and an interrupt of the PLIC.
func device(name string, base, size uint64, irq uint32, compatible string, more ...dt.Property) *dt.Node {
	n := node(fmt.Sprintf("%s@%x", name, base), cells("interrupts", irq), cells("interrupt-parent", handlePLIC))
	n.Properties = append(n.Properties, more...)
	n.Properties = append(n.Properties, reg(base, size), words("compatible", compatible))
	return n
}

func node(name string, properties ...dt.Property) *dt.Node {
	return &dt.Node{Name: name, Properties: properties}
}

func empty(name string) dt.Property { return dt.Property{Name: name} }

// cells is a property of 32-bit numbers.
func cells(name string, values ...uint32) dt.Property {
	p := dt.Property{Name: name}
	for _, v := range values {
		p.Value = binary.BigEndian.AppendUint32(p.Value, v)
	}
	return p
}

// quad is a property of one 64-bit number.
func quad(name string, v uint64) dt.Property {
	return dt.Property{Name: name, Value: binary.BigEndian.AppendUint64(nil, v)}
}

// reg is a range of addresses.
func reg(base, size uint64) dt.Property {
	p := quad("reg", base)
	p.Value = binary.BigEndian.AppendUint64(p.Value, size)
	return p
}

// words is a property of one string or several.
func words(name string, values ...string) dt.Property {
	p := dt.Property{Name: name}
	for _, v := range values {
		p.Value = append(append(p.Value, v...), 0)
	}
	return p
}
