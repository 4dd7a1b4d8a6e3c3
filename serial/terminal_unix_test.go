//go:build unix

package serial

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/internal/peer"
)

// terminalSession is a program at a pseudo terminal.
type terminalSession struct {
	cmd           *exec.Cmd
	master, slave *os.File
	before        terminalState
	shown         *recorder
}

func startAtTerminal(t *testing.T, cmd *exec.Cmd) *terminalSession {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s := &terminalSession{cmd: cmd, master: master, slave: slave, shown: &recorder{}}
	s.before = s.state(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, chunk)
		for {
			n, err := master.Read(buf)
			s.shown.Receive(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		slave.Close()
		<-done
		master.Close()
	})
	return s
}

// startTerminalProgram starts terminalProgram, by a command that takes its name if there is
// one, and waits until it is there.
func startTerminalProgram(t *testing.T, mode string, by ...string) *terminalSession {
	t.Helper()
	args := append(by, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childMode+"="+mode)
	s := startAtTerminal(t, cmd)
	waitUntil(t, "the program", func() bool { return strings.Contains(s.shown.String(), "ready") })
	return s
}

func (s *terminalSession) state(t *testing.T) terminalState {
	t.Helper()
	state, err := getTerminal(int(s.slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func (s *terminalSession) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func TestTerminalIsPutBack(t *testing.T) {
	key := func(k string) func(*testing.T, *terminalSession) {
		return func(t *testing.T, s *terminalSession) { s.master.WriteString(k) }
	}
	kill := func(sig syscall.Signal) func(*testing.T, *terminalSession) {
		return func(t *testing.T, s *terminalSession) { s.signal(t, sig) }
	}
	tests := []struct {
		name string
		end  func(*testing.T, *terminalSession)
		want string // how the program ended
	}{
		{"Close", key("q"), "exit status 0"},
		{"panic in main", key("m"), "exit status 2"},
		{"panic in a goroutine", key("g"), "exit status 2"},
		{"panic in the device", key("d"), "exit status 2"},
		{"SIGTERM", kill(syscall.SIGTERM), "signal: terminated"},
		{"SIGINT", kill(syscall.SIGINT), "signal: interrupt"},
		{"SIGHUP", kill(syscall.SIGHUP), "signal: hangup"},
		{"C-c", key("\x03"), "signal: interrupt"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "SIGHUP" && signal.Ignored(syscall.SIGHUP) {
				t.Skip("this process was started such that its children ignore it")
			}
			s := startTerminalProgram(t, "stdio")
			if cmp.Equal(s.state(t), s.before) {
				t.Fatal("the terminal is not in raw mode")
			}
			test.end(t, s)
			s.cmd.Wait()
			if got := s.cmd.ProcessState.String(); got != test.want {
				t.Errorf("%s, want %s; it said %q", got, test.want, s.shown)
			}
			if diff := cmp.Diff(s.before, s.state(t)); diff != "" {
				t.Errorf("the terminal is not as it was: %s", diff)
			}
		})
	}
}

// TestHangupsThatAreIgnored: what nohup(1) started goes on when its terminal hangs up.
func TestHangupsThatAreIgnored(t *testing.T) {
	s := startTerminalProgram(t, "stdio", "sh", "-c", `trap "" HUP; exec "$0"`)
	s.signal(t, syscall.SIGHUP)
	s.master.WriteString("q")
	s.cmd.Wait()
	if got := s.cmd.ProcessState.String(); got != "exit status 0" {
		t.Errorf("%s; it said %q", got, s.shown)
	}
}

func TestTerminalAcrossAStop(t *testing.T) {
	s := startTerminalProgram(t, "stdio")
	raw := s.state(t)
	s.master.WriteString("\x1a") // C-z
	waitUntil(t, "the stop", func() bool {
		var status syscall.WaitStatus
		pid, _ := syscall.Wait4(s.cmd.Process.Pid, &status, syscall.WUNTRACED|syscall.WNOHANG, nil)
		return pid > 0 && status.Stopped()
	})
	if diff := cmp.Diff(s.before, s.state(t)); diff != "" {
		t.Errorf("stopped, the terminal is not as it was: %s", diff)
	}
	s.signal(t, syscall.SIGCONT)
	waitUntil(t, "raw mode", func() bool { return cmp.Equal(s.state(t), raw) })
	s.master.WriteString("k")
	waitUntil(t, "an answer", func() bool { return strings.HasSuffix(s.shown.String(), "[k]") })
}

// TestControlKeysGoDownTheLine is about mon:stdio, where C-c is the guest's.
func TestControlKeysGoDownTheLine(t *testing.T) {
	s := startTerminalProgram(t, "mon:stdio")
	s.master.WriteString("\x03\x1a\x1c\r")
	waitUntil(t, "the keys", func() bool { return strings.HasSuffix(s.shown.String(), "[\x03][\x1a][\x1c][\r]") })
}

// TestRawModeIsQEMUs compares the terminal's settings with those the real program makes.
func TestRawModeIsQEMUs(t *testing.T) {
	peer.Need(t, "qemu-system-x86_64")
	for _, mode := range []string{"stdio", "mon:stdio"} {
		theirs := startAtTerminal(t, exec.Command("qemu-system-x86_64", "-machine", "none",
			"-nodefaults", "-display", "none", "-serial", mode))
		ours := startTerminalProgram(t, mode).state(t)
		// QEMU changes them in more than one step.
		waitUntil(t, "QEMU's to be ours in mode "+mode, func() bool { return cmp.Equal(theirs.state(t), ours) })
	}
}

func TestPTY(t *testing.T) {
	d := openForTest(t, "pty,id=a").(*PTY)
	f := connectForTest(t, d)
	if d.Filename() != "pty:"+d.Path() || !d.Terminal() {
		t.Errorf("%s, terminal %v", d.Filename(), d.Terminal())
	}
	d.Write([]byte("nobody hears this"))
	for i := range 2 {
		slave, err := os.OpenFile(d.Path(), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.wants(t, strings.Repeat("<opened>\x03in\r<closed>", i)+"<opened>")
		slave.WriteString("\x03in\r")
		d.Write([]byte("out\n"))
		if got := readSome(t, slave, 4); got != "out\n" {
			t.Errorf("the other side got %q", got)
		}
		f.wants(t, strings.Repeat("<opened>\x03in\r<closed>", i)+"<opened>\x03in\r")
		slave.Close()
		f.wants(t, strings.Repeat("<opened>\x03in\r<closed>", i+1))
	}
}

// TestOutputThatNobodyReads must come to an end, on a pseudo terminal and a pipe.
func TestOutputThatNobodyReads(t *testing.T) {
	path := t.TempDir() + "/p"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	terminal := openForTest(t, "pty,id=a").(*PTY)
	slave, err := os.OpenFile(terminal.Path(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	connectForTest(t, terminal).wants(t, "<opened>")
	for _, d := range []Chardev{terminal, openForTest(t, "pipe,id=b,path="+path)} {
		for range 1000 {
			if n, err := d.Write(make([]byte, 1000)); n != 1000 || err != nil {
				t.Fatalf("%s: %d, %v", d.Filename(), n, err)
			}
		}
	}
}

func TestPipes(t *testing.T) {
	path := t.TempDir() + "/p"
	for _, suffix := range []string{".in", ".out"} {
		if err := unix.Mkfifo(path+suffix, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := openForTest(t, "pipe,id=a,path="+path)
	f := connectForTest(t, d)
	in, err := os.OpenFile(path+".in", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(path+".out", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in.WriteString("in")
	in.Close()
	f.wants(t, "<opened>in")
	d.Write([]byte("out"))
	if got := readSome(t, out, 3); got != "out" {
		t.Errorf("the reader got %q", got)
	}
	if d.Filename() != "pipe" {
		t.Error(d.Filename())
	}
}

// TestEndOfStandardInput is not the end of the device.
func TestEndOfStandardInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in, err := newPollReader(int(r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	d := &stdio{in: in}
	d.init("a", true)
	f := connectForTest(t, d)
	go d.readLoop(d.in)
	w.WriteString("last")
	w.Close()
	f.wants(t, "<opened>last<closed>")
	in.Close()
}

// TestClosedReaderStaysClosed: every read after Close ends.
func TestClosedReaderStaysClosed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	in, err := newPollReader(int(r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() {
		for range 2 {
			_, err := in.Read(make([]byte, 1))
			ended <- err
		}
	}()
	for range 2 {
		select {
		case err := <-ended:
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("read: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a read waits on")
		}
	}
}
