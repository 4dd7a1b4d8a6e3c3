package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain runs the tests, or the program itself where a script calls it by a name.
func TestMain(m *testing.M) {
	program := func() { os.Exit(run(os.Args)) }
	testscript.Main(peerPath{m, os.Getenv("PATH")}, map[string]func(){
		"qmon":     program,
		"qemu-img": program,
		"qemu-io":  program,
		"qemu-nbd": program,
	})
}

// peerPath runs the tests with the PATH from before testscript put our own programs on
// it, so that tests find their peers. Scripts get the other one.
type peerPath struct {
	*testing.M
	path string
}

// scriptPath is the PATH of scripts.
var scriptPath string

func (p peerPath) Run() int {
	scriptPath = os.Getenv("PATH")
	if err := os.Setenv("PATH", p.path); err != nil {
		panic(err)
	}
	return p.M.Run()
}

// TestScripts runs testdata/script. Scripts find the real qemu-img, where there is one, as
// $PEER_IMG, under the condition [peer].
func TestScripts(t *testing.T) {
	peerImg, err := exec.LookPath("qemu-img")
	if err != nil && os.Getenv("QMON_PEERS") == "required" {
		t.Fatal("qemu-img is missing, and QMON_PEERS=required")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", scriptPath)
			e.Setenv("PEER_IMG", peerImg)
			e.Setenv("TZ", "UTC")
			return nil
		},
		Condition: func(cond string) (bool, error) { return cond == "peer" && peerImg != "", nil },
	})
}
