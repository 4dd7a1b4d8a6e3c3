package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/blockdev/nbd/server"
	"github.com/qmon/qmon/internal/release"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// Config says what a Monitor works on. Only Machine is needed.
type Config struct {
	Machine *vm.Machine
	// Drives makes the drives of drive_add, and knows which interface a drive is for that
	// names none; nil for a board without any.
	Drives *driveopt.Builder
	// Graph opens media, and Gate what images refer to; nil for those of Drives, and
	// without Drives for a new graph and DenyGate.
	Graph *blockdev.Graph
	Gate  blockdev.Gate
	// Chardevs lists the machine's character devices for info chardev.
	Chardevs func() []serial.Chardev
	// Version is what info version and the banner show; "" is the release of
	// QEMU whose behaviour is followed.
	Version string
	// Package stands behind the version in info version: "qmon 0.1".
	Package string
	// HistoryFile keeps the history of terminals between runs; see HistoryPath.
	HistoryFile string
	// Stdout receives what commands print there and not at the console, nil to drop it.
	Stdout io.Writer
	// Stderr is the same for complaints.
	Stderr io.Writer
}

// Monitor runs commands on a machine, for any number of consoles. One command runs at a
// time; the others wait.
type Monitor struct {
	config   Config
	commands table
	ctx      context.Context // of all commands; ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup // sessions

	executing sync.Mutex // held while a command runs

	mu       sync.Mutex
	sessions []*Session
	nodes    map[string]*blockdev.Vertex // made by drive_add -n, by node name
	nbd      *server.Server              // of nbd_server_start, nil for none
}

// New makes a monitor with all the commands of this package.
func New(c Config) *Monitor {
	if c.Version == "" {
		c.Version = release.QEMU
	}
	if c.Stdout == nil {
		c.Stdout = io.Discard
	}
	if c.Stderr == nil {
		c.Stderr = io.Discard
	}
	if c.Drives == nil {
		c.Drives = &driveopt.Builder{
			Graph:  cmp.Or(c.Graph, new(blockdev.Graph)),
			Gate:   c.Gate,
			Drives: c.Machine.Drives(),
			Board:  driveopt.Board{Default: "none"},
		}
	}
	c.Graph = cmp.Or(c.Graph, c.Drives.Graph)
	if c.Gate == nil {
		c.Gate = c.Drives.Gate
	}
	c.Machine.Drives().SetOpener(c.Graph, c.Gate)
	m := &Monitor{config: c, nodes: map[string]*blockdev.Vertex{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for _, group := range [][]Command{
		helpCommands, runCommands, snapshotCommands, internalCommands, mediaCommands, blockCommands,
		memoryCommands, cpuCommands, infoCommands, chardevCommands, logCommands, qemuioCommands, externalCommands,
		nbdCommands,
	} {
		for _, c := range group {
			m.commands.add(c)
		}
	}
	return m
}

// AddCommand adds a command, before the first Attach. A command of the same name is
// replaced.
func (m *Monitor) AddCommand(c Command) { m.commands.add(c) }

// SessionOptions say how a console behaves.
type SessionOptions struct {
	// ExitStatus makes the console's commands a script whose outcome is the program's: at
	// quit, and at the end of its input, the machine ends with exit status 1 if one of the
	// commands failed and 0 if none did. Without it the end of the input changes nothing
	// and quit always means 0, as in QEMU.
	ExitStatus bool
	// Color allows colour. It is used where a terminal is known to be at the other end (see
	// serial.HasWindow) and NO_COLOR is not set.
	Color bool
}

// Attach starts a console on a character device, on a goroutine of its own. It takes the
// device's front end; the device stays the caller's to close, after Close.
func (m *Monitor) Attach(c serial.Chardev, o SessionOptions) (*Session, error) {
	o.Color = o.Color && serial.HasWindow(c)
	s := &Session{monitor: m, options: o, last: firstFormat}
	editor, err := NewLineEditor(c, EditorConfig{
		Banner:      fmt.Sprintf("QEMU %s monitor - type 'help' for more information", m.config.Version),
		Complete:    s.complete,
		HistoryFile: m.config.HistoryFile,
	})
	if err != nil {
		return nil, err
	}
	s.attach(editor, c.Terminal())
	m.mu.Lock()
	m.sessions = append(m.sessions, s)
	m.mu.Unlock()
	m.running.Go(s.run)
	return s, nil
}

// Execute runs one command line on the caller's goroutine, which must not be the
// machine's, and writes to w what it shows. The error is the command's; w has its text.
func (m *Monitor) Execute(ctx context.Context, w io.Writer, line string) error {
	s := &Session{monitor: m, last: firstFormat}
	s.setOutput(w, false)
	return s.execute(ctx, line)
}

// Failures counts the commands that failed, of all consoles that were attached.
func (m *Monitor) Failures() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, s := range m.sessions {
		n += s.Failures()
	}
	return n
}

// Close ends all consoles, waits for the commands that they run, stops the NBD server, and
// closes the nodes that drive_add made.
func (m *Monitor) Close() error {
	m.cancel()
	m.mu.Lock()
	sessions := m.sessions
	m.mu.Unlock()
	var errs []error
	for _, s := range sessions {
		errs = append(errs, s.close())
	}
	errs = append(errs, m.stopNBD())
	m.running.Wait()
	errs = append(errs, m.stopNBD()) // of a command that ran until now
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, v := range m.nodes {
		errs = append(errs, v.Unref())
		delete(m.nodes, name)
	}
	return errors.Join(errs...)
}
