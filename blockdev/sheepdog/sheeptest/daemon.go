package sheeptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Daemons is a cluster of real daemons on this host.
type Daemons struct{ nodes []*daemon }

// daemon is one daemon.
type daemon struct {
	dog   string // the tool that goes with it
	cmd   *exec.Cmd
	addr  string // host:port
	store string
	ended chan struct{} // closed when the process is gone
}

// Limits of waiting for daemons.
const (
	startTimeout = 20 * time.Second
	startPause   = 50 * time.Millisecond
	// maxStarts is how often a daemon is started that ends at once: those of one host clear
	// the same folder of locks when they start, and trip over each other there.
	maxStarts = 5
)

// errEnded is about a daemon that did not stay.
var errEnded = errors.New("the daemon ended")

// HaveDaemons tells if SHEEP_BIN names a daemon to start.
func HaveDaemons() bool { return os.Getenv("SHEEP_BIN") != "" }

// StartDaemons starts the daemon that SHEEP_BIN names n times, with its files below dir,
// and formats the cluster for n copies, with locking, by the tool dog: the one that DOG_BIN
// names, or beside the daemon.
func StartDaemons(ctx context.Context, dir string, n int) (*Daemons, error) {
	sheep := os.Getenv("SHEEP_BIN")
	dog := os.Getenv("DOG_BIN")
	if dog == "" {
		dog = filepath.Join(filepath.Dir(sheep), "dog")
	}
	d := &Daemons{}
	for range n {
		if err := d.start(ctx, sheep, dog, dir); err != nil {
			d.Stop()
			return nil, err
		}
	}
	if err := d.format(ctx, n); err != nil {
		d.Stop()
		return nil, err
	}
	return d, nil
}

// format makes a cluster of all, and waits until all know.
func (d *Daemons) format(ctx context.Context, n int) error {
	if _, err := d.nodes[0].ask(ctx, "cluster", "format", "-l", "--copies="+strconv.Itoa(n)); err != nil {
		return err
	}
	running := func(info string) bool { return strings.Contains(info, "running") }
	for _, node := range d.nodes {
		if err := node.await(ctx, running, "cluster", "info"); err != nil {
			return err
		}
	}
	return nil
}

// ask runs the cluster's tool, and returns what it prints.
func (n *daemon) ask(ctx context.Context, command, subcommand string, args ...string) (string, error) {
	host, port, err := net.SplitHostPort(n.addr)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, n.dog, append([]string{command, subcommand, "-a", host, "-p", port}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("dog %s %s: %w: %s", command, subcommand, err, out)
	}
	return string(out), nil
}

// await asks until the answer is good.
func (n *daemon) await(ctx context.Context, good func(string) bool, command, subcommand string) error {
	for end := time.Now().Add(startTimeout); ; {
		out, err := n.ask(ctx, command, subcommand)
		if err == nil && good(out) {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(err, fmt.Errorf("dog %s %s still says %q", command, subcommand, out))
		}
		select {
		case <-n.ended:
			log, _ := os.ReadFile(filepath.Join(n.store, "sheep.log"))
			return fmt.Errorf("%w: %v\n%s", errEnded, n.cmd.ProcessState, log)
		case <-time.After(startPause):
		}
	}
}

// start adds a daemon to the cluster, and waits until it has joined the others.
func (d *Daemons) start(ctx context.Context, sheep, dog, dir string) error {
	for tries := 1; ; tries++ {
		n, err := launch(ctx, sheep, dog, dir, len(d.nodes)+1)
		if err != nil {
			return err
		}
		d.nodes = append(d.nodes, n)
		joined := func(list string) bool { return strings.Count(list, "127.0.0.1:") == len(d.nodes) }
		err = n.await(ctx, joined, "node", "list")
		if !errors.Is(err, errEnded) || tries == maxStarts {
			return err
		}
		d.nodes = d.nodes[:len(d.nodes)-1]
	}
}

// launch starts a daemon in a zone: copies go to different zones.
func launch(ctx context.Context, sheep, dog, dir string, zone int) (*daemon, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	store, err := os.MkdirTemp(dir, "")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, sheep, "-f", "-c", "local:"+filepath.Join(dir, "cluster"), "-b", "127.0.0.1",
		"-p", strconv.Itoa(port), "-z", strconv.Itoa(zone), store)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	n := &daemon{
		dog: dog, cmd: cmd, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), store: store,
		ended: make(chan struct{}),
	}
	go func() {
		_ = cmd.Wait() // how it ended is in cmd
		close(n.ended)
	}()
	return n, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Addr is where daemon i listens.
func (d *Daemons) Addr(i int) string { return d.nodes[i].addr }

// Socket is the path of daemon i's Unix socket.
func (d *Daemons) Socket(i int) string { return filepath.Join(d.nodes[i].store, "sock") }

// Kill ends a daemon with no warning. It is waited for: the others take a process that is
// still in the kernel's table for alive.
func (d *Daemons) Kill(i int) {
	_ = d.nodes[i].cmd.Process.Kill()
	<-d.nodes[i].ended
}

// Stop kills all.
func (d *Daemons) Stop() {
	for i := range d.nodes {
		d.Kill(i)
	}
}

// Dog asks the first daemon that lives by the cluster's own tool, and returns what it prints.
func (d *Daemons) Dog(ctx context.Context, command, subcommand string, args ...string) (string, error) {
	for _, n := range d.nodes {
		select {
		case <-n.ended:
		default:
			return n.ask(ctx, command, subcommand, args...)
		}
	}
	return "", errors.New("no daemon lives")
}
