package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// TestSheepdogScripts runs testdata/sheepdog, each script with a cluster of its own: $SHEEP
// is HOST:PORT of a gateway, $SHEEPSOCK the path of another.
func TestSheepdogScripts(t *testing.T) {
	runSheepdogScripts(t, func(e *testscript.Env) error {
		c := sheeptest.New(sheeptest.Config{Locking: true})
		g, err := c.Listen()
		if err != nil {
			return err
		}
		e.Defer(g.Kill)
		e.Setenv("SHEEP", g.Addr())
		sock := filepath.Join(e.WorkDir, "sock")
		l, err := net.Listen("unix", sock)
		if err != nil {
			return err
		}
		e.Defer(c.Serve(l).Kill)
		e.Setenv("SHEEPSOCK", sock)
		return nil
	})
}

// TestSheepdogScriptsLive runs them with real daemons: as many as an erasure code of 4:2
// has strips.
func TestSheepdogScriptsLive(t *testing.T) {
	if !sheeptest.HaveDaemons() {
		t.Skip("SHEEP_BIN names no daemon")
	}
	runSheepdogScripts(t, func(e *testscript.Env) error {
		dir, err := os.MkdirTemp("", "sheep") // short, for the names of sockets
		if err != nil {
			return err
		}
		e.Defer(func() { _ = os.RemoveAll(dir) })
		d, err := sheeptest.StartDaemons(context.Background(), dir, 6)
		if err != nil {
			return err
		}
		e.Defer(d.Stop)
		e.Setenv("SHEEP", d.Addr(0))
		e.Setenv("SHEEPSOCK", d.Socket(1))
		return nil
	})
}

func runSheepdogScripts(t *testing.T, cluster func(*testscript.Env) error) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/sheepdog",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", scriptPath)
			e.Setenv("TZ", "UTC")
			return cluster(e)
		},
	})
}
