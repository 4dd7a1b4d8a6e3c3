package system

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/internal/objects"
	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/internal/restrict"
)

// argument is an option as it was given, for messages: "-hda disk.img".
type argument struct {
	text string
	list qemuopts.List
}

// driveArgument is an option that makes a drive.
type driveArgument struct {
	text string
	spec driveopt.Spec
}

// options is the command line, parsed but not acted upon. Lists are in the order given.
type options struct {
	program string
	objects objects.Set // of -object, and there as long as the program

	machine   string
	memory    uint64 // bytes, 0 for the machine's default
	cpu       string
	bios      string
	kernel    string
	initrd    string
	append    string
	drives    []driveArgument
	blockdevs []argument
	devices   []argument
	globals   []argument

	snapshot   bool
	nographic  bool
	noDefaults bool
	display    string
	serials    []string
	monitors   []string
	chardevs   []string
	mons       []argument
	escape     byte // C-a of the multiplexer

	stopped    bool // -S
	loadvm     string
	name       string
	uuid       string
	rtc        qemuopts.List
	icount     qemuopts.List
	pidfile    string
	logFile    string
	logItems   string
	noReboot   bool
	noShutdown bool
	strict     bool          // -script-errors
	gate       blockdev.Gate // of what images refer to

	given map[string]bool // which options were given, by name
}

// errDone ends the program with status 0: -help and its like have done their work.
var errDone = errors.New("done")

// usageError is a mistake on the command line: "-hda x: Could not open ...".
type usageError struct{ arg, text string }

func (e *usageError) Error() string {
	if e.arg == "" {
		return e.text
	}
	return e.arg + ": " + e.text
}

// parse reads the command line. Text that was asked for (-help) goes to out.
func parse(program string, args []string, out io.Writer) (*options, error) {
	o := &options{program: program, escape: 1, given: map[string]bool{}, gate: blockdev.FollowGate{}}
	var failed error
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	for _, def := range optionTable {
		set := func(value string) error {
			o.given[def.name] = true
			err := def.set(o, value, out)
			if err != nil && !errors.Is(err, errDone) {
				text := "-" + def.name
				if def.params != "" {
					text += " " + value
				}
				err = &usageError{text, blockdev.Message(err)}
			}
			failed = err
			return err
		}
		if def.params == "" {
			fs.BoolFunc(def.name, def.help, set)
		} else {
			fs.Func(def.name, def.help, set)
		}
	}
	for {
		if err := fs.Parse(args); err != nil {
			return nil, flagError(err, failed)
		}
		if fs.NArg() == 0 {
			return o, nil
		}
		image := fs.Arg(0)
		o.drives = append(o.drives, driveArgument{image, driveopt.New(image, "", 0)})
		args = fs.Args()[1:]
	}
}

// flagError words package flag's complaints as QEMU does.
func flagError(err, failed error) error {
	if failed != nil {
		return failed
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: "); ok {
		return &usageError{name, "invalid option"}
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return &usageError{name, "requires an argument"}
	}
	return &usageError{text: text}
}

// setDrive is the setter of -hda and its kin.
func setDrive(flagName, iface string, index int, cdrom bool) func(*options, string, io.Writer) error {
	return func(o *options, file string, _ io.Writer) error {
		s := driveopt.New(file, iface, index)
		s.CDROM = cdrom
		o.drives = append(o.drives, driveArgument{"-" + flagName + " " + file, s})
		return nil
	}
}

// defineObject is the setter of -object.
func defineObject(o *options, text string, out io.Writer) error {
	err := o.objects.Define(text)
	if help := objects.Help(""); errors.As(err, &help) {
		fmt.Fprint(out, help)
		return errDone
	}
	return err
}

// setRestrict is the setter of -restrict.
func setRestrict(o *options, dir string, _ io.Writer) (err error) {
	o.gate, err = restrict.Gate(dir)
	return err
}

// setString is the setter of an option with one free value.
func setString(to func(*options) *string) func(*options, string, io.Writer) error {
	return func(o *options, v string, _ io.Writer) error {
		*to(o) = v
		return nil
	}
}

// setSwitch is the setter of an option without a value.
func setSwitch(to func(*options) *bool) func(*options, string, io.Writer) error {
	return func(o *options, _ string, _ io.Writer) error {
		*to(o) = true
		return nil
	}
}

