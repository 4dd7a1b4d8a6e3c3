package savevm_test

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/savevm"
	"github.com/qmon/qmon/vm/virt"
)

// The same guest, OpenSBI and U-Boot with a virtio-blk disk, on our board and on QEMU's:
// each goes on from where the other saved it.

const prompt = "=> "

// guest is a machine at whose serial port somebody types.
type guest interface {
	send(t *testing.T, text string)
	await(t *testing.T, text string) string
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

// ourGuest starts the guest on our board.
func ourGuest(t *testing.T, firmware, kernel, disk string) boardGuest {
	t.Helper()
	g := &blockdev.Graph{}
	v, err := g.Open(background, disk, blockdev.OpenOptions{Driver: "qcow2", Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{Name: "d0"})
	if err := d.Insert(v); err != nil {
		t.Fatal(err)
	}
	con := newConsole()
	b, err := virt.New(virt.Config{
		RAM: 64 << 20, Serial: con, Disks: []virt.Disk{{Drive: d}},
		Boot: virt.Boot{Firmware: image(t, firmware), Kernel: image(t, kernel)},
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
func theirGuest(t *testing.T, firmware, kernel, disk string, args ...string) *qemuGuest {
	t.Helper()
	args = append([]string{
		"-machine", "virt", "-m", "64", "-nodefaults", "-display", "none", "-serial", "mon:stdio",
		"-bios", firmware, "-kernel", kernel,
		"-drive", "file=" + disk + ",format=qcow2,if=none,id=d0", "-device", "virtio-blk-device,drive=d0",
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

// interop finds what the tests need and makes a disk.
func interop(t *testing.T) (firmware, kernel, disk string) {
	t.Helper()
	peer.Need(t, "qemu-img", "qemu-system-riscv64")
	firmware = peer.NeedFile(t, "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")
	kernel = peer.NeedFile(t, "/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf")
	disk = filepath.Join(t.TempDir(), "disk.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", disk, "16M")
	return firmware, kernel, disk
}

func TestQEMULoadsOurs(t *testing.T) {
	firmware, kernel, disk := interop(t)
	t.Run("save", func(t *testing.T) {
		g := ourGuest(t, firmware, kernel, disk)
		g.start(t)
		toPrompt(t, g)
		mark(t, g, 1)
		if err := savevm.SaveTag(background, g.board.Machine(), "ours"); err != nil {
			t.Fatal(err)
		}
		mark(t, g, 2)
	})
	peer.Run(t, "qemu-img", "check", disk)
	t.Run("load", func(t *testing.T) {
		g := theirGuest(t, firmware, kernel, disk, "-loadvm", "ours")
		wantMarked(t, g, 1)
	})
}

func TestWeLoadQEMUs(t *testing.T) {
	firmware, kernel, disk := interop(t)
	t.Run("save", func(t *testing.T) {
		g := theirGuest(t, firmware, kernel, disk)
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
		g := ourGuest(t, firmware, kernel, disk)
		if err := savevm.Load(background, g.board.Machine(), "theirs"); err != nil {
			t.Fatal(err)
		}
		g.start(t)
		wantMarked(t, g, 1)
	})
	peer.Run(t, "qemu-img", "check", disk)
}
