package serial

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/internal/peer"
)

// TestFilenamesAreQEMUs makes the same devices here and in the real program and compares
// what info chardev says. Ports that the system chose are alike.
func TestFilenamesAreQEMUs(t *testing.T) {
	peer.Need(t, "qemu-system-x86_64")
	dir := t.TempDir()
	args := []string{
		"null,id=n", "vc,id=v", "ringbuf,id=r", "null,id=m,mux=on", "mux,id=o,chardev=n",
		"file,id=f,path=" + filepath.Join(dir, "f"),
		"socket,id=us,server=on,wait=off,path=" + filepath.Join(dir, "s"),
		"socket,id=uc,reconnect=60,path=" + filepath.Join(dir, "nobody"),
		"socket,id=ts,server=on,wait=off,host=127.0.0.1,port=0",
		"socket,id=tt,server=on,wait=off,host=localhost,port=0,telnet=on,ipv4=on",
		"socket,id=ta,server=on,wait=off,host=,port=0",
		"socket,id=tc,host=127.0.0.1,port=1,reconnect=60",
	}
	command := []string{"-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"}
	var set Set
	defer set.Close()
	for _, arg := range args {
		command = append(command, "-chardev", arg)
		c, err := ParseChardev(arg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := set.Open(c); err != nil {
			t.Fatal(err)
		}
	}
	ours := map[string]string{}
	for _, d := range set.All() {
		ours[d.ID()] = ports.ReplaceAllString(d.Filename(), "$1:PORT")
	}
	set.Close() // the names of Unix sockets are the real program's now
	cmd := exec.Command("qemu-system-x86_64", command...)
	cmd.Stdin = strings.NewReader("info chardev\nquit\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\S+): filename=(.*?)\r?$`).FindAllStringSubmatch(string(out), -1) {
		theirs[m[1]] = ports.ReplaceAllString(m[2], "$1:PORT")
	}
	delete(theirs, "compat_monitor0")
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("QEMU's (-) and ours (+): %s", diff)
	}
}

var ports = regexp.MustCompile(`(\d\.\d+):\d{4,}`)
