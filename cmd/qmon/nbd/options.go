package nbd

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/internal/getopt"
	"github.com/qmon/qmon/internal/objects"
	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/internal/restrict"
	"github.com/qmon/qmon/internal/traceopt"
)

// table has the program's options.
var table = []getopt.Option{
	{Letter: 'h', Name: "help"},
	{Letter: 'V', Name: "version"},
	{Letter: 'b', Name: "bind", Value: true},
	{Letter: 'p', Name: "port", Value: true},
	{Letter: 'k', Name: "socket", Value: true},
	{Letter: 'o', Name: "offset", Value: true},
	{Letter: 'r', Name: "read-only"},
	{Letter: 'A', Name: "allocation-depth"},
	{Letter: 'B', Name: "bitmap", Value: true},
	{Letter: 'c', Name: "connect", Value: true},
	{Letter: 'd', Name: "disconnect"},
	{Letter: 'L', Name: "list"},
	{Letter: 's', Name: "snapshot"},
	{Letter: 'l', Name: "load-snapshot", Value: true},
	{Letter: 'n', Name: "nocache"},
	{Name: "cache", Value: true},
	{Name: "aio", Value: true},
	{Name: "discard", Value: true},
	{Name: "detect-zeroes", Value: true},
	{Letter: 'e', Name: "shared", Value: true},
	{Letter: 'f', Name: "format", Value: true},
	{Letter: 't', Name: "persistent"},
	{Letter: 'v', Name: "verbose"},
	{Name: "object", Value: true},
	{Letter: 'x', Name: "export-name", Value: true},
	{Letter: 'D', Name: "description", Value: true},
	{Name: "tls-creds", Value: true},
	{Name: "tls-hostname", Value: true},
	{Name: "tls-authz", Value: true},
	{Name: "image-opts"},
	{Name: "restrict", Value: true},
	{Letter: 'T', Name: "trace", Value: true},
	{Name: "fork"},
	{Name: "pid-file", Value: true},
	{Name: "selinux-label", Value: true},
}

// What a command line can ask for instead of a run, or be.
var (
	errVersion = errors.New("version")

	errHelp = errors.New("help")

	errOperands = errors.New("Invalid number of arguments")
)

// usageError is a command line that cannot be understood.
type usageError struct{ error }

// twoErrors are reported one after the other.
type twoErrors [2]error

func (e twoErrors) Error() string { return e[0].Error() + "; " + e[1].Error() }

// options are a command line.
type options struct {
	gate     blockdev.Gate // of what the image refers to; nil follows everything
	warnings []string
	objects  objects.Set     // of --object
	filename string          // the image; the device with disconnect
	device   string          // of --connect and --disconnect
	seen     map[string]bool // options that may be given once

	bind, port, socket string
	portGiven          bool
	shared             int
	persistent         bool
	verbose            bool
	name, description  string

	offset       int64
	depth        bool
	bitmaps      []string
	format       string
	describe     bool // filename is a list of options
	readOnly     bool
	snapshot     bool
	loadSnapshot string
	cache        blockdev.CacheMode
	unmap        bool
	detectZeroes string

	tlsCreds, tlsHostname, tlsAuthz *string // nil where they are not given

	label            string // SELinux's, of the socket
	fork             bool
	pidFile          string
	list, disconnect bool
}

func newOptions() *options {
	return &options{shared: 1, detectZeroes: "off", port: defaultPort, seen: map[string]bool{}}
}

// defaultPort is NBD's.
const defaultPort = "10809"

// parse reads the command line. The first option that is wrong ends it.
func (o *options) parse(args []string) error {
	found, operands, mistake := getopt.Parse(args, table)
	for _, f := range found {
		if err := o.take(f); err != nil {
			return err
		}
	}
	if mistake != nil {
		return usageError{mistake}
	}
	return o.finish(operands)
}

// take takes one option.
func (o *options) take(f getopt.Found) error {
	if f.Letter == 0 {
		return o.takeLong(f.Name, f.Value)
	}
	switch f.Letter {
	case 'h':
		return errHelp
	case 'V':
		return errVersion
	case 'b':
		o.bind = f.Value
	case 'p':
		o.port, o.portGiven = f.Value, true
	case 'k':
		if !filepath.IsAbs(f.Value) {
			return errors.New("socket path must be absolute")
		}
		o.socket = f.Value
	case 'o':
		return o.takeOffset(f.Value)
	case 'l':
		o.readOnly = true
		return o.takeLoadSnapshot(f.Value)
	case 'n':
		return o.takeCache("none")
	case 'e':
		n, err := strconv.ParseUint(f.Value, 0, 31)
		if err != nil {
			return fmt.Errorf("Invalid shared device number '%s'", f.Value)
		}
		o.shared = int(n)
	case 'f':
		o.format = f.Value
	case 'x', 'D':
		return o.takeText(f)
	case 'B':
		o.bitmaps = append(o.bitmaps, f.Value)
	case 'T':
		return o.takeTrace(f.Value)
	case 'c':
		if f.Value == "" {
			return errors.New("Failed to open : No such file or directory")
		}
		o.device = f.Value
	default:
		*o.toggle(f.Letter) = true
	}
	return nil
}

// toggle is the field that a letter without value sets.
func (o *options) toggle(letter byte) *bool {
	return map[byte]*bool{
		'r': &o.readOnly, 'A': &o.depth, 'd': &o.disconnect, 'L': &o.list, 's': &o.snapshot,
		't': &o.persistent, 'v': &o.verbose,
	}[letter]
}

