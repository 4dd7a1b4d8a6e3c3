package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// client is somebody at the other end of the toy's serial line.
type client struct {
	t    *testing.T
	conn net.Conn
}

// startToy runs the toy with its line on a Unix socket.
func startToy(t *testing.T, images ...string) *client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "line")
	done := make(chan error, 1)
	go func() { done <- run(images, "mon:unix:"+path+",server=on,wait=off") }()
	var conn net.Conn
	for start := time.Now(); conn == nil; time.Sleep(5 * time.Millisecond) {
		conn, _ = net.Dial("unix", path)
		if conn == nil && time.Since(start) > time.Minute {
			t.Fatal("the toy does not listen")
		}
	}
	c := &client{t, conn}
	t.Cleanup(func() {
		io.WriteString(conn, "\x01x")
		conn.Close()
		if err := <-done; err != nil {
			t.Errorf("the toy ended with %v", err)
		}
	})
	return c
}

// say sends text and waits for an answer that ends in want.
func (c *client) say(text, want string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
	c.conn.SetReadDeadline(time.Now().Add(time.Minute))
	var got []byte
	b := make([]byte, 256)
	for !strings.HasSuffix(string(got), want) {
		n, err := c.conn.Read(b)
		got = append(got, b[:n]...)
		if err != nil {
			c.t.Fatalf("after %q came %q, then %v", text, got, err)
		}
	}
	return string(got)
}

func newDisks(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	names := []string{filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "b.qcow2")}
	for _, name := range names {
		var g blockdev.Graph
		if err := g.Create(context.Background(), "qcow2", name, 1<<20, nil, blockdev.Reference{}); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func TestSnapshotHoldsMemoryAndBothDisks(t *testing.T) {
	c := startToy(t, newDisks(t)...)
	c.say("+++wp", "3")
	c.say("\x01c", "(qemu) ")
	c.say("savevm a\n", "(qemu) ")
	c.say("\x01c", "\n")
	c.say("++wp", "5")
	c.say("\x01c", "(qemu) ")
	if out := c.say("loadvm a\n", "(qemu) "); strings.Contains(out, "Error") {
		t.Fatalf("loadvm: %s", out)
	}
	c.say("\x01c", "\n")
	c.say("p", "3")
	c.say("+rp", "3") // the disk, too, holds what it held
}

func TestMonitorKnowsTheToy(t *testing.T) {
	c := startToy(t, newDisks(t)...)
	c.say("++p", "2")
	c.say("\x01c", "(qemu) ")
	for _, step := range []struct{ command, want string }{
		{"stop", ""},
		{"info registers", "r7 00000000"},
		{"info block", "ide0-hd1"},
		{"x/1wx 0x800", "0x00000002"},
		{"info mtree", "toy.ram"},
		{"print $pc", "0x"},
		{"savevm t", ""},
		{"info snapshots", "t"},
		{"commit nosuch", "not found"},
		{"info status", "paused"},
		{"system_reset", ""},
	} {
		if out := c.say(step.command+"\n", "(qemu) "); !strings.Contains(out, step.want) {
			t.Errorf("%s: %q has no %q", step.command, out, step.want)
		}
	}
}
