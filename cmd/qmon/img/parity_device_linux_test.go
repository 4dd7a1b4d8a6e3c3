package img

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/shlex"

	"github.com/qmon/qmon/internal/peer"
)

// deviceFixtures are images that go to a device of 8 MiB and come from it.
var deviceFixtures = []string{
	"qemu-img create -q small.raw 6M",
	"qemu-io -f raw -c 'write -P 5 0 3M' small.raw",
	"qemu-img create -q big.raw 12M",
	"qemu-io -f raw -c 'write -P 6 9M 1M' big.raw",
}

// deviceCases are command lines as in parityCases; DEV is a block device.
var deviceCases = []string{
	"info DEV", "info --output=json DEV", "info host_device:DEV", "info file:DEV",
	"info --image-opts driver=file,filename=DEV", "info --image-opts driver=raw,file.driver=host_device,file.filename=DEV",
	"info --image-opts driver=raw,file.driver=host_device,file.filename=small.raw", "info --image-opts driver=host_device,filename=/dev/null",
	"info /dev/null", "info /dev/zero", "info /dev/ptmx", "info /dev/no-such-drive", "info host_device:sub",
	"create DEV 4M; info DEV", "create DEV 9M", "create host_device:DEV 1M", "create -o preallocation=full DEV 1M",
	"create -f qcow2 DEV 100M; info DEV; check DEV; map DEV; create DEV 4M; info DEV", "create -f qcow2 DEV 100M; create DEV 9M; info DEV",
	"resize -f raw DEV 4M", "resize --shrink -f raw DEV 4M", "resize -f raw DEV 16M", "resize -f raw DEV 8M",
	"convert -f raw -O raw small.raw DEV; compare -f raw -F raw small.raw DEV", "convert -n -f raw -O raw small.raw DEV",
	"convert -f raw -O raw big.raw DEV", "convert -n -f raw -O raw big.raw DEV", "convert -t none -T none -f raw -O raw small.raw DEV",
	"convert -f raw -O qcow2 small.raw DEV; compare small.raw DEV; convert DEV n.raw; compare n.raw small.raw",
	"convert -f raw -O qcow2 big.raw DEV; compare big.raw DEV", "convert -f raw -O vdi small.raw DEV; compare small.raw DEV",
	"map -f raw DEV", "map -f raw --output=json DEV",
	"create -q -f qcow2 DEV 10M; create -f qcow2 -b DEV -F qcow2 n.q; info --backing-chain n.q; commit n.q; rebase -u -b '' n.q; info n.q",
	"dd -f raw -O raw bs=1M if=small.raw of=DEV", "dd -f raw -O raw bs=1M if=big.raw of=DEV",
	"dd -f raw -O raw bs=1M count=3 if=DEV of=n.raw; info n.raw",
}

// TestDevicesLikeQEMU does to a block device what qemu-img does, and leaves it the same.
func TestDevicesLikeQEMU(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io")
	device, _ := peer.LoopDevice(t, 8<<20)
	template := makeFixtures(t, deviceFixtures)
	for _, c := range deviceCases {
		t.Run(c, func(t *testing.T) {
			type side struct {
				outcomes []outcome
				device   string
			}
			do := func(run func(t *testing.T, dir string, args []string) outcome) (s side) {
				wipe(t, device)
				dir := peer.Copy(t, template)
				for _, line := range strings.Split(strings.ReplaceAll(c, "DEV", device), ";") {
					args, err := shlex.Split(line)
					if err != nil {
						t.Fatal(err)
					}
					s.outcomes = append(s.outcomes, run(t, dir, args))
				}
				s.device = filepath.Join(dir, "device")
				peer.Run(t, "dd", "if="+device, "of="+s.device, "bs=1M", "status=none")
				return s
			}
			theirs, ours := do(runPeer), do(runOurs)
			if diff := cmp.Diff(theirs.outcomes, ours.outcomes); diff != "" {
				t.Errorf("(-qemu-img +ours):\n%s", diff)
			}
			if !sameDisk(t, theirs.device, ours.device) {
				t.Error("what is on the device differs")
			}
		})
	}
	if info, err := os.Stat(device); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Errorf("the device is gone: %v", err)
	}
}

// wipe fills a device with zeroes.
func wipe(t *testing.T, device string) {
	t.Helper()
	if err := os.WriteFile(device, make([]byte, 8<<20), 0); err != nil {
		t.Fatal(err)
	}
}

// sameDisk tells if two images, of the format each looks like, hold the same.
func sameDisk(t *testing.T, a, b string) bool {
	t.Helper()
	return runPeer(t, filepath.Dir(a), []string{"compare", a, b}).Status == 0
}
