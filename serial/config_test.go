package serial

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/internal/peer"
)

func TestParse(t *testing.T) {
	tests := []struct {
		arg  string
		want Config
	}{
		{"null", Config{Kind: KindNull, ID: "s"}},
		{"none", Config{Kind: KindNone, ID: "s"}},
		{"vc:80Cx24C", Config{Kind: KindVC, ID: "s"}},
		{"pty", Config{Kind: KindPTY, ID: "s"}},
		{"stdio", Config{Kind: KindStdio, ID: "s", Signal: true}},
		{"mon:stdio", Config{Kind: KindStdio, ID: "s", Mux: true, Monitor: true}},
		{"file:/a,b", Config{Kind: KindFile, ID: "s", Path: "/a,b"}},
		{"pipe:/p", Config{Kind: KindPipe, ID: "s", Path: "/p"}},
		{"chardev:c", Config{Kind: KindRef, ID: "s", Chardev: "c"}},
		{"unix:/a,,b,server=on,wait=off", Config{Kind: KindSocket, ID: "s", Path: "/a,b",
			Socket: SocketConfig{Server: true}}},
		{"unix:/a,server,nowait", Config{Kind: KindSocket, ID: "s", Path: "/a",
			Socket: SocketConfig{Server: true}}},
		{"unix:/a,reconnect=7", Config{Kind: KindSocket, ID: "s", Path: "/a",
			Socket: SocketConfig{Wait: true, Reconnect: 7 * time.Second}}},
		{"tcp::44,server=on,nodelay,to=46,ipv4=on", Config{Kind: KindSocket, ID: "s", Socket: SocketConfig{
			TCP: true, Port: "44", Server: true, Wait: true, NoDelay: true, To: 46, IPv4: true}}},
		{"telnet:[::1]:44", Config{Kind: KindSocket, ID: "s", Socket: SocketConfig{
			TCP: true, Host: "::1", Port: "44", Wait: true, Telnet: true}}},
	}
	for _, test := range tests {
		got, err := Parse("s", test.arg)
		if err != nil {
			t.Errorf("%s: %v", test.arg, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.arg, diff)
		}
	}
}

func TestParseChardev(t *testing.T) {
	tests := []struct {
		arg  string
		want Config
	}{
		{"null,id=a", Config{Kind: KindNull, ID: "a"}},
		{"id=a,backend=null", Config{Kind: KindNull, ID: "a"}},
		{"stdio,id=a,mux=on,signal=off", Config{Kind: KindStdio, ID: "a", Mux: true}},
		{"file,id=a,path=/x,append=on,logfile=/l,logappend=on", Config{Kind: KindFile, ID: "a",
			Path: "/x", Append: true, LogFile: "/l", LogAppend: true}},
		{"ringbuf,id=a", Config{Kind: KindRingBuf, ID: "a", Size: 65536}},
		{"memory,id=a,size=4k", Config{Kind: KindRingBuf, ID: "a", Size: 4096}},
		{"mux,id=a,chardev=b", Config{Kind: KindMux, ID: "a", Chardev: "b"}},
		{"socket,id=a,host=h,port=1,server,nowait,delay", Config{Kind: KindSocket, ID: "a",
			Socket: SocketConfig{TCP: true, Host: "h", Port: "1", Server: true},
			Warnings: []string{
				"short-form boolean option 'server' deprecated\nPlease use server=on instead",
				"short-form boolean option 'nowait' deprecated\nPlease use wait=off instead",
				"short-form boolean option 'delay' deprecated\nPlease use nodelay=off instead",
			}}},
	}
	for _, test := range tests {
		got, err := ParseChardev(test.arg)
		if err != nil {
			t.Errorf("%s: %v", test.arg, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.arg, diff)
		}
	}
}

