package img

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// runTool runs a command line within the test.
func runTool(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	t := &tool{ctx: ctx, prog: "qemu-img", stdout: &out, stderr: &err}
	status = t.main(args)
	return status, out.String(), err.String()
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	status, stdout, stderr := runTool(t.Context(), args...)
	if status != statusOK {
		t.Fatalf("%q: status %d\n%s", args, status, stderr)
	}
	return stdout
}

// writerFunc is a writer that is a function.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestInterrupted interrupts a conversion at its first sign of life.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "a.raw"), filepath.Join(dir, "out.qcow2")
	if err := os.WriteFile(source, bytes.Repeat([]byte("data"), 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	first := true
	tool := &tool{ctx: ctx, prog: "qemu-img", stderr: &stderr, stdout: writerFunc(func(p []byte) (int, error) {
		if !first { // the first is that nothing is done
			cancel()
		}
		first = false
		return len(p), nil
	})}
	status := tool.main([]string{"convert", "-p", "-m", "1", "-O", "qcow2", source, target})
	want := "The unfinished image '" + target + "' was removed.\nqemu-img: interrupted\n"
	if diff := cmp.Diff(want, stderr.String()); diff != "" || status != statusInterrupted {
		t.Errorf("status %d (-want +got)\n%s", status, diff)
	}
	if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target is left: %v", err)
	}
}

func TestProgressLines(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "a.raw")
	if err := os.WriteFile(source, bytes.Repeat([]byte("data"), 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	out := mustRun(t, "convert", "-p", source, filepath.Join(dir, "b.raw"))
	if !regexp.MustCompile(`^(    \(\d+\.\d\d/100%\)\r)+\n$`).MatchString(out) {
		t.Errorf("%q", out)
	}
	if !strings.HasPrefix(out, "    (0.00/100%)\r") || !strings.HasSuffix(out, "    (100.00/100%)\r\n") {
		t.Errorf("not from nothing to all: %q", out)
	}
	if out := mustRun(t, "convert", "-p", "-q", source, filepath.Join(dir, "c.raw")); out != "" {
		t.Errorf("-q prints %q", out)
	}
}

// TestRestrict shows that --restrict keeps an image from reaching out of a directory.
func TestRestrict(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("do not tell"), 0o600); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "images")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	top, base := filepath.Join(inside, "top.qcow2"), filepath.Join(inside, "base.qcow2")
	mustRun(t, "create", "-q", "-f", "qcow2", "-u", "-b", secret, "-F", "raw", top, "1M")
	mustRun(t, "map", top)
	status, _, stderr := runTool(t.Context(), "--restrict", inside, "map", top)
	if status != statusFailed || !strings.Contains(stderr, "is not followed") {
		t.Errorf("status %d, %q", status, stderr)
	}
	mustRun(t, "create", "-q", "-f", "qcow2", base, "1M")
	mustRun(t, "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", top)
	mustRun(t, "--restrict", inside, "map", top)
}
