package scsi_test

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

// qemu is QEMU's virt machine, worked through its qtest protocol. The processor waits for an
// interrupt for ever.
type qemu struct {
	t       testing.TB
	qtest   net.Conn
	replies *bufio.Reader
	human   net.Conn
	said    *bufio.Reader
}

const prompt = "(qemu) "

func newQEMU(t testing.TB, args ...string) *qemu {
	t.Helper()
	peer.Need(t, "qemu-system-riscv64")
	dir := t.TempDir()
	q := &qemu{t: t}
	sockets := map[string]net.Listener{}
	for _, name := range []string{"qtest", "monitor"} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		sockets[name] = l
	}
	cmd := exec.Command("qemu-system-riscv64", append([]string{"-M", "virt", "-S", "-m", "64", "-display", "none",
		"-nodefaults", "-bios", "none", "-qtest-log", "none", "-qtest", "unix:" + filepath.Join(dir, "qtest"),
		"-monitor", "unix:" + filepath.Join(dir, "monitor")}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	accept := func(name string) (net.Conn, *bufio.Reader) {
		c, err := sockets[name].Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c, bufio.NewReader(c)
	}
	q.qtest, q.replies = accept("qtest")
	q.human, q.said = accept("monitor")
	q.answer()
	q.write(0x80000000, []byte{0x73, 0x00, 0x50, 0x10, 0x6f, 0xf0, 0xdf, 0xff}) // wfi; j back
	q.console("cont")
	return q
}

// command is one exchange of the qtest protocol.
func (q *qemu) command(format string, args ...any) string {
	q.t.Helper()
	fmt.Fprintf(q.qtest, format+"\n", args...)
	for {
		line, err := q.replies.ReadString('\n')
		if err != nil {
			q.t.Fatal(err)
		}
		line = strings.TrimSpace(line)
		if value, ok := strings.CutPrefix(line, "OK"); ok {
			return strings.TrimSpace(value)
		}
		if !strings.HasPrefix(line, "IRQ") {
			q.t.Fatalf("qtest: %s", line)
		}
	}
}

func (q *qemu) write32(addr uint64, v uint32) { q.command("writel %#x %#x", addr, v) }

func (q *qemu) read(addr uint64, n int) []byte {
	return unhex(q.t, strings.TrimPrefix(q.command("read %#x %d", addr, n), "0x"))
}

func (q *qemu) write(addr uint64, p []byte) { q.command("write %#x %d 0x%x", addr, len(p), p) }

// answer reads up to the monitor's prompt.
func (q *qemu) answer() string {
	var out strings.Builder
	for !strings.HasSuffix(out.String(), prompt) {
		b, err := q.said.ReadByte()
		if err != nil {
			q.t.Fatal(err)
		}
		out.WriteByte(b)
	}
	return strings.TrimSuffix(out.String(), prompt)
}

func (q *qemu) console(line string) string {
	fmt.Fprintln(q.human, line)
	text := q.answer()
	// The line editor has drawn the line before; what follows its last redraw is the answer.
	if i := strings.LastIndex(text, "\x1b[K"); i >= 0 {
		text = text[i+3:]
	}
	return strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
}
