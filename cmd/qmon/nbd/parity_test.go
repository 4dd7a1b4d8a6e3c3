package nbd

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/shlex"

	"github.com/qmon/qmon/internal/peer"
)

// TestMistakesInQemusWords compares messages and exit statuses with the real program's.
func TestMistakesInQemusWords(t *testing.T) {
	peer.Need(t, "qemu-nbd")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("a.raw", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"", "a b", "nope.raw", "-P 1 a.raw", "--foo", "-p", "--socket", "-L a.raw", "-L -x name", "-L -k /nope",
		"-e x a.raw", "-o x a.raw", "-o 2M a.raw", "-o 2097152 -f raw a.raw", "-k relative a.raw",
		"--cache=x a.raw", "-n --cache=none a.raw", "--aio=x a.raw", "--discard=x a.raw", "--detect-zeroes=x a.raw",
		"--detect-zeroes=unmap -f raw a.raw", "--tls-creds=x a.raw", "--image-opts -f raw x", "-f nosuch a.raw",
		"-l one -f raw a.raw", "-l snapshot.foo=1 -f raw a.raw", "-c /dev/no -f raw a.raw", "-d /dev/no",
		"--fork nope.raw", "-b 192.0.2.1 -f raw a.raw", "-x " + strings.Repeat("x", 5000) + " a.raw",
	} {
		t.Run(line, func(t *testing.T) {
			args, err := shlex.Split(line)
			if err != nil {
				t.Fatal(err)
			}
			want, wantStatus := theirs(t, args)
			got, status := ours(t, args)
			if diff := cmp.Diff(want, got); diff != "" || status != wantStatus {
				t.Errorf("status %d, theirs %d (-theirs +ours)\n%s", status, wantStatus, diff)
			}
		})
	}
}

func theirs(t *testing.T, args []string) (string, int) {
	t.Helper()
	cmd := exec.Command("qemu-nbd", args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// ours runs in this process; a --fork would start the tests again, and is left out.
func ours(t *testing.T, args []string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	tool := &tool{prog: "qemu-nbd", stdout: &out, stderr: &out}
	var rest []string
	for _, a := range args {
		if a != "--fork" {
			rest = append(rest, a)
		}
	}
	status := tool.main(t.Context(), rest)
	return out.String(), status
}

// TestListsAlike: both programs list a server's exports in the same way.
func TestListsAlike(t *testing.T) {
	peer.Need(t, "qemu-nbd", "nbdkit")
	socket := filepath.Join(t.TempDir(), "s")
	server := exec.Command("nbdkit", "-f", "-U", socket, "-e", "name", "memory", "16M")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		server.Process.Kill()
		server.Wait()
	}()
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
	}
	want, _ := theirs(t, []string{"-L", "-k", socket})
	got, _ := ours(t, []string{"-L", "-k", socket})
	if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(got, "base:allocation") {
		t.Errorf("(-theirs +ours)\n%s", diff)
	}
}
