package monitor_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/vm"
)

const (
	ramBase = 0x80000000
	ramSize = 1 << 20
)

// memoryLines are commands that look at memory, and what else keeps the format they used.
var memoryLines = []string{
	"x 0x80000000",
	"x/4xw 0x80000000",
	"xp /3xg 0x80000008",
	"xp/9xb 0x80000003",
	"xp 0x80000000",
	"xp/20c 0x80000000",
	"xp/3cw 0x80000000",
	"xp/5dw 0x80000000",
	"xp/5dg 0x80000000",
	"xp/5db 0x80000000",
	"xp/5dh 0x80000000",
	"xp/5ub 0x80000000",
	"xp/5ug 0x80000000",
	"xp/5ob 0x80000000",
	"xp/5oh 0x80000000",
	"xp/5ow 0x80000000",
	"xp/5og 0x80000000",
	"print 65",
	"print/c 65",
	"print 66",
	"print/x 0",
	"print/o 8",
	"print/o 0",
	"print/u -1",
	"print/d -1",
	"print/c 10",
	"print/c 0x5c",
	"print/c 0x27",
	"print/c 200",
	"print/i 5",
	"print 5",
	"print/5x 5",
	"xp/0x 0x80000000",
	"xp/4xw 0x800ffff8",
	"xp/4xw 0x60",
	"sum 0x80000000 4096",
	"sum 0x80000001 3",
	"sum 0x80000000 0",
	"x",
	"x/w",
	"x/s 0",
	"memsave 0x80000000",
	"memsave 0x80000000 16",
	"memsave 0x80000000 16 /tmp/x",
	"memsave 0x10 16 \"/dev/null\"",
	"memsave 0x80000000 16 \"/nosuchdir/x\"",
	"pmemsave 0x80000000 0x100000000 x",
}

// memoryMachine has RAM with the given contents and no processor.
func memoryMachine(t *testing.T, contents []byte) *vm.Machine {
	m := startMachine(t, vm.Config{})
	var err error
	if doErr := m.Do(func() {
		var r *vm.Region
		if r, err = m.Memory().AddRAM("ram", ramBase, ramSize); err == nil {
			copy(r.Data, contents)
		}
	}); doErr != nil || err != nil {
		t.Fatal(doErr, err)
	}
	return m
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(p)
	copy(p, "text'\\\n\r\x00\xff")
	return p
}

func TestMemoryLooksAsInQEMU(t *testing.T) {
	contents := randomBytes(ramSize)
	image := filepath.Join(t.TempDir(), "ram")
	if err := os.WriteFile(image, contents, 0o600); err != nil {
		t.Fatal(err)
	}
	want := askQEMU(t, memoryLines, "qemu-system-riscv64", "-machine", "virt", "-m", "1", "-bios", "none",
		"-device", fmt.Sprintf("loader,file=%s,addr=%#x,force-raw=on", image, ramBase))
	mon := monitor.New(monitor.Config{Machine: memoryMachine(t, contents)})
	defer mon.Close()
	w := newWire()
	if _, err := mon.Attach(w, monitor.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(prompt)
	for i, line := range memoryLines {
		w.enter(line + "\n")
		got := strings.TrimPrefix(w.until(prompt), line+"\n")
		if got != want[i]+prompt {
			t.Errorf("%s:\n%swant\n%s", line, got, want[i])
		}
	}
}

func TestSavedMemory(t *testing.T) {
	contents := randomBytes(ramSize)
	mon := monitor.New(monitor.Config{Machine: memoryMachine(t, contents)})
	defer mon.Close()
	file := filepath.Join(t.TempDir(), "dump")
	hole := make([]byte, 0x1000)
	for _, c := range []struct {
		line string
		want []byte
	}{
		{`memsave 0x80000010 100 "%s"`, contents[0x10:][:100]},
		{`pmemsave 0x80000000 0x100000 "%s"`, contents},
		{`pmemsave 0x800ff000 0x2000 "%s"`, append(contents[0xff000:len(contents):len(contents)], hole...)},
		{`pmemsave 0x7ffff000 0x1010 "%s"`, append(hole[:len(hole):len(hole)], contents[:0x10]...)},
	} {
		var out bytes.Buffer
		line := fmt.Sprintf(c.line, file)
		if err := mon.Execute(t.Context(), &out, line); err != nil || out.Len() > 0 {
			t.Errorf("%s: %v, %q", line, err, out.String())
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s wrote %d bytes, %v; want %d, or they differ", line, len(got), err, len(c.want))
		}
	}
}
