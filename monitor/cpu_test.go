package monitor_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// stub is a 32-bit processor whose second page of addresses shows the first page of RAM.
// Its instructions have one byte, which says how many follow.
type stub struct{ pc uint64 }

var (
	_ vm.RegisterDumper = (*stub)(nil)
	_ vm.Translator     = (*stub)(nil)
	_ vm.Disassembler   = (*stub)(nil)
)

func (c *stub) Run(int64) (int64, vm.Exit) { return 0, vm.ExitHalt }
func (c *stub) Kick()                      {}
func (c *stub) Halted() bool               { return true }
func (c *stub) Reset()                     { c.pc = 0 }
func (c *stub) PC() uint64                 { return c.pc }
func (c *stub) States() []vm.State         { return nil }
func (c *stub) WordSize() int              { return 4 }
func (c *stub) DumpRegisters() string      { return fmt.Sprintf(" pc %08x\n", c.pc) }

func (c *stub) Register(name string) (uint64, bool) { return c.pc, name == "pc" }

func (c *stub) Translate(virt uint64) (uint64, bool) {
	return virt - 0x1000 + ramBase, virt >= 0x1000 && virt < 0x2000
}

func (c *stub) Disassemble(_ uint64, code []byte) (string, int) {
	n := 1 + int(code[0])
	if n > len(code) {
		return "bad", len(code)
	}
	return fmt.Sprintf("op%d", code[0]), n
}

// board is a device that describes itself.
type board struct{ name string }

func (b *board) Name() string       { return b.name }
func (b *board) Reset()             {}
func (b *board) States() []vm.State { return nil }

func (b *board) Describe() vm.Description {
	return vm.Description{
		Type:       b.name,
		Properties: []vm.Property{{Name: "force-legacy", Value: "true"}},
		GPIO:       []vm.GPIO{{Out: true, Name: "sysbus-irq", Lines: 1}, {Name: "", Lines: 96}},
		MMIO:       []vm.MMIORange{{Base: 0x10001000, Size: 0x200}},
		Buses: []vm.Bus{{Name: "bus.0", Type: "virtio-mmio-bus", Devices: []vm.Description{
			{Type: "virtio-blk-device", ID: "d0", Properties: []vm.Property{{Name: "drive", Value: `"x"`}}},
		}}},
	}
}

func (b *board) ReadMMIO(uint64, int) (uint64, error) { return 0, nil }
func (b *board) WriteMMIO(uint64, int, uint64) error  { return nil }

// stubMachine has two processors, RAM, ROM and two devices.
func stubMachine(t *testing.T) *vm.Machine {
	t.Helper()
	m := vm.New(vm.Config{UUID: "12345678-1234-1234-1234-123456789abc"})
	ram, err := m.Memory().AddRAM("board.ram", ramBase, ramSize)
	if err != nil {
		t.Fatal(err)
	}
	copy(ram.Data, []byte{0, 1, 9, 2, 9, 9, 0})
	if _, err := m.Memory().AddROM("board.rom", 0x1000, 0x1000); err != nil {
		t.Fatal(err)
	}
	first := &board{"virtio-mmio"}
	if _, err := m.Memory().AddIO("virtio-mmio", 0x10001000, 0x200, first); err != nil {
		t.Fatal(err)
	}
	m.AddDevice(first)
	m.AddDevice(&board{"virtio-net"})
	m.AddCPU(&stub{pc: 0x1001})
	m.AddCPU(&stub{pc: 0x1003})
	go m.Run(t.Context())
	return m
}

