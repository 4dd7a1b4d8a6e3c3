package serial

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/qmon/qmon/internal/qemuopts"
)

// Kind is a kind of character device, as -chardev calls it.
type Kind string

const (
	KindNull    Kind = "null"
	KindVC      Kind = "vc" // a window of a display; there is none, so it is like null
	KindStdio   Kind = "stdio"
	KindFile    Kind = "file"
	KindPipe    Kind = "pipe"
	KindPTY     Kind = "pty"
	KindSocket  Kind = "socket"
	KindRingBuf Kind = "ringbuf"
	KindMux     Kind = "mux"
	// KindNone is no device at all: -serial none.
	KindNone Kind = "none"
	// KindRef is one that was made before: -serial chardev:ID.
	KindRef Kind = "chardev"
)

// DefaultEscape is the key that commands the multiplexer: C-a.
const DefaultEscape = 1

// Config describes a character device to be opened.
type Config struct {
	Kind Kind
	ID   string // for KindRef and KindMux, see also Chardev
	// Path of a file, a pipe or a Unix socket.
	Path string
	// Append keeps what the file holds.
	Append bool
	// Size of a ring buffer in bytes, a power of two.
	Size int64
	// Signal leaves C-c and C-z to the terminal instead of sending them down the line.
	Signal bool
	// Chardev is the device that KindMux multiplexes or KindRef names.
	Chardev string
	Socket  SocketConfig
	// Mux puts a multiplexer over the device: its ID is the multiplexer's, the device's
	// own gets "-base" added.
	Mux bool
	// Monitor asks the caller to connect a monitor to the multiplexer (mon:...).
	Monitor bool
	// Hooks are what the multiplexer's keys do.
	Hooks MuxHooks
	// LogFile gets a copy of all output.
	LogFile   string
	LogAppend bool
	// Warnings are about the string that this was parsed from, without a prefix.
	Warnings []string
	// Info is told in words what the device is waiting for or trying; may be nil.
	Info func(text string)
}

// SocketConfig describes a socket. Without a Host (and with Config.Path) it is a Unix one.
type SocketConfig struct {
	TCP        bool
	Host, Port string
	To         int  // a server tries the ports up to this one
	IPv4, IPv6 bool // only these families; both or none: any
	Server     bool
	Wait       bool // Open returns when a client has come
	Telnet     bool // Telnet commands are taken out of, and put into, the stream
	NoDelay    bool
	// Reconnect is the pause after which a client tries again.
	Reconnect time.Duration
}

// MuxHooks are what a multiplexer's keys do and what they are.
type MuxHooks struct {
	Escape    byte   // 0 is DefaultEscape
	Quit      func() // C-a x, after the farewell
	CommitAll func() // C-a s
}

// defaultRing is the size of a ring buffer that was given none, in bytes.
const defaultRing = 65536

// ParseChardev reads the argument of -chardev: backend,id=ID[,option=value...]. The error
// is in QEMU's words.
func ParseChardev(arg string) (Config, error) {
	s := &optionSet{opts: splitOptions(arg, "backend")}
	id, given := s.get("id")
	switch backend, ok := s.get("backend"); {
	case given && qemuopts.CheckID(id) != nil:
		return Config{}, qemuopts.CheckID(id)
	case !given:
		s.checkKeys()
		s.fail("chardev: no id specified")
		return Config{}, s.err
	case !ok || backend == "":
		return Config{}, fmt.Errorf("chardev: \"%s\" missing backend", id)
	}
	return s.config()
}

// config makes a Config of the options of any backend.
func (s *optionSet) config() (Config, error) {
	s.checkKeys()
	c := Config{
		ID:        s.str("id"),
		Kind:      Kind(s.str("backend")),
		Mux:       s.toggle("mux", false),
		LogFile:   s.str("logfile"),
		LogAppend: s.toggle("logappend", false),
		Warnings:  s.warnings(),
	}
	if c.Kind == "memory" { // its old name
		c.Kind = KindRingBuf
	}
	read, known := backendOptions[c.Kind]
	switch {
	case !known && s.err == nil:
		s.fail("'%s' is not a valid char driver name", c.Kind)
	case read != nil && s.err == nil:
		read(s, &c)
	}
	return c, s.err
}

// backendOptions reads what is special to each backend.
var backendOptions = map[Kind]func(*optionSet, *Config){
	KindNull:  nil,
	KindVC:    nil,
	KindPTY:   nil,
	KindStdio: func(s *optionSet, c *Config) { c.Signal = s.toggle("signal", true) },
	KindFile: func(s *optionSet, c *Config) {
		var given bool
		if c.Path, given = s.get("path"); !given {
			s.fail("chardev: file: no filename given")
		}
		c.Append = s.toggle("append", false)
	},
	KindPipe: func(s *optionSet, c *Config) {
		var given bool
		if c.Path, given = s.get("path"); !given {
			s.fail("chardev: pipe: no device path given")
		}
	},
	KindRingBuf: func(s *optionSet, c *Config) { c.Size = s.size("size", defaultRing) },
	KindMux: func(s *optionSet, c *Config) {
		var given bool
		if c.Chardev, given = s.get("chardev"); !given {
			s.fail("chardev: mux: no chardev given")
		}
	},
	KindSocket: socketOptions,
}

