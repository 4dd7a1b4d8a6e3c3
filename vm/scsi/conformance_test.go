package scsi_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/vm/scsi"
)

var record = flag.Bool("record", false, "write down what QEMU answers")

// The units of the scripts, by their targets.
var targets = map[string]int{"disk": 0, "cd": 1, "floppy": 2, "empty": 3}

// images makes what is in the drives.
func images(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, size := range map[string]int64{
		"disk.img": 64 << 20, "a.iso": 430080, "b.iso": 626688, "dvd.iso": 800 << 20, "floppy.img": 1474560, "small.img": 737280,
	} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(name); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return dir
}

// oursWith is a machine of ours with the units of the scripts.
func oursWith(t testing.TB, dir string) *ours {
	o := newOurs(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	o.add("disk", file("disk.img"), "raw", true, scsi.Config{Serial: "ABC"})
	o.add("cd", file("a.iso"), "raw", false, scsi.Config{Kind: scsi.CDROM})
	o.add("floppy", file("floppy.img"), "raw", true, scsi.Config{Removable: true})
	o.add("empty", "", "", false, scsi.Config{Kind: scsi.CDROM})
	return o.start()
}

func qemuWith(t testing.TB, dir string) *qemu {
	drive := func(id, file, more string) []string {
		return []string{"-drive", fmt.Sprintf("if=none,id=%s,file=%s,format=raw%s", id, filepath.Join(dir, file), more)}
	}
	return newQEMU(t, slices.Concat(
		[]string{"-device", "virtio-scsi-device,id=s0,bus=virtio-mmio-bus.7"},
		drive("disk", "disk.img", ",discard=unmap"), []string{"-device", "scsi-hd,drive=disk,serial=ABC"},
		drive("cd", "a.iso", ",media=cdrom"), []string{"-device", "scsi-cd,drive=cd"},
		drive("floppy", "floppy.img", ""), []string{"-device", "scsi-hd,drive=floppy,removable=on"},
		[]string{"-drive", "if=none,id=empty,media=cdrom", "-device", "scsi-cd,drive=empty"},
	)...)
}

// play runs a script: lines "UNIT CDB [BYTES IN] [= BYTES OUT]", "> MONITOR COMMAND", "manage
// FUNCTION UNIT" and comments. It returns the lines with their answers.
func play(t testing.TB, d *initiator, dir, script string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		line, _, _ = strings.Cut(line, " -> ")
		switch {
		case line == "" || line[0] == '#':
			fmt.Fprintln(&out, line)
			continue
		case line[0] == '>':
			said := d.console(strings.ReplaceAll(line[2:], "@", dir+"/"))
			fmt.Fprintf(&out, "%s -> %q\n", line, strings.ReplaceAll(said, dir+"/", "@"))
			continue
		}
		words := strings.Fields(line)
		if words[0] == "manage" {
			n, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s -> %d\n", line, d.manage(uint32(n), targets[words[2]], 0))
			continue
		}
		fmt.Fprintf(&out, "%s -> %s\n", line, command(t, d, words))
	}
	return out.String()
}

func command(t testing.TB, d *initiator, words []string) answer {
	t.Helper()
	target, ok := targets[words[0]]
	if !ok {
		t.Fatalf("no unit %s", words[0])
	}
	in := 0
	var sent []byte
	for i, w := range words[2:] {
		if w == "=" {
			sent = data(t, words[3+i])
			break
		}
		n, err := strconv.Atoi(w)
		if err != nil {
			t.Fatal(err)
		}
		in = n
	}
	return d.scsi(target, unhex(t, words[1]), sent, in)
}

// data is bytes in hexadecimal, or "78*512".
func data(t testing.TB, word string) []byte {
	hexadecimal, times, ok := strings.Cut(word, "*")
	b := unhex(t, hexadecimal)
	if !ok {
		return b
	}
	n, err := strconv.Atoi(times)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(b, n)
}

// TestCommands plays the scripts of testdata, which hold what QEMU 7.2 answers. Lines behind a
// comment that begins with "differs:" are answered otherwise here, for the reason that it gives.
func TestCommands(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal(err, scripts)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := images(t)
			got := play(t, newInitiator(t, oursWith(t, dir)), dir, string(script))
			if *record {
				return
			}
			compare(t, string(script), got)
		})
	}
}

// TestQEMUAnswersSo plays the scripts on QEMU.
func TestQEMUAnswersSo(t *testing.T) {
	peer.Need(t, "qemu-system-riscv64")
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := images(t)
			got := play(t, newInitiator(t, qemuWith(t, dir)), dir, string(script))
			if *record {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(script), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// compare looks at every line; those that are to differ must.
func compare(t *testing.T, want, got string) {
	t.Helper()
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	differs := false
	for i := range w {
		if strings.HasPrefix(w[i], "#") {
			differs = strings.HasPrefix(w[i], "# differs:")
			continue
		}
		if w[i] == "" {
			differs = false
			continue
		}
		if same := w[i] == g[i]; same == differs {
			t.Errorf("line %d, to differ %v:\nQEMU %s\nours %s", i+1, differs, w[i], g[i])
		}
	}
}