func (o *options) takeText(f getopt.Found) error {
	what, to := "export name", &o.name
	if f.Letter == 'D' {
		what, to = "description", &o.description
	}
	if len(f.Value) > protocol.MaxString {
		return fmt.Errorf("%s '%s' too long", what, f.Value)
	}
	*to = f.Value
	return nil
}

func (o *options) takeLoadSnapshot(s string) error {
	o.loadSnapshot = s
	if !strings.HasPrefix(s, "snapshot.") {
		return nil
	}
	for _, p := range qemuopts.Parse(s, "") {
		if p.Key != "snapshot.id" && p.Key != "snapshot.name" {
			return twoErrors{fmt.Errorf("Invalid parameter '%s'", p.Key), fmt.Errorf("Failed in parsing snapshot param `%s'", s)}
		}
		o.loadSnapshot = p.Value
	}
	return nil
}

func (o *options) takeOffset(s string) error {
	n, err := strconv.ParseUint(s, 0, 63)
	if err == nil {
		o.offset = int64(n)
		return nil
	}
	if _, err := strconv.ParseInt(s, 0, 64); err == nil {
		return errors.New("Parameter 'offset' expects a non-negative number below 2^64\n" +
			"Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n" +
			"and exabytes, respectively.")
	}
	return fmt.Errorf("Invalid offset '%s'", s)
}

// once notes an option that may be given once; how is what the message calls it.
func (o *options) once(name, how string) error {
	if o.seen[name] {
		return errors.New(how + " can only be specified once")
	}
	o.seen[name] = true
	return nil
}

func (o *options) takeCache(word string) error {
	if err := o.once("cache", "-n and --cache"); err != nil {
		return err
	}
	var ok bool
	if o.cache, ok = driveopt.CacheMode(word); !ok {
		return fmt.Errorf("Invalid cache mode `%s'", word)
	}
	return nil
}

func (o *options) takeAIO(word string) error {
	if err := o.once("aio", "--aio"); err != nil {
		return err
	}
	if word != "threads" && word != "native" && word != "io_uring" {
		return fmt.Errorf("Invalid aio mode '%s'", word)
	}
	return nil
}

func (o *options) takeDiscard(word string) error {
	if err := o.once("discard", "--discard"); err != nil {
		return err
	}
	if word != "unmap" && word != "on" && word != "ignore" && word != "off" {
		return fmt.Errorf("Invalid discard mode `%s'", word)
	}
	o.unmap = word == "unmap" || word == "on"
	return nil
}

// takeTrace takes -T.
func (o *options) takeTrace(s string) error {
	warnings, err := traceopt.Parse(s)
	o.warnings = append(o.warnings, warnings...)
	return err
}

// takeLong takes an option that has no letter.
func (o *options) takeLong(name, value string) error {
	switch name {
	case "cache":
		return o.takeCache(value)
	case "aio":
		return o.takeAIO(value)
	case "discard":
		return o.takeDiscard(value)
	case "detect-zeroes":
		if value != "off" && value != "on" && value != "unmap" {
			return fmt.Errorf("Failed to parse detect_zeroes mode: invalid parameter value: %s", value)
		}
		o.detectZeroes = value
	case "object":
		return o.objects.Define(value)
	case "tls-creds":
		o.tlsCreds = &value
	case "tls-hostname":
		o.tlsHostname = &value
	case "image-opts":
		o.describe = true
	case "restrict":
		var err error
		o.gate, err = restrict.Gate(value)
		return err
	case "fork":
		o.fork = true
	case "pid-file":
		o.pidFile = value
	case "tls-authz":
		o.tlsAuthz = &value
	case "selinux-label":
		o.label = value
	}
	return nil
}

// finish checks what the options say together.
func (o *options) finish(operands []string) error {
	switch {
	case o.tlsCreds == nil && o.tlsHostname != nil:
		return errors.New("--tls-hostname is not permitted without --tls-creds")
	case o.tlsCreds == nil && o.tlsAuthz != nil:
		return errors.New("--tls-authz is not permitted without --tls-creds")
	case o.list:
		return o.finishList(operands)
	case len(operands) != 1:
		return errOperands
	case o.detectZeroes == "unmap" && !o.unmap:
		return errors.New("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
	case o.describe && o.format != "":
		return errors.New("--image-opts and -f are mutually exclusive")
	case o.label != "" && o.socket == "":
		return errors.New("--selinux-label is not permitted without --socket")
	case o.device != "" && o.tlsCreds != nil:
		return errors.New("TLS is not supported with a host device")
	}
	o.filename = operands[0]
	if o.disconnect {
		o.device = operands[0]
	}
	return nil
}

func (o *options) finishList(operands []string) error {
	device := o.device != "" || o.disconnect
	switch {
	case len(operands) != 0:
		return errors.New("List mode is incompatible with a file name")
	case o.name != "" || o.description != "" || o.offset != 0 || device || o.format != "" || o.depth || o.bitmaps != nil || o.seen["cache"]:
		return errors.New("List mode is incompatible with per-device settings")
	case o.fork:
		return errors.New("List mode is incompatible with forking")
	}
	return nil
}

// background tells if the program is to return while it goes on serving. That is the usual
// way with a device of the kernel.
func (o *options) background() bool { return o.fork || o.device != "" && !o.verbose }
