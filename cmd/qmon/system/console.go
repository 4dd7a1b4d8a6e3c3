package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// consoles are the character devices of one run: the guest's serial port, and what
// monitors listen on. Places on a multiplexer are taken before the machine is made, so
// that it keeps what is typed until all of them listen.
type consoles struct {
	set      serial.Set
	port     serial.Chardev // of the guest's UART, nil for none
	monitors []serial.Chardev
	hooks    serial.MuxHooks
	program  string
}

// defaultConsoles fills in -serial and -monitor where they were not given: without
// graphics they share the terminal. Without -nographic they leave it to whoever else was
// given it, as they would go to windows then.
func defaultConsoles(o *options) {
	if o.noDefaults {
		return
	}
	muxed := slices.ContainsFunc(o.serials, func(s string) bool { return strings.HasPrefix(s, "mon:") })
	needSerial := len(o.serials) == 0
	needMonitor := len(o.monitors) == 0 && len(o.mons) == 0 && !muxed
	place := "null"
	if o.nographic || o.display == "" && !o.usesTerminal() {
		place = "stdio"
	}
	if needSerial && needMonitor && place == "stdio" {
		o.serials = []string{"mon:stdio"}
		return
	}
	if needSerial {
		o.serials = []string{place}
	}
	if needMonitor {
		o.monitors = []string{place}
	}
}

// usesTerminal tells if the command line gives the terminal to something.
func (o *options) usesTerminal() bool {
	for _, list := range [][]string{o.serials, o.monitors, o.chardevs} {
		for _, text := range list {
			if text == "stdio" || text == "mon:stdio" || strings.HasPrefix(text, "stdio,") {
				return true
			}
		}
	}
	return false
}

// open makes every character device of the command line.
func (c *consoles) open(o *options) error {
	for _, text := range o.chardevs {
		config, err := serial.ParseChardev(text)
		if err == nil {
			_, err = c.make(config, "-chardev "+text)
		}
		if err != nil {
			return &usageError{"-chardev " + text, err.Error()}
		}
	}
	for i, text := range o.serials {
		if err := c.openSerial(i, text); err != nil {
			return err
		}
	}
	for i, text := range o.monitors {
		d, err := c.openArgument(fmt.Sprintf("compat_monitor%d", i), "-monitor", text)
		if err != nil {
			return err
		}
		if d == nil {
			continue
		}
		if err := c.addMonitor(d); err != nil {
			return &usageError{"-monitor " + text, err.Error()}
		}
	}
	for _, a := range o.mons {
		if err := c.openMon(a); err != nil {
			return &usageError{a.text, err.Error()}
		}
	}
	return nil
}

// openSerial makes the device of one -serial; the first is the guest's.
func (c *consoles) openSerial(i int, text string) error {
	d, err := c.openArgument(fmt.Sprintf("serial%d", i), "-serial", text)
	if err != nil || d == nil {
		return err
	}
	if i == 0 {
		c.port, err = serial.Attach(d)
	}
	if err == nil && strings.HasPrefix(text, "mon:") {
		err = c.addMonitor(d)
	}
	if err != nil {
		return &usageError{"-serial " + text, err.Error()}
	}
	return nil
}

// addMonitor has a monitor listen on a device once the machine is made.
func (c *consoles) addMonitor(d serial.Chardev) error {
	place, err := serial.Attach(d)
	if err != nil {
		return err
	}
	c.monitors = append(c.monitors, place)
	return nil
}

// openArgument makes the device of a -serial or -monitor; nil for "none".
func (c *consoles) openArgument(label, option, text string) (serial.Chardev, error) {
	arg := option + " " + text
	config, err := serial.Parse(label, text)
	if err == nil {
		var d serial.Chardev
		if d, err = c.make(config, arg); err == nil {
			return d, nil
		}
	}
	second := fmt.Sprintf("parse error: %s", text)
	if option == "-serial" {
		second = serial.SerialError(text)
	}
	if errors.Is(err, serial.ErrSyntax) {
		return nil, &usageError{arg, second}
	}
	return nil, &usageError{arg, fmt.Sprintf("%v\n%s: %s: %s", err, c.program, arg, second)}
}

func (c *consoles) make(config serial.Config, arg string) (serial.Chardev, error) {
	for _, w := range config.Warnings {
		fmt.Fprintf(os.Stderr, "%s: %s: warning: %s\n", c.program, arg, w)
	}
	config.Hooks = c.hooks
	config.Info = func(text string) { fmt.Fprintf(os.Stderr, "%s: %s: info: %s\n", c.program, arg, text) }
	d, err := c.set.Open(config)
	if err == nil && config.Kind == serial.KindPTY {
		name := strings.TrimPrefix(d.Filename(), "pty:")
		fmt.Printf("char device redirected to %s (label %s)\n", name, d.ID())
	}
	return d, err
}

// openMon finds the device of a -mon.
func (c *consoles) openMon(a argument) error {
	list := slices.Clone(a.list)
	id, ok := list.Take("chardev")
	if !ok {
		return errors.New("chardev \"(null)\" not found")
	}
	if mode, ok := list.Take("mode"); ok && mode != "readline" {
		return fmt.Errorf("mode '%s' is not supported", mode)
	}
	if err := noMore(list, "pretty"); err != nil {
		return err
	}
	d := c.set.Find(id)
	if d == nil {
		return &serial.NotFoundError{ID: id}
	}
	return c.addMonitor(d)
}

// noMore refuses keys that nobody took, other than the harmless ones.
func noMore(l qemuopts.List, harmless ...string) error {
	for _, p := range l {
		if !slices.Contains(harmless, p.Key) {
			return fmt.Errorf("Invalid parameter '%s'", p.Key)
		}
	}
	return nil
}

// attach starts a monitor on each of its devices.
func (c *consoles) attach(m *monitor.Monitor, o *options) error {
	for _, place := range c.monitors {
		if _, err := m.Attach(place, monitor.SessionOptions{ExitStatus: o.strict, Color: true}); err != nil {
			return err
		}
	}
	return nil
}

// sink is the front end of a serial port that no guest reads: input is taken and dropped.
type sink struct{}

func (sink) Receive(p []byte) int { return len(p) }
func (sink) Event(serial.Event)   {}

// muxHooks are what C-a x and C-a s do. They are pressed after the start, when there is a
// machine and a monitor.
func (e *emulator) muxHooks(o *options) serial.MuxHooks {
	return serial.MuxHooks{
		Escape: o.escape,
		Quit:   func() { e.machine.Quit(0, vm.ReasonHostUI) },
		// As in QEMU nothing is shown, not even an error: the terminal belongs to the guest.
		CommitAll: func() { _ = e.monitor.Execute(context.Background(), io.Discard, "commit all") },
	}
}
