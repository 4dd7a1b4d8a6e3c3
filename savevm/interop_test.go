package savevm_test

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/savevm"
	"github.com/qmon/qmon/vm"
	"github.com/qmon/qmon/vm/virt"
)

// The same guest, OpenSBI and U-Boot with a virtio-blk disk, on our board and on QEMU's:
// each goes on from where the other saved it.

const prompt = "=> "

// guest is a machine at whose serial port somebody types.
type guest interface {
	send(t *testing.T, text string)
	await(t *testing.T, texts ...string) string
}

// shell types a command for U-Boot and returns what it prints.
func shell(t *testing.T, g guest, command string) string {
	t.Helper()
	g.send(t, command+"\r")
	g.await(t, "\n")
	return strings.TrimSuffix(g.await(t, prompt), prompt)
}

// toPrompt stops U-Boot's countdown.
func toPrompt(t *testing.T, g guest) {
	t.Helper()
	g.await(t, "Hit any key")
	g.send(t, " ")
	g.await(t, prompt)
}

// goOnToPrompt goes on from a snapshot made anywhere between power-on and the prompt: Enter
// ends a countdown that has begun and makes a prompt that is there come again.
func goOnToPrompt(t *testing.T, g guest) {
	t.Helper()
	g.send(t, "\r")
	if strings.Contains(g.await(t, "Hit any key", prompt), prompt) {
		return
	}
	g.send(t, " ")
	g.await(t, prompt)
}

// mark leaves traces in memory, in U-Boot's variables and on the disk.
func mark(t *testing.T, g guest, v int) {
	t.Helper()
	for _, command := range []string{
		fmt.Sprint("setenv mark value", v),
		fmt.Sprintf("mw.l 81000000 cafe%04x 80", v),
		"virtio scan",
		"virtio write 81000000 7 1",
	} {
		if out := shell(t, g, command); strings.Contains(out, "rror") {
			t.Fatalf("%s: %s", command, out)
		}
	}
}

// wantMarked fails unless the traces are those of mark(v), and disk and clock work.
func wantMarked(t *testing.T, g guest, v int) {
	t.Helper()
	pattern := fmt.Sprintf("cafe%04x", v)
	for _, step := range []struct{ command, want string }{
		{"printenv mark", fmt.Sprint("mark=value", v)},
		{"md.l 81000000 1", pattern},
		{"mw.l 81000000 0 80", ""},
		{"virtio read 81000000 7 1", "OK"},
		{"md.l 81000000 1", pattern},
		{"sleep 1; echo $mark$mark", fmt.Sprintf("value%dvalue%d", v, v)},
	} {
		if out := shell(t, g, step.command); !strings.Contains(out, step.want) {
			t.Errorf("%s prints %q, want %q", step.command, out, step.want)
		}
	}
}

