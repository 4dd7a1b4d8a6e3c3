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
	peer.Need(t, "qemu-nbd", "qemu-img")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("a.raw", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M")
	peer.Run(t, "qemu-img", "bitmap", "--add", "a.qcow2", "b1")
	for _, line := range []string{
		"", "a b", "nope.raw", "-P 1 a.raw", "--foo", "-p", "--socket", "-L a.raw", "-L -x name", "-L -k /nope",
		"-e x a.raw", "-o x a.raw", "-o 2M a.raw", "-o 2097152 -f raw a.raw", "-k relative a.raw",
		"--cache=x a.raw", "-n --cache=none a.raw", "--aio=x a.raw", "--discard=x a.raw", "--detect-zeroes=x a.raw",
		"--detect-zeroes=unmap -f raw a.raw", "--tls-creds=x a.raw", "--tls-creds= -f raw a.raw", "-c '' -f raw a.raw", "-d ''", "--image-opts -f raw x", "-f nosuch a.raw",
		"-l one -f raw a.raw", "-l snapshot.foo=1 -f raw a.raw", "-c /dev/no -f raw a.raw", "-d /dev/no",
		"-e -1 -f raw a.raw", "-e 1x a.raw", "-o -1 -f raw a.raw", "-o 1048577 -f raw a.raw", "--trace enable=nbd* -f nosuch a.raw",
		"-T x -f nosuch a.raw", "-T foo=bar a.raw", "--selinux-label=foo -f raw a.raw", "--selinux-label=foo -k /tmp/nbd-parity.sock -f raw a.raw", "--tls-hostname=h -f raw a.raw",
		"--tls-hostname=h -L", "--tls-authz=x -f raw a.raw", "--tls-authz=x --tls-creds=y -f raw a.raw", "--tls-creds=y -c /dev/nbd0 a.raw",
		"--object authz-simple,id=a a.raw", "--object authz-list,id=a,policy=foo a.raw", "--object authz-list,id=a,rules.0.match=x a.raw",
		"--object authz-list,id=a,rules.1.match=x,rules.1.policy=allow a.raw", "--object authz-simple,id=1a,identity=x a.raw",
		"--object authz-simple,id=a,identity=x,foo=bar a.raw", "--object authz-simple,identity=x a.raw", "--object foo,id=a a.raw",
		`--object '{"qom-type":"authz-list","id":"b","rules":[{"match":"x","policy":"alow"}]}' a.raw`, "--object id=a a.raw",
		"--object secret,id=s a.raw", "--object secret,id=s,data=x -f nosuch a.raw", "--object tls-creds-x509,id=a,endpoint=server,dir=/nope a.raw",
		"-B b1 -f raw a.raw", "-B nope -f qcow2 a.qcow2", "-B b1 -B b1 -B nope -f qcow2 a.qcow2", "-L -B b1", "-L -A", "-L -D x",
		"-L -c /dev/x", "-L -d", "-L --cache=none", "-L -b nosuchhost.invalid", "-L -p 1", "-L -b ::1 -p 1", "-p x -f raw a.raw",
		"-p -1 -f raw a.raw", "-b nosuchhost.invalid -p 0 -f raw a.raw", "--aio=threads --aio=threads a.raw", "-n -n a.raw",
		"--discard=on --discard=off a.raw", "--partition=1 a.raw", "--image-opts foo", "--image-opts driver=qcow2",
		"--image-opts driver=qcow2,file.filename=nope", "--image-opts driver=raw,file.filename=a.raw,foo=bar",
		"-l nosnap -f qcow2 a.qcow2", "-l snapshot.id=9 -f qcow2 a.qcow2", "-l snapshot.id=1,snapshot.name=zz -f qcow2 a.qcow2",
		"--pid-file=/nope/x -k /tmp/nbd-parity.sock -f raw a.raw", "-k /nope/s -f raw a.raw", "-k /tmp/" + strings.Repeat("x", 120) + " -f raw a.raw",
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
