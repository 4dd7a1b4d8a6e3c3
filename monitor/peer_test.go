package monitor_test

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/qmon/qmon/internal/peer"
)

// askQEMU runs lines at the monitor of a real machine that stands still, and returns what
// each of them printed.
func askQEMU(t *testing.T, lines []string, program string, args ...string) []string {
	t.Helper()
	peer.Need(t, program)
	socket := filepath.Join(t.TempDir(), "s")
	args = append(args, "-nodefaults", "-display", "none", "-S", "-monitor", "unix:"+socket+",server=on,wait=on")
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	conn := dial(t, socket)
	defer conn.Close()
	readUntilPrompt(t, conn)
	var out []string
	for _, line := range lines {
		fmt.Fprintln(conn, line)
		_, text, _ := strings.Cut(readUntilPrompt(t, conn), "\r\n")
		out = append(out, strings.ReplaceAll(text, "\r\n", "\n"))
	}
	return out
}

func dial(t *testing.T, socket string) net.Conn {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.SetDeadline(time.Now().Add(2 * time.Minute))
			return conn
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// escapes are what the line editor of QEMU moves the cursor with.
var escapes = regexp.MustCompile(`\x1b\[\d*[A-Z]`)

// readUntilPrompt returns what came before the prompt of the line editor, which shows the
// prompt behind a line end, while the echo of a line does not end in it.
func readUntilPrompt(t *testing.T, conn net.Conn) string {
	t.Helper()
	var got bytes.Buffer
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		got.Write(buf[:n])
		if text := got.String(); strings.HasSuffix(text, prompt) && strings.Contains(text, "\n") {
			return escapes.ReplaceAllString(strings.TrimSuffix(text, prompt), "")
		}
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
	}
}

// oddLines are mistakes and oddities whose outcome is the same in QEMU.
var oddLines = []string{
	"eject cd x", "eject -f -f cd", "eject -ff cd", "eject - cd", "eject -fx cd", `eject "cd`,
	`eject "c\-d"`, `eject "cd\n"`, `eject "c\"d"`, `eject 'cd'`, `eject c"d"`, `eject "c"d`, `eject "c" "d"`, `eject ""`,
	`drive_add 0 "a\qb"`, `drive_add 0 ""`, `drive_add 0 "x`, "drive_add 0 if=none", "drive_add 0 if=none,id=zz",
	"info block zz", "drive_add 0 if=foo,id=z2", "drive_add 0 if=virtio,id=z3", "drive_add foo if=none,id=z4",
	"drive_add 0 -n if=none", "drive_add 0 if=none,id=x x", `drive_add "0" id=k,if=none`, "drive_add -n 0 foo=bar",
	"drive_add -n 0 driver=null-co", "drive_add -n 0 driver=null-co,node-name=nn",
	"drive_add -n 0 driver=null-co,node-name=nn", "drive_add -n 0 driver=null-co,node-name=9",
	"drive_add -n 0 driver=foo,node-name=9a", "drive_add 0 if=none,id=9",
	"drive_add 0 if=none,id=r,file=@DIR@/b.qcow2,format=foo", "drive_add 0 if=none,id=r,file=@DIR@/nosuch",
	"drive_add 0 if=none,id=q,file=@DIR@/b.qcow2,media=cdrom", "info block q",
	"drive_add 0 if=none,id=q2,file=@DIR@/b.qcow2,readonly=foo", "drive_add 0 if=none,id=q3,file=@DIR@/b.qcow2,cache=foo",
	"eject zz", "change cd @DIR@/a.qcow2 nosuch", "change hd @DIR@/b.qcow2", "drive_del zz", "drive_del nn", "drive_del nn",
	"change -f cd @DIR@/b.qcow2", "change cd -f", "change cd -x y", "change cd @DIR@/b.qcow2 raw read-only x",
	"change cd -f @DIR@/b.qcow2", "info block cd", "info block -v cd",
	"block_resize", "block_resize hd 32M x", "block_resize hd 1G", "block_resize hd 1.5G", "block_resize hd 10MB",
	"block_resize hd 99999999999999999999", "block_resize hd 9223372036854775807", "block_resize hd .5G",
	"block_resize hd 1.", "block_resize hd 1b", "block_resize nosuch 1", "info block -v hd",
	"commit all x", "commit cd", `commit "hd"`, "commit nosuch", "savevm a b", "loadvm", `loadvm ""`, "delvm", "delvm a b",
	"loadvm a b", "loadvm nosuch", "info snapshots x", `info block "hd"`, "info block -n -v hd", "info block -nv",
	"info block -v -n foo", "info block --", "info blockstats x", "info savevm", "stop;cont", "infostatus", `info\ status`,
	"print/", "print/ 5", "print /x", "print /x/d 5", "print //", "x/-1x 0", "x/4x4x 0", "memsave 0 -1 x",
	"info  status  x", "help a b", `help "info mtree"`, "info status foo", "info nosuch foo", `info "status"`, `"info" status`,
	"info/x", "stop/x", "info block/x", "quit x", "q x", "c 1", "? nosuch", "help?", "?stop", "info stats", "info stats foo",
	"info uuid", "info name", "info block-jobs x", "cpu 7", "cpu x", "logfile", "log",
}

func TestOddLinesAsInQEMU(t *testing.T) {
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{image("create", "-f", "qcow2", "@DIR@/a.qcow2", "1M"), image("create", "-f", "qcow2", "@DIR@/b.qcow2", "1M")},
		Setup:  []string{"-nodefaults", "-drive", "if=none,id=hd,file=@DIR@/a.qcow2", "-drive", "if=none,id=cd,media=cdrom"},
	})
	theirs := newBench(t, scenario{
		Images: [][]any{image("create", "-f", "qcow2", "@DIR@/a.qcow2", "1M"), image("create", "-f", "qcow2", "@DIR@/b.qcow2", "1M")},
	}, t.TempDir())
	b.attach(b.drive("hd"), "/machine/disk")
	var lines []string
	for _, line := range oddLines {
		lines = append(lines, strings.ReplaceAll(line, "@DIR@", theirs.dir))
	}
	want := askQEMU(t, lines, "qemu-system-x86_64", "-drive", "if=none,id=hd,file="+theirs.dir+"/a.qcow2",
		"-device", "virtio-blk-pci,drive=hd", "-drive", "if=none,id=cd,media=cdrom")
	varying := regexp.MustCompile(`#block\d+|Attached to: .*|disk size: .*`)
	alike := func(text, dir string) string {
		return varying.ReplaceAllString(strings.ReplaceAll(text, dir, "@DIR@"), "@")
	}
	for i, line := range oddLines {
		got := alike(run(t, mon, strings.ReplaceAll(line, "@DIR@", b.dir)), b.dir)
		if want := alike(want[i], theirs.dir); got != want {
			t.Errorf("%s:\n%swant\n%s", line, got, want)
		}
	}
}