// addString is the setter of an option that may be given again.
func addString(to func(*options) *[]string) func(*options, string, io.Writer) error {
	return func(o *options, v string, _ io.Writer) error {
		*to(o) = append(*to(o), v)
		return nil
	}
}

// addList is addString for key=value lists.
func addList(name, implied string, to func(*options) *[]argument) func(*options, string, io.Writer) error {
	return func(o *options, v string, _ io.Writer) error {
		*to(o) = append(*to(o), argument{"-" + name + " " + v, qemuopts.Parse(v, implied)})
		return nil
	}
}

// accept is the setter of an option that may only have values meaning "none of it".
func accept(what string, values ...string) func(*options, string, io.Writer) error {
	return func(_ *options, v string, _ io.Writer) error {
		word, _, _ := strings.Cut(v, ",")
		for _, a := range values {
			if word == a {
				return nil
			}
		}
		return fmt.Errorf("%s is not supported", what)
	}
}

// refuse is the setter of an option that qmon does not have.
func refuse(o *options, v string, _ io.Writer) error { return errors.New("not supported") }

// memoryUnit is what a plain number after -m counts.
const memoryUnit = 1 << 20

func setMemory(o *options, v string, _ io.Writer) error {
	l := qemuopts.Parse(v, "size")
	size, _ := l.Get("size")
	n, err := strconv.ParseUint(size, 0, 44)
	if err == nil {
		o.memory = n * memoryUnit
		return nil
	}
	bytes, err := blockdev.ParseSize(size)
	if err != nil {
		return errors.New("Parameter 'size' expects a non-negative number below 2^64\n" +
			"Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n" +
			"and exabytes, respectively.")
	}
	o.memory = uint64(bytes)
	return nil
}

func setSMP(_ *options, v string, _ io.Writer) error {
	l := qemuopts.Parse(v, "cpus")
	if n, _ := l.Get("cpus"); n != "1" {
		return fmt.Errorf("Invalid SMP CPUs %s. The max CPUs supported by this machine is 1", n)
	}
	return nil
}

func setUUID(o *options, v string, _ io.Writer) error {
	groups := []int{8, 4, 4, 4, 12}
	parts := strings.Split(v, "-")
	bad := errors.New("failed to parse UUID string: wrong format")
	if len(parts) != len(groups) {
		return bad
	}
	for i, p := range parts {
		if _, err := strconv.ParseUint(p, 16, 64); err != nil || len(p) != groups[i] {
			return bad
		}
	}
	o.uuid = strings.ToLower(v)
	return nil
}

func setName(o *options, v string, _ io.Writer) error {
	l := qemuopts.Parse(v, "guest")
	o.name, _ = l.Get("guest")
	return nil
}

func setEscape(o *options, v string, _ io.Writer) error {
	n, err := strconv.ParseUint(v, 0, 8)
	if err != nil {
		return errors.New("Bad argument to echr")
	}
	o.escape = byte(n)
	return nil
}

func setDriveOptions(o *options, v string, _ io.Writer) error {
	spec, err := driveopt.Parse(v)
	if err != nil {
		return err
	}
	o.drives = append(o.drives, driveArgument{"-drive " + v, spec})
	return nil
}

func setMachine(o *options, v string, out io.Writer) error {
	l := qemuopts.Parse(v, "type")
	o.machine, _ = l.Get("type")
	if o.machine == "help" || o.machine == "?" {
		fmt.Fprintf(out, "Supported machines are:\n"+
			"none                 drives, block layer and monitor, no processor\n"+
			"virt                 RISC-V VirtIO board (default)\n")
		return errDone
	}
	return nil
}

func setRTC(o *options, v string, _ io.Writer) error {
	o.rtc = qemuopts.Parse(v, "base")
	for _, p := range o.rtc {
		if p.Key != "base" && p.Key != "clock" && p.Key != "driftfix" {
			return fmt.Errorf("Invalid parameter '%s'", p.Key)
		}
	}
	return nil
}

func setIcount(o *options, v string, _ io.Writer) error {
	o.icount = qemuopts.Parse(v, "shift")
	shift, _ := o.icount.Get("shift")
	if n, err := strconv.Atoi(shift); shift != "auto" && (err != nil || n < 0 || n > maxIcountShift) {
		return errors.New("icount: Invalid shift value")
	}
	return nil
}

// maxIcountShift is QEMU's: an instruction takes at most 1.024 ms.
const maxIcountShift = 10