func image(t *testing.T, path string) *virt.Image {
	t.Helper()
	i, err := virt.ReadImage(path)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// boardGuest is the guest on our board.
type boardGuest struct {
	*console
	board *virt.Board
}

// setup is one way to configure both machines alike.
type setup struct {
	firmware, kernel, disk string
	modern                 bool // virtio-mmio version 2
	icount                 bool
}

// ourGuest makes our board, not started.
func ourGuest(t *testing.T, s setup) boardGuest {
	t.Helper()
	g := &blockdev.Graph{}
	v, err := g.Open(background, s.disk, blockdev.OpenOptions{Driver: "qcow2", Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{Name: "d0"})
	if err := d.Insert(v); err != nil {
		t.Fatal(err)
	}
	con, clock := newConsole(), vm.NewHostClock()
	if s.icount {
		clock = vm.NewInstructionClock(icountShift)
	}
	b, err := virt.New(virt.Config{
		Machine: vm.Config{Clock: clock},
		RAM:     64 << 20, Serial: con, Disks: []virt.Disk{{Drive: d}}, Modern: s.modern,
		Boot: virt.Boot{Firmware: image(t, s.firmware), Kernel: image(t, s.kernel)},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := b.Machine()
	if err := m.Drives().Add(d); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(background)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := m.Drives().Close(); err != nil {
			t.Error(err)
		}
	})
	return boardGuest{con, b}
}

func (g boardGuest) start(t *testing.T) {
	t.Helper()
	var err error
	if e := g.board.Machine().Do(func() { err = g.board.Machine().Start() }); e != nil || err != nil {
		t.Fatal(e, err)
	}
}

func (g boardGuest) stop(t *testing.T) {
	t.Helper()
	if err := g.board.Machine().Do(func() { g.board.Machine().Stop(vm.StatePaused) }); err != nil {
		t.Fatal(err)
	}
}

// qemuGuest is the guest on QEMU's machine, with the monitor behind C-a c.
type qemuGuest struct {
	transcript
	in io.Writer
}

func (g *qemuGuest) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(g.in, text); err != nil {
		t.Fatal(err)
	}
}

// theirGuest starts the guest on QEMU's machine.
func theirGuest(t *testing.T, s setup, args ...string) *qemuGuest {
	t.Helper()
	if s.modern {
		args = append(args, "-global", "virtio-mmio.force-legacy=false")
	}
	if s.icount {
		args = append(args, "-icount", fmt.Sprint("shift=", icountShift))
	}
	args = append([]string{
		"-machine", "virt", "-m", "64", "-nodefaults", "-display", "none", "-serial", "mon:stdio",
		"-bios", s.firmware, "-kernel", s.kernel,
		"-drive", "file=" + s.disk + ",format=qcow2,if=none,id=d0", "-device", "virtio-blk-device,drive=d0",
	}, args...)
	cmd := exec.Command("qemu-system-riscv64", args...)
	g := &qemuGuest{transcript: newTranscript()}
	cmd.Stdout, cmd.Stderr = &g.transcript, &g.transcript
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	g.in = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = io.WriteString(in, "\x01x") // ends QEMU in an orderly way
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// icountShift makes an instruction take eight nanoseconds.
const icountShift = 3

// eachSetup finds what the tests need and runs one with every setup.
func eachSetup(t *testing.T, run func(t *testing.T, s setup)) {
	t.Helper()
	peer.Need(t, "qemu-img", "qemu-system-riscv64")
	firmware := peer.NeedFile(t, "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")
	kernel := peer.NeedFile(t, "/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf")
	for name, s := range map[string]setup{
		"legacy virtio":      {},
		"modern virtio":      {modern: true},
		"counting the clock": {icount: true},
	} {
		t.Run(name, func(t *testing.T) {
			s.firmware, s.kernel, s.disk = firmware, kernel, filepath.Join(t.TempDir(), "disk.qcow2")
			peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", s.disk, "16M")
			run(t, s)
			peer.Run(t, "qemu-img", "check", s.disk)
		})
	}
}

func TestQEMULoadsOurs(t *testing.T) {
	eachSetup(t, func(t *testing.T, s setup) {
		t.Run("save", func(t *testing.T) {
			g := ourGuest(t, s)
			g.start(t)
			toPrompt(t, g)
			mark(t, g, 1)
			if err := savevm.SaveTag(background, g.board.Machine(), "ours"); err != nil {
				t.Fatal(err)
			}
			mark(t, g, 2)
		})
		t.Run("load", func(t *testing.T) {
			wantMarked(t, theirGuest(t, s, "-loadvm", "ours"), 1)
		})
	})
}

func TestWeLoadQEMUs(t *testing.T) {
	eachSetup(t, func(t *testing.T, s setup) {
		t.Run("save", func(t *testing.T) {
			g := theirGuest(t, s)
			toPrompt(t, g)
			mark(t, g, 1)
			g.send(t, "\x01c")
			g.await(t, "(qemu) ")
			g.send(t, "savevm theirs\n")
			g.await(t, "\n")
			g.await(t, "(qemu) ")
			g.send(t, "\x01c\r")
			g.await(t, prompt)
			mark(t, g, 2)
		})
		t.Run("load", func(t *testing.T) {
			g := ourGuest(t, s)
			if err := savevm.Load(background, g.board.Machine(), "theirs"); err != nil {
				t.Fatal(err)
			}
			g.start(t)
			wantMarked(t, g, 1)
		})
	})
}

// Snapshots that are made at any time while the guest boots go on to its prompt, here and
// in QEMU.
func TestSnapshotsWhileBooting(t *testing.T) {
	const snapshots = 4
	eachSetup(t, func(t *testing.T, s setup) {
		t.Run("save", func(t *testing.T) {
			g := ourGuest(t, s)
			m := g.board.Machine()
			g.start(t)
			for i := range snapshots {
				if err := savevm.SaveTag(background, m, fmt.Sprint("boot", i)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			for i := range snapshots {
				g.stop(t)
				if err := savevm.Load(background, m, fmt.Sprint("boot", i)); err != nil {
					t.Fatal(err)
				}
				g.forget()
				g.start(t)
				goOnToPrompt(t, g)
			}
		})
		for i := range snapshots {
			t.Run(fmt.Sprint("load", i), func(t *testing.T) {
				goOnToPrompt(t, theirGuest(t, s, "-loadvm", fmt.Sprint("boot", i)))
			})
		}
	})
}
