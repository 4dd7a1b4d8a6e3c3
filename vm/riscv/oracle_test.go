package riscv

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/vm"
)

var updateRandom = flag.Bool("update-random", false, "write testdata/riscv anew with gcc and QEMU")

// oracleCPU is a QEMU hart with the instruction set of ours.
const oracleCPU = "rv64,h=false,sstc=false,zba=false,zbb=false,zbc=false,zbs=false"

// TestRandomPrograms runs the programs of testdata/riscv and compares what they print with
// what they printed on QEMU.
func TestRandomPrograms(t *testing.T) {
	if *updateRandom {
		writeRandomPrograms(t)
	}
	files, err := filepath.Glob("testdata/riscv/*.bin.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no programs: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f, ".bin.gz")
		t.Run(filepath.Base(name), func(t *testing.T) {
			compareOutput(t, string(peer.Gunzip(t, name+".out.gz")), runImage(t, peer.Gunzip(t, f)))
		})
	}
}

// seedsADay is how many programs of each kind TestRandomProgramsFresh makes, at most.
const seedsADay = uint64(4)

// TestRandomProgramsFresh makes new programs, of another seed every day, and runs them on
// QEMU and here.
func TestRandomProgramsFresh(t *testing.T) {
	needOracle(t)
	seed := uint64(time.Now().Unix() / 86400)
	end := time.Now().Add(15 * time.Second)
	for round := range seedsADay {
		for kind := range randomKinds {
			if time.Now().After(end) {
				return
			}
			t.Run(fmt.Sprintf("%s-%d", kind, seed*seedsADay+round), func(t *testing.T) {
				checkProgram(t, kind, seed*seedsADay+round, 400)
			})
		}
	}
}

func needOracle(t *testing.T) {
	peer.Need(t, "riscv64-linux-gnu-gcc")
	peer.Need(t, "riscv64-linux-gnu-objcopy")
	peer.Need(t, "qemu-system-riscv64")
}

// checkProgram makes a program, runs it on both sides and compares.
func checkProgram(t *testing.T, kind string, seed uint64, n int) {
	t.Helper()
	image := assemble(t, kind, seed, n)
	compareOutput(t, runQEMU(t, image), runImage(t, image))
}

// assemble makes the flat image of a random program.
func assemble(t *testing.T, kind string, seed uint64, n int) []byte {
	t.Helper()
	frame, err := os.ReadFile("testdata/random.S.in")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	source, object, flat := filepath.Join(dir, "p.s"), filepath.Join(dir, "p.elf"), filepath.Join(dir, "p.bin")
	if err := os.WriteFile(source, []byte(randomSource(string(frame), kind, seed, n)), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "riscv64-linux-gnu-gcc", "-march=rv64gc", "-mabi=lp64d", "-nostdlib", "-static", "-fno-pic", "-Wl,-Ttext=0x80000000",
		"-Wl,--build-id=none", "-o", object, source)
	command(t, "riscv64-linux-gnu-objcopy", "-O", "binary", object, flat)
	image, err := os.ReadFile(flat)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// runQEMU runs an image as firmware and gives what it prints. A second hart, which the
// program parks, has QEMU treat AMOs as on any machine of several.
func runQEMU(t *testing.T, image []byte) string {
	t.Helper()
	dir := t.TempDir()
	flat, out := filepath.Join(dir, "image.bin"), filepath.Join(dir, "out")
	if err := os.WriteFile(flat, image, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-riscv64", "-machine", "virt", "-cpu", oracleCPU, "-smp", "2", "-m", "16",
		"-nodefaults", "-display", "none", "-bios", flat, "-serial", "file:"+out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("QEMU: %v\n%s", err, text)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func compareOutput(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("output (-QEMU +ours), offset and value of each doubleword:\n%s", diff)
	}
}

// A bench is a hart with RAM and what random programs need of a board: the UART's
// transmitter, CLINT and finisher.
type bench struct {
	hart *Hart
	out  bytes.Buffer
	off  bool
}

// benchInstructions is more than any random program executes.
const benchInstructions = 5_000_000

func newBench(t testing.TB, image []byte) *bench {
	t.Helper()
	var mem vm.Memory
	b := &bench{}
	ram, err := mem.AddRAM("ram", ramBase, 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	copy(ram.Data, image)
	// A program that jumps into what it has overwritten may have the trap handler read here.
	if _, err := mem.AddROM("rom", 0x1000, 0xf000); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		base, size uint64
		write      func(off, v uint64)
	}{
		{0x10000000, 0x100, func(off, v uint64) { b.out.WriteByte(byte(v)) }},
		{0x100000, 0x1000, func(off, v uint64) { b.off = true; b.hart.Kick() }},
		{0x2000000, 0x10000, b.writeCLINT},
	} {
		if _, err := mem.AddIO("io", r.base, r.size, writer(r.write)); err != nil {
			t.Fatal(err)
		}
	}
	b.hart = New(Config{ResetPC: ramBase, Memory: &mem})
	b.hart.SetInterrupt(LineMTIP, true) // mtimecmp is 0 after reset
	return b
}

// writer is a device that takes writes and reads as an idle UART.
type writer func(off, v uint64)

func (w writer) ReadMMIO(off uint64, size int) (uint64, error) { return 0x60, nil }

func (w writer) WriteMMIO(off uint64, size int, v uint64) error {
	w(off, v)
	return nil
}

// writeCLINT knows hart 0, and a time at which every mtimecmp but the largest is past.
func (b *bench) writeCLINT(off, v uint64) {
	switch off {
	case 0:
		b.hart.SetInterrupt(LineMSIP, v&1 != 0)
	case 0x4000:
		b.hart.SetInterrupt(LineMTIP, v != 1<<64-1)
	}
}

// runImage runs an image and gives what it prints.
func runImage(t testing.TB, image []byte) string {
	t.Helper()
	b := newBench(t, image)
	for n := int64(0); !b.off; {
		did, _ := b.hart.Run(1000)
		if n += did; did == 0 || n > benchInstructions {
			t.Fatalf("the program does not end: pc %#x, mepc %#x, mcause %#x", b.hart.pc, b.hart.csrs.mepc, b.hart.csrs.mcause)
		}
	}
	return b.out.String()
}

// writeRandomPrograms fills testdata/riscv.
func writeRandomPrograms(t *testing.T) {
	needOracle(t)
	for kind := range randomKinds {
		for seed := range uint64(3) {
			image := assemble(t, kind, seed, 250)
			name := fmt.Sprintf("testdata/riscv/%s-%d", kind, seed)
			gzipTo(t, name+".bin.gz", image)
			gzipTo(t, name+".out.gz", []byte(runQEMU(t, image)))
		}
	}
}

func gzipTo(t *testing.T, name string, data []byte) {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
