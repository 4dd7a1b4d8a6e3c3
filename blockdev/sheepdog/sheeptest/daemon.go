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
}

// Limits of waiting for daemons.
const (
	startTimeout = 20 * time.Second
	startPause   = 50 * time.Millisecond
)

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
	for i := range n {
		if err := d.start(ctx, sheep, dog, dir, i); err != nil {
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

// format waits until all have joined, makes a cluster of them, and waits until all know.
func (d *Daemons) format(ctx context.Context, n int) error {
	joined := func(list string) bool { return strings.Count(list, "127.0.0.1:") == n }
	if err := d.nodes[0].await(ctx, joined, "node", "list"); err != nil {
		return err
	}
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
	for end := time.Now().Add(startTimeout); ; time.Sleep(startPause) {
		out, err := n.ask(ctx, command, subcommand)
		if err == nil && good(out) {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(err, fmt.Errorf("dog %s %s still says %q", command, subcommand, out))
		}
	}
}

// start starts one daemon. Each has a zone of its own: copies go to different zones.
func (d *Daemons) start(ctx context.Context, sheep, dog, dir string, i int) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	store := filepath.Join(dir, strconv.Itoa(i))
	if err := os.Mkdir(store, 0o700); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, sheep, "-f", "-c", "local:"+filepath.Join(dir, "cluster"), "-b", "127.0.0.1",
		"-p", strconv.Itoa(port), "-z", strconv.Itoa(i+1), store)
	if err := cmd.Start(); err != nil {
		return err
	}
	d.nodes = append(d.nodes, &daemon{dog: dog, cmd: cmd, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), store: store})
	return awaitAddr(d.Addr(i))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func awaitAddr(addr string) error {
	for end := time.Now().Add(startTimeout); ; time.Sleep(startPause) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("the daemon does not listen: %w", err)
		}
	}
}

// Addr is where daemon i listens.
func (d *Daemons) Addr(i int) string { return d.nodes[i].addr }

// Socket is the path of daemon i's Unix socket.
func (d *Daemons) Socket(i int) string { return filepath.Join(d.nodes[i].store, "sock") }

// Kill ends a daemon with no warning. It is waited for: the others take a process that is
// still in the kernel's table for alive.
func (d *Daemons) Kill(i int) {
	_ = d.nodes[i].cmd.Process.Kill()
	_ = d.nodes[i].cmd.Wait()
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
		if n.cmd.ProcessState == nil {
			return n.ask(ctx, command, subcommand, args...)
		}
	}
	return "", errors.New("no daemon lives")
}
