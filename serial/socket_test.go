package serial

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/qmon/qmon/internal/peer"
)

// openForTest opens what -chardev would, and closes it with the test.
func openForTest(t *testing.T, arg string) Chardev {
	t.Helper()
	c, err := ParseChardev(arg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func connectForTest(t *testing.T, d Chardev) *recorder {
	t.Helper()
	f := &recorder{}
	if err := d.Connect(f); err != nil {
		t.Fatal(err)
	}
	return f
}

// readSome reads exactly n bytes.
func readSome(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	buf := make([]byte, n)
	if k, err := io.ReadFull(r, buf); err != nil {
		t.Fatalf("read %q: %v", buf[:k], err)
	}
	return string(buf)
}

func dialForTest(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

func TestUnixServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	d := openForTest(t, "socket,id=a,server=on,wait=off,path="+path)
	f := connectForTest(t, d)
	if got, want := d.Filename(), "disconnected:unix:"+path+",server=on"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	d.Write([]byte("nobody hears this"))
	for i := range 2 { // one client after the other
		conn := dialForTest(t, "unix", path)
		f.wants(t, strings.Repeat("<opened>in<closed>", i)+"<opened>")
		if got, want := d.Filename(), "unix:"+path+",server=on"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		io.WriteString(conn, "in")
		d.Write([]byte("out"))
		if got := readSome(t, conn, 3); got != "out" {
			t.Errorf("the client got %q", got)
		}
		conn.Close()
		f.wants(t, strings.Repeat("<opened>in<closed>", i+1))
	}
}

func TestUnixServerReplacesOnlySockets(t *testing.T) {
	dir := t.TempDir()
	stale, file := filepath.Join(dir, "stale"), filepath.Join(dir, "file")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	openForTest(t, "socket,id=a,server=on,wait=off,path="+stale)
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = openChardev("socket,id=a,server=on,wait=off,path=" + file)
	if want := "Failed to bind socket to " + file + ": Address already in use"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestTCPServer(t *testing.T) {
	d := openForTest(t, "socket,id=a,server=on,wait=off,host=127.0.0.1,port=0")
	f := connectForTest(t, d)
	m := regexp.MustCompile(`^disconnected:tcp:(127\.0\.0\.1:\d+),server=on$`).FindStringSubmatch(d.Filename())
	if m == nil {
		t.Fatal(d.Filename())
	}
	conn := dialForTest(t, "tcp", m[1])
	f.wants(t, "<opened>")
	if got, want := d.Filename(), fmt.Sprintf("tcp:%s,server=on <-> %s", m[1], conn.LocalAddr()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	_, port, _ := net.SplitHostPort(m[1])
	err := openChardev("socket,id=b,server=on,wait=off,host=127.0.0.1,port=" + port)
	if want := "Failed to find an available port: Address already in use"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	next := openForTest(t, "socket,id=b,server=on,wait=off,host=127.0.0.1,port="+port+",to=65535")
	if next.Filename() == d.Filename() {
		t.Errorf("the same port: %s", next.Filename())
	}
}

func TestWaitForAClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c, err := Parse("a", "unix:"+path+",server=on")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1)
	c.Info = func(text string) { told <- text }
	opened := make(chan Chardev)
	go func() {
		d, err := Open(c)
		if err != nil {
			t.Error(err)
		}
		opened <- d
	}()
	if got, want := <-told, "QEMU waiting for connection on: disconnected:unix:"+path+",server=on"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	conn := dialForTest(t, "unix", path)
	d := <-opened
	io.WriteString(conn, "hello")
	connectForTest(t, d).wants(t, "<opened>hello")
	d.Close()
}

func TestClientReconnects(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	d := openForTest(t, "socket,id=a,host=127.0.0.1,reconnect=1,port="+port)
	f := connectForTest(t, d)
	for i := range 2 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		f.wants(t, strings.Repeat("<opened><closed>", i)+"<opened>")
		d.Write([]byte("again"))
		if got := readSome(t, conn, 5); got != "again" {
			t.Errorf("the server got %q", got)
		}
		conn.Close()
	}
	f.wants(t, "<opened><closed><opened><closed>")
	if got, want := d.Filename(), "disconnected:tcp:127.0.0.1:"+port; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestClientWithoutServerKeepsTrying(t *testing.T) {
	c, err := ParseChardev("socket,id=a,reconnect=1,path=" + filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	var told string
	c.Info = func(text string) { told = text }
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if want := "Unable to connect character device a: Failed to connect to '" + c.Path +
		"': No such file or directory"; told != want {
		t.Errorf("%s, want %s", told, want)
	}
	l, err := net.Listen("unix", c.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "late")
	connectForTest(t, d).wants(t, "<opened>late")
	d.Close()
}

// TestNothingIsReadAhead sends much more than the front end takes.
func TestNothingIsReadAhead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	d := openForTest(t, "socket,id=a,server=on,wait=off,path="+path)
	f := &recorder{room: 10}
	if err := d.Connect(f); err != nil {
		t.Fatal(err)
	}
	conn := dialForTest(t, "unix", path)
	n, most := 0, 16<<20
	for n < 100 {
		conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		sent, _ := conn.Write(make([]byte, most-n))
		n += sent
	}
	if n == most {
		t.Error("16 MiB were taken for a front end with room for 10 bytes")
	}
	for got := 10; got < 100; got += 10 {
		waitUntil(t, "input", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.taken == 10 })
		f.makeRoom()
		d.Ready()
	}
}

func TestOutputToASlowClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	d := openForTest(t, "socket,id=a,server=on,wait=off,path="+path)
	f := connectForTest(t, d)
	conn := dialForTest(t, "unix", path)
	f.wants(t, "<opened>")
	text := strings.Repeat("0123456789abcdef", 4*queueRoom/16)
	go func() {
		for off := 0; off < len(text); off += 1000 {
			d.Write([]byte(text[off:min(off+1000, len(text))]))
		}
	}()
	if got := readSome(t, conn, len(text)); got != text {
		t.Error("the client got something else")
	}
}

func TestCloseSendsTheLastWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c, _ := Parse("a", "unix:"+path+",server=on,wait=off")
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	f := connectForTest(t, d)
	conn := dialForTest(t, "unix", path)
	f.wants(t, "<opened>")
	d.Write([]byte("QEMU: Terminated\n\r"))
	d.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "QEMU: Terminated\n\r" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTelnet(t *testing.T) {
	d := openForTest(t, "socket,id=a,server=on,wait=off,host=127.0.0.1,port=0,telnet=on")
	f := connectForTest(t, d)
	address := strings.TrimSuffix(strings.TrimPrefix(d.Filename(), "disconnected:telnet:"), ",server=on")
	conn := dialForTest(t, "tcp", address)
	if got, want := readSome(t, conn, 12), "\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00"; got != want {
		t.Errorf("hello %q, want %q", got, want)
	}
	io.WriteString(conn, "\xff\xfd\x01a\xff\xffb\xff\xfa\x18\x00xterm\xff\xffd\xff\xf0c\xff\xf3d\xff")
	f.wants(t, "<opened><break>a\xffbcd")
	io.WriteString(conn, "\xf6e")
	f.wants(t, "<opened><break>a\xffbcde")
	d.Write([]byte("x\xffy"))
	if got := readSome(t, conn, 4); got != "x\xff\xffy" {
		t.Errorf("the client got %q", got)
	}
}

// TestSocat has a client that nobody here wrote.
func TestSocat(t *testing.T) {
	peer.Need(t, "socat")
	path := filepath.Join(t.TempDir(), "s")
	d := openForTest(t, "socket,id=a,server=on,wait=off,path="+path)
	f := connectForTest(t, d)
	socat := exec.Command("socat", "-", "unix-connect:"+path)
	in, _ := socat.StdinPipe()
	out, _ := socat.StdoutPipe()
	if err := socat.Start(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "from socat\n")
	f.wants(t, "<opened>from socat\n")
	d.Write([]byte("to socat\n"))
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "to socat\n" {
		t.Errorf("%q, %v", line, err)
	}
	in.Close()
	f.wants(t, "<opened>from socat\n<closed>")
	socat.Wait()
}