// badChardevs are arguments of -chardev that QEMU refuses, with its words.
var badChardevs = []struct{ arg, want string }{
	{"foo,id=a", "'foo' is not a valid char driver name"},
	{"null", "chardev: no id specified"},
	{"", "chardev: no id specified"},
	{"null,foo=1", "Invalid parameter 'foo'"},
	{"id=a", `chardev: "a" missing backend`},
	{"null,id=1a", "Parameter 'id' expects an identifier\n" +
		"Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."},
	{"null,id=a,foo=1", "Invalid parameter 'foo'"},
	{"null,id=a,mux=maybe", "Parameter 'mux' expects 'on' or 'off'"},
	{"file,id=a", "chardev: file: no filename given"},
	{"pipe,id=a", "chardev: pipe: no device path given"},
	{"mux,id=a", "chardev: mux: no chardev given"},
	{"file,id=a,path=/nonexistent/x", "Could not open '/nonexistent/x': No such file or directory"},
	{"pipe,id=a,path=/nonexistent/x", "Could not open '/nonexistent/x': No such file or directory"},
	{"null,id=a,logfile=/nonexistent/x", "Could not create '/nonexistent/x': No such file or directory"},
	{"stdio,id=a,signal=x", "Parameter 'signal' expects 'on' or 'off'"},
	{"ringbuf,id=a,size=1000", "size of ringbuf chardev must be power of two"},
	{"ringbuf,id=a,size=x", "Parameter 'size' expects a non-negative number below 2^64\n" +
		"Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n" +
		"and exabytes, respectively."},
	{"socket,id=a", "Unable to parse FD number "},
	{"socket,id=a,port=1", "Unable to parse FD number "},
	{"socket,id=a,host=h", "chardev: socket: no port given"},
	{"socket,id=a,path=/x,host=h", "None or one of 'path', 'fd' or 'host' option required."},
	{"socket,id=a,path=/x,reconnect=x", "Parameter 'reconnect' expects a number"},
	{"socket,id=a,path=/x,wait=off", "'wait' option is incompatible with socket in client connect mode"},
	{"socket,id=a,path=/x,server=on,reconnect=3",
		"'reconnect' option is incompatible with socket in server listen mode"},
	{"socket,id=a,path=/nonexistent/x", "Failed to connect to '/nonexistent/x': No such file or directory"},
	{"socket,id=a,path=/nonexistent/x,server=on,wait=off",
		"Failed to bind socket to /nonexistent/x: No such file or directory"},
	{"socket,id=a,host=127.0.0.1,port=1", "Failed to connect to '127.0.0.1:1': Connection refused"},
	{"socket,id=a,host=127.0.0.1,port=1x", "address resolution failed for 127.0.0.1:1x: " +
		"Servname not supported for ai_socktype"},
}

func openChardev(arg string) error {
	c, err := ParseChardev(arg)
	if err != nil {
		return err
	}
	d, err := Open(c)
	if err == nil {
		d.Close()
	}
	return err
}

func TestChardevErrors(t *testing.T) {
	for _, test := range badChardevs {
		err := openChardev(test.arg)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.arg, err, test.want)
		}
	}
}

// TestChardevErrorsAreQEMUs asks the real program.
func TestChardevErrorsAreQEMUs(t *testing.T) {
	peer.Need(t, "qemu-system-x86_64")
	for _, test := range badChardevs {
		t.Run(test.arg, func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command("qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none",
				"-chardev", test.arg).CombinedOutput()
			if err == nil {
				t.Fatal("QEMU accepts it")
			}
			_, text, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "-chardev "+test.arg+": ")
			if text != test.want {
				t.Errorf("QEMU says %q, want %q", text, test.want)
			}
		})
	}
}

func TestSerialErrors(t *testing.T) {
	for arg, want := range map[string]string{
		"foo":          "'foo' is not a valid char driver",
		"file":         "'file' is not a valid char driver",
		"ringbuf:1000": "'ringbuf:1000' is not a valid char driver",
		"mon:":         "'' is not a valid char driver",
		"mon:foo":      "'foo' is not a valid char driver",
		"unix:":        "Unable to parse FD number ",
		"unix:/a,x=on": "Invalid parameter 'x'",
		"tcp:":         ErrSyntax.Error(),
		"tcp:h":        ErrSyntax.Error(),
		"telnet:h:":    ErrSyntax.Error(),
	} {
		if _, err := Parse("s", arg); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", arg, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range badChardevs {
		f.Add(test.arg)
	}
	f.Add("tcp:[::1]:4,server,nowait,,x=")
	f.Fuzz(func(t *testing.T, arg string) {
		ParseChardev(arg)
		if c, err := Parse("s", arg); err == nil && c.ID != "s" {
			t.Errorf("%q: %+v", arg, c)
		}
	})
}
