package peer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// LoopDevice makes a block device of size bytes over a file, with more of losetup's
// options. The test is skipped where that is not allowed, whatever QMON_PEERS says.
func LoopDevice(t testing.TB, size int64, options ...string) (device, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "bytes")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", append(options, "--find", "--show", file)...).Output()
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v %s", device, err, out)
		}
	})
	return device, file
}
