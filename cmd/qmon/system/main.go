// Package system is the emulator: QEMU's command line for the machines that qmon has.
//
//	argv -> options -> character devices -> machine -> drives, devices -> monitor -> Run
//
// It parses, connects and starts; everything it starts is in the library.
package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/release"
	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/savevm"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// Main runs the emulator under the name prog and returns its exit status.
func Main(prog string, args []string) int {
	defer serial.RestoreTerminals()
	defer serial.RestoreOnPanic()
	status, err := run(prog, args)
	if err == nil {
		return status
	}
	if errors.Is(err, errDone) {
		return 0
	}
	serial.RestoreTerminals()
	fmt.Fprintf(os.Stderr, "%s: %s\n", filepath.Base(prog), blockdev.Message(err))
	return 1
}

func run(prog string, args []string) (status int, err error) {
	o, err := parse(filepath.Base(prog), args, os.Stdout)
	if err != nil {
		return 1, err
	}
	if o.isDemo() {
		if err := demo(o, os.Stdout); err != nil {
			return 1, err
		}
	}
	ctx, stop := untilSignal(o.program)
	defer stop()
	e := &emulator{}
	defer func() {
		if closeErr := e.close(); err == nil && closeErr != nil {
			status, err = 1, closeErr
		}
	}()
	switch err := e.build(ctx, o); {
	case ctx.Err() != nil:
		return 0, nil
	case err != nil:
		return 1, err
	}
	if o.given["pidfile"] {
		if err := os.WriteFile(o.pidfile, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
			return 1, fmt.Errorf("cannot create PID file: Could not create '%s': %s", o.pidfile, blockdev.Message(err))
		}
		defer func() { err = errors.Join(err, os.Remove(o.pidfile)) }()
	}
	return e.run(ctx, o)
}

// untilSignal is a context until a signal asks the program to end, which it says. It is one
// already while disks are opened: a lock on a cluster would outlive a program that just dies.
// Further signals change nothing, as a terminal that closes sends more than one.
func untilSignal(program string) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	unwatch := serial.WatchSignals(func(s os.Signal) {
		fmt.Fprintf(os.Stderr, "%s: terminating on signal %d\n", program, signalNumber(s))
		cancel()
	})
	return ctx, func() {
		unwatch()
		cancel()
	}
}

// emulator is one run of the program.
type emulator struct {
	machine  *vm.Machine
	storage  *storage
	consoles *consoles
	monitor  *monitor.Monitor
}

// build makes everything that the command line asks for.
func (e *emulator) build(ctx context.Context, o *options) error {
	p, err := personalityOf(o)
	if err != nil {
		return err
	}
	defaultConsoles(o)
	e.consoles = &consoles{program: o.program, hooks: e.muxHooks(o)}
	if err := e.consoles.open(o); err != nil {
		return err
	}
	machine, board, err := makeMachine(o, p, e.consoles.port)
	if err != nil {
		return err
	}
	e.machine = machine
	if err := startLog(o, machine.Log()); err != nil {
		return err
	}
	e.storage = newStorage(o, p, machine)
	if err := e.storage.open(ctx, o); err != nil {
		return err
	}
	if err := e.storage.connect(o, board); err != nil {
		return err
	}
	e.monitor = monitor.New(monitor.Config{
		Machine:     machine,
		Graph:       e.storage.graph,
		Gate:        e.storage.gate,
		Drives:      e.storage.builder,
		Chardevs:    e.consoles.set.All,
		Version:     release.QEMU,
		Package:     "qmon " + release.Version(),
		HistoryFile: monitor.HistoryPath(),
		Stdout:      os.Stdout,
		Stderr:      os.Stderr,
	})
	return nil
}

// run is the machine's life.
func (e *emulator) run(ctx context.Context, o *options) (int, error) {
	ended := make(chan error, 1)
	go func() {
		defer serial.RestoreOnPanic()
		ended <- e.machine.Run(context.Background())
	}()
	defer context.AfterFunc(ctx, func() { e.machine.Quit(0, vm.ReasonHostSignal) })()
	if err := e.start(o); err != nil {
		e.machine.Quit(1, vm.ReasonHostError)
		if endErr := <-ended; !errors.As(endErr, new(*vm.QuitError)) {
			err = errors.Join(err, endErr)
		}
		return 1, err
	}
	err := <-ended
	var quit *vm.QuitError
	if errors.As(err, &quit) {
		return quit.Code, nil
	}
	return 1, err
}

// start restores a snapshot if asked to, starts the machine unless asked not to, and lets
// the monitors listen.
func (e *emulator) start(o *options) error {
	if o.given["loadvm"] {
		if err := savevm.Load(context.Background(), e.machine, o.loadvm); err != nil {
			return err
		}
	}
	if !o.stopped {
		var startErr error
		if err := e.machine.Do(func() { startErr = e.machine.Start() }); err != nil || startErr != nil {
			return errors.Join(err, startErr)
		}
	}
	return e.consoles.attach(e.monitor, o)
}

// close ends everything, in the order that loses nothing: consoles last, for what the
// others have to say.
func (e *emulator) close() error {
	var errs []error
	if e.monitor != nil {
		errs = append(errs, e.monitor.Close())
	}
	if e.storage != nil {
		errs = append(errs, e.storage.close())
	}
	if e.consoles != nil {
		errs = append(errs, e.consoles.set.Close())
	}
	return errors.Join(errs...)
}
