//go:build unix

package nbd

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyDescriptor is where the child says that it is ready: the first extra file.
const readyDescriptor = 3

// fork starts the program again, in a session of its own, and waits until it can be
// connected to. Go cannot fork in the middle; so the child begins from the beginning.
func (t *tool) fork(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	child := &exec.Cmd{
		Path: self, Args: os.Args, Env: append(os.Environ(), childMark+"=1"), Stderr: os.Stderr,
		ExtraFiles: []*os.File{w}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := child.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	_ = w.Close() // the child has its own
	stop := context.AfterFunc(ctx, func() { _ = child.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if said, err := io.ReadAll(r); err == nil && len(said) > 0 {
		return child.Process.Release()
	}
	_ = child.Wait() // it failed, and has said why
	return errReported
}

// tellParent says that clients can connect, and lets go of the parent's error output: who
// reads that to its end would wait for the server.
func tellParent() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }() // its copy stays
	if err := unix.Dup2(int(null.Fd()), int(os.Stderr.Fd())); err != nil {
		return err
	}
	ready := os.NewFile(readyDescriptor, "ready")
	if _, err := ready.WriteString("ready"); err != nil {
		return err
	}
	return ready.Close()
}
