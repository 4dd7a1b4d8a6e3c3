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
	"github.com/qmon/qmon/blockdev/tlscreds"
	"github.com/qmon/qmon/internal/getopt"
	"github.com/qmon/qmon/internal/qemuopts"
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
	{Letter: 'T', Name: "trace", Value: true},
	{Name: "fork"},
	{Name: "pid-file", Value: true},
	{Name: "selinux-label", Value: true},
}

// What a command line can ask for instead of a run, or be.
var (
	errHelp    = errors.New("help")
	errVersion = errors.New("version")

	errOperands = errors.New("Invalid number of arguments")
)

// usageError is a command line that cannot be understood.
type usageError struct{ error }

// twoErrors are reported one after the other.
type twoErrors [2]error

func (e twoErrors) Error() string { return e[0].Error() + "; " + e[1].Error() }

// options are a command line.
type options struct {
	filename string // the image; the device with disconnect
	device   string // of --connect and --disconnect

	bind, port, socket string
	portGiven          bool
	shared             int
	persistent         bool
	verbose            bool
	name, description  string

	offset       int64
	depth        bool
	format       string
	describe     bool // filename is a list of options
	readOnly     bool
	snapshot     bool
	loadSnapshot string
	cache        blockdev.CacheMode
	cacheGiven   bool
	unmap        bool
	detectZeroes string

	tlsCreds, tlsHostname string
	fork                  bool
	pidFile               string
	list, disconnect      bool
}

func newOptions() *options {
	return &options{shared: 1, detectZeroes: "off", port: defaultPort}
}

// defaultPort is NBD's.
const defaultPort = "10809"

// parse reads the command line. The first option that is wrong ends it.
func parse(args []string) (*options, error) {
	found, operands, mistake := getopt.Parse(args, table)
	o := newOptions()
	for _, f := range found {
		if err := o.take(f); err != nil {
			return nil, err
		}
	}
	if mistake != nil {
		return nil, usageError{mistake}
	}
	return o, o.finish(operands)
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
		n, err := strconv.ParseUint(f.Value, 0, 63)
		if err != nil {
			return fmt.Errorf("Invalid offset '%s'", f.Value)
		}
		o.offset = int64(n)
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
		return fmt.Errorf("Bitmap '%s': dirty bitmaps are not supported yet", f.Value)
	case 'T':
		return errors.New("tracing is not supported")
	case 'c':
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

func (o *options) takeCache(word string) error {
	if o.cacheGiven {
		return errors.New("-n and --cache can only be specified once")
	}
	var ok bool
	if o.cache, ok = driveopt.CacheMode(word); !ok {
		return fmt.Errorf("Invalid cache mode `%s'", word)
	}
	o.cacheGiven = true
	return nil
}

// takeLong takes an option that has no letter.
func (o *options) takeLong(name, value string) error {
	switch name {
	case "cache":
		return o.takeCache(value)
	case "aio":
		if value != "threads" && value != "native" && value != "io_uring" {
			return fmt.Errorf("Invalid aio mode '%s'", value)
		}
	case "discard":
		if value != "unmap" && value != "on" && value != "ignore" && value != "off" {
			return fmt.Errorf("Invalid discard mode `%s'", value)
		}
		o.unmap = value == "unmap" || value == "on"
	case "detect-zeroes":
		if value != "off" && value != "on" && value != "unmap" {
			return fmt.Errorf("Failed to parse detect_zeroes mode: invalid parameter value: %s", value)
		}
		o.detectZeroes = value
	case "object":
		description := blockdev.Options{}
		for _, p := range qemuopts.Parse(value, "qom-type") {
			description[p.Key] = p.Value
		}
		return tlscreds.Define(description)
	case "tls-creds":
		o.tlsCreds = value
	case "tls-hostname":
		o.tlsHostname = value
	case "image-opts":
		o.describe = true
	case "fork":
		o.fork = true
	case "pid-file":
		o.pidFile = value
	default: // tls-authz, selinux-label
		return fmt.Errorf("--%s is not supported", name)
	}
	return nil
}

// finish checks what the options say together.
func (o *options) finish(operands []string) error {
	if o.list {
		return o.finishList(operands)
	}
	switch {
	case len(operands) != 1:
		return errOperands
	case o.detectZeroes == "unmap" && !o.unmap:
		return errors.New("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
	case o.describe && o.format != "":
		return errors.New("--image-opts and -f are mutually exclusive")
	case o.device != "" && o.tlsCreds != "":
		return errors.New("TLS is not supported with a host device")
	case o.device != "" && (o.socket != "" || o.portGiven || o.bind != ""):
		return errors.New("the kernel's device has no address of its own")
	}
	o.filename = operands[0]
	if o.disconnect {
		o.device = operands[0]
	}
	return nil
}

func (o *options) finishList(operands []string) error {
	switch {
	case len(operands) != 0:
		return errors.New("List mode is incompatible with a file name")
	case o.name != "" || o.description != "" || o.offset != 0 || o.device != "" || o.disconnect || o.format != "" || o.depth:
		return errors.New("List mode is incompatible with per-device settings")
	case o.fork:
		return errors.New("List mode is incompatible with forking")
	}
	return nil
}
