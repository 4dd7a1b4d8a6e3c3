// Package peer finds the programs that nobody here wrote and that tests compare with.
package peer

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/linuxguest"
)

// Need skips the test if one of the programs is not on PATH. With QMON_PEERS=required in
// the environment a missing program is a failure.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing(t, p)
		}
	}
}

// SevenZip is Need for 7-Zip, and returns the name of its program: "7zz", or "7z" where an
// older package brings that alone.
func SevenZip(t testing.TB) string {
	t.Helper()
	for _, p := range []string{"7zz", "7z"} {
		if _, err := exec.LookPath(p); err == nil {
			return p
		}
	}
	missing(t, "7zz")
	return ""
}

// NeedFile is Need for a file that a package installs, such as firmware. It returns the
// first path that exists.
func NeedFile(t testing.TB, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	missing(t, paths[0])
	return ""
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("QMON_PEERS") == "required" {
		t.Fatalf("%s is missing, and QMON_PEERS=required", what)
	}
	t.Skipf("%s is missing", what)
}

// Run runs a peer and returns its standard output; failure ends the test.
func Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	Need(t, program)
	for attempt := 1; ; attempt++ {
		out, err := exec.Command(program, args...).Output()
		if err == nil {
			return string(out)
		}
		var stderr []byte
		if e, ok := err.(*exec.ExitError); ok {
			stderr = e.Stderr
		}
		if !Again(attempt, string(stderr)) {
			t.Fatalf("%s %q: %v\n%s%s", program, args, err, out, stderr)
		}
	}
}

// maxAttempts is how often Again says so.
const maxAttempts = 20

// Again tells if what a peer said after an attempt is a reason for another. QEMU's tools time
// the derivation of a key, and fail where the processor's clock has not moved meanwhile.
func Again(attempt int, said string) bool {
	return attempt < maxAttempts && strings.Contains(said, "Unable to get accurate CPU usage")
}

// NeedLinux is Need for the Linux guest.
func NeedLinux(t testing.TB) linuxguest.Guest {
	t.Helper()
	guest, err := linuxguest.Find()
	if err != nil {
		missing(t, err.Error())
	}
	return guest
}

// NeedDebian is Need for Debian's kernel.
func NeedDebian(t testing.TB) linuxguest.Debian {
	t.Helper()
	k, err := linuxguest.FindDebian()
	if err != nil {
		missing(t, err.Error())
	}
	return k
}
