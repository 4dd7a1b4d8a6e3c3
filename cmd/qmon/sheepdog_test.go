package main

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// TestSheepdogScripts runs testdata/sheepdog, each script with a cluster of its own: $SHEEP
// is HOST:PORT of a gateway, $SHEEPSOCK the path of another.
func TestSheepdogScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/sheepdog",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", scriptPath)
			e.Setenv("TZ", "UTC")
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
		},
	})
}