func TestProcessors(t *testing.T) {
	mon := monitor.New(monitor.Config{Machine: stubMachine(t)})
	w := newWire()
	if _, err := mon.Attach(w, monitor.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	defer mon.Close()
	w.until(prompt)
	threads := fmt.Sprintf("* CPU #0: thread_id=%[1]d\n  CPU #1: thread_id=%[1]d\n", os.Getpid())
	for _, c := range [][2]string{
		{"info cpus", threads},
		{"info registers", "\nCPU#0\n pc 00001001\n"},
		{"info registers -a", "\nCPU#0\n pc 00001001\n\nCPU#1\n pc 00001003\n"},
		{"info registers 1", "\nCPU#1\n pc 00001003\n"},
		{"info registers 2", "CPU#2 not available\n"},
		{"cpu 2", "invalid CPU index\n"},
		{"cpu 1", ""},
		{"info registers", "\nCPU#1\n pc 00001003\n"},
		{"print $pc - 3", "0x1000\n"},
		{"x/7xb 0x1000", "00001000: 0x00 0x01 0x09 0x02 0x09 0x09 0x00\n"},
		{"x/2xb 0x1fff", "00001fff: Cannot access memory\n"},
		{"xp/2xb 0x1000", "0000000000001000: 0x00 0x00\n"},
		{"x/3i 0x1000", "0x00001000:  op0\n0x00001001:  op1\n0x00001003:  op2\n"},
		{"x/2i $pc", "0x00001003:  op2\n0x00001006:  op0\n"},
		{"x/2i 0x1fff", "0x00001fff:  op0\n00002000: Cannot access memory\n"},
		{"gva2gpa 0x1010", "gpa: 0x80000010\n"},
		{"gva2gpa 0x10", "Unmapped\n"},
	} {
		w.enter(c[0] + "\n")
		if got, want := w.until(prompt), c[0]+"\n"+c[1]+prompt; got != want {
			t.Errorf("%s: %q, want %q", c[0], got, want)
		}
	}
}

// The layouts are those of info-virt-7.2.txt's machine.
func TestWhatTheMachineIsMadeOf(t *testing.T) {
	mon := monitor.New(monitor.Config{
		Machine: stubMachine(t),
		Package: "qmon 1.0",
		Chardevs: func() []serial.Chardev {
			return []serial.Chardev{newWire()}
		},
	})
	defer mon.Close()
	const regions = `0000000000001000-0000000000001fff (prio 0, rom): board.rom
0000000010001000-00000000100011ff (prio 0, i/o): virtio-mmio
0000000080000000-00000000800fffff (prio 0, ram): board.ram
`
	indent := func(by string) string {
		return by + strings.TrimSuffix(strings.ReplaceAll(regions, "\n", "\n"+by), by)
	}
	device := func(name string) string {
		return "  dev: " + name + `, id ""
    gpio-out "sysbus-irq" 1
    gpio-in "" 96
    force-legacy = true
    mmio 0000000010001000/0000000000000200
    bus: bus.0
      type virtio-mmio-bus
      dev: virtio-blk-device, id "d0"
        drive = "x"
`
	}
	for _, c := range []struct{ line, want string }{
		{"info uuid", "12345678-1234-1234-1234-123456789abc\n"},
		{"info name", ""},
		{"info version", "7.2.22 (qmon 1.0)\n"},
		{"info chardev", "wire: filename=test\n"},
		{"info history", ""},
		{"info block-jobs", "No active jobs\n"},
		{"info memory_size_summary", "base memory: 1048576\n"},
		{"info stats vm", ""},
		{"info stats foo", "invalid stats target foo\n"},
		{"info mtree", "address-space: cpu-memory-0\naddress-space: cpu-memory-1\naddress-space: memory\n" +
			"  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n" + indent("    ") + "\n"},
		{"info mtree -f", "FlatView #0\n AS \"memory\", root: system\n AS \"cpu-memory-0\", root: system\n" +
			" AS \"cpu-memory-1\", root: system\n Root memory region: system\n" + indent("  ") + "\n"},
		{"info qtree", "bus: main-system-bus\n  type System\n" + device("virtio-net") + device("virtio-mmio")},
		{"info ramblock", `              Block Name    PSize              Offset               Used              Total
               board.ram    4 KiB  0x0000000000000000 0x0000000000100000 0x0000000000100000
               board.rom    4 KiB  0x0000000000100000 0x0000000000001000 0x0000000000001000
`},
	} {
		if got := run(t, mon, c.line); got != c.want {
			t.Errorf("%s:\n%swant\n%s", c.line, got, c.want)
		}
	}
}

func TestLogItems(t *testing.T) {
	m := startMachine(t, vm.Config{})
	mon := monitor.New(monitor.Config{Machine: m})
	defer mon.Close()
	file := t.TempDir() + "/log"
	for _, c := range []struct {
		line   string
		on     bool
		failed bool
	}{
		{"logfile " + file, false, false},
		{"log int,guest_errors", true, false},
		{"log int,nosuch", true, true},
		{"log none", false, false},
		{"log all", true, false},
	} {
		var out bytes.Buffer
		err := mon.Execute(t.Context(), &out, c.line)
		if on := m.Log().Enabled(vm.LogGuestErrors); on != c.on || (err != nil) != c.failed {
			t.Errorf("%s: enabled %v, %v", c.line, on, err)
		}
		if c.failed && !strings.HasPrefix(out.String(), "Log items (comma separated):\nnone            ") {
			t.Errorf("%s printed %q", c.line, out.String())
		}
	}
	m.Log().Printf(vm.LogGuestErrors, "seen")
	if got, err := os.ReadFile(file); err != nil || string(got) != "seen\n" {
		t.Errorf("%q in the log, %v", got, err)
	}
	if err := m.Log().SetFile(""); err != nil {
		t.Error(err)
	}
}

func TestPowerButton(t *testing.T) {
	m := startMachine(t, vm.Config{})
	mon := monitor.New(monitor.Config{Machine: m})
	defer mon.Close()
	var events []vm.EventKind
	m.Subscribe(func(e vm.Event) { events = append(events, e.Kind) })
	run(t, mon, "system_powerdown")
	if len(events) != 1 || events[0] != vm.EventPowerdown {
		t.Errorf("events %v", events)
	}
}