func socketOptions(s *optionSet, c *Config) {
	path, unix := s.get("path")
	host, tcp := s.get("host")
	port, hasPort := s.get("port")
	_, hasWait := s.get("wait")
	reconnect := s.number("reconnect")
	c.Path = path
	c.Socket = SocketConfig{
		TCP: tcp, Host: host, Port: port,
		To:   int(s.number("to")),
		IPv4: s.toggle("ipv4", false), IPv6: s.toggle("ipv6", false),
		Server: s.toggle("server", false), Wait: s.toggle("wait", true),
		Telnet: s.toggle("telnet", false), NoDelay: s.toggle("nodelay", false),
		Reconnect: time.Duration(max(reconnect, 0)) * time.Second,
	}
	for _, key := range []string{"fd", "tls-creds", "websocket", "tn3270", "abstract"} {
		if v, given := s.get(key); given && v != "off" {
			s.fail("'%s' is not supported", key)
		}
	}
	switch {
	case unix && tcp:
		s.fail("None or one of 'path', 'fd' or 'host' option required.")
	case !unix && !tcp, unix && path == "":
		s.fail("Unable to parse FD number ")
	case tcp && !hasPort:
		s.fail("chardev: socket: no port given")
	case c.Socket.Server && reconnect > 0:
		s.fail("'reconnect' option is incompatible with socket in server listen mode")
	case !c.Socket.Server && hasWait:
		s.fail("'wait' option is incompatible with socket in client connect mode")
	}
}

// Parse reads the argument of -serial or -monitor: "stdio", "mon:stdio",
// "unix:PATH,server=on", "chardev:ID" and so on. The label becomes the device's ID. The
// error is in QEMU's words; -serial adds a line of its own (see SerialError).
func Parse(label, arg string) (Config, error) {
	s := &optionSet{}
	rest, mon := strings.CutPrefix(arg, "mon:")
	if arg == "none" {
		return Config{Kind: KindNone, ID: label}, nil
	}
	if id, ok := strings.CutPrefix(rest, "chardev:"); ok && !mon {
		return Config{Kind: KindRef, ID: label, Chardev: id}, nil
	}
	if err := s.compat(rest); err != nil {
		return Config{}, err
	}
	s.opts = append(s.opts, qemuopts.Pair{Key: "id", Value: label})
	c, err := s.config()
	c.Warnings = nil // QEMU has none for these
	if mon {
		c.Mux, c.Monitor = true, true
		c.Signal = false // C-c goes down the line
	}
	return c, err
}

// SerialError is the line that QEMU adds to an error about a -serial argument.
func SerialError(arg string) string {
	return fmt.Sprintf("could not connect serial device to character backend '%s'", arg)
}

// compat translates the old kind of string into options.
func (s *optionSet) compat(arg string) error {
	add := func(key, value string) { s.opts = append(s.opts, qemuopts.Pair{Key: key, Value: value}) }
	backend, rest, hasRest := strings.Cut(arg, ":")
	switch {
	case arg == "null", arg == "pty", arg == "stdio", arg == "vc":
		add("backend", arg)
		return nil
	case backend == "vc" && hasRest:
		add("backend", "vc")
		return nil
	case backend == "file" && hasRest, backend == "pipe" && hasRest:
		add("backend", backend)
		add("path", rest)
		return nil
	case backend == "unix" && hasRest:
		opts := splitOptions(rest, "path")
		add("backend", "socket")
		s.opts = append(s.opts, opts...)
		return nil
	case (backend == "tcp" || backend == "telnet") && hasRest:
		return s.compatTCP(backend, rest)
	}
	return fmt.Errorf("'%s' is not a valid char driver", arg)
}

// compatTCP translates [host]:port[,option...].
func (s *optionSet) compatTCP(backend, rest string) error {
	opts := splitOptions(rest, "address")
	if len(opts) == 0 || opts[0].Key != "address" {
		return ErrSyntax
	}
	host, port, err := splitHostPort(opts[0].Value)
	if err != nil {
		return ErrSyntax
	}
	s.opts = append(s.opts,
		qemuopts.Pair{Key: "backend", Value: "socket"},
		qemuopts.Pair{Key: "host", Value: host},
		qemuopts.Pair{Key: "port", Value: port})
	if backend == "telnet" {
		s.opts = append(s.opts, qemuopts.Pair{Key: "telnet", Value: "on"})
	}
	s.opts = append(s.opts, opts[1:]...)
	return nil
}

// ErrSyntax is the error for an address that QEMU refuses without saying why.
var ErrSyntax = fmt.Errorf("bad address")

// splitHostPort takes "host:port", ":port" and "[v6]:port".
func splitHostPort(s string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(s)
	if err == nil && port == "" {
		err = ErrSyntax
	}
	return host, port, err
}
