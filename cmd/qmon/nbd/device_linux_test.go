package nbd

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/qmon/qmon/internal/peer"
)

// TestDevicesOfTheKernel starts a Linux that has the kernel's NBD client, and in it --connect
// and --disconnect, and nbd-client with our server.
func TestDevicesOfTheKernel(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the kernel of another machine")
	}
	peer.Need(t, "qemu-system-x86_64", "qemu-img", "qemu-io", "nbd-client", "ldd")
	kernel := peer.NeedDebian(t)
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", disk, "8M")
	peer.Run(t, "qemu-io", "-c", "write -q -P 0x5a 1M 4k", disk)
	files := map[string]string{
		"init": build(t, "./testdata/deviceguest"), "qmon": build(t, "github.com/qmon/qmon/cmd/qmon"),
		"nbd.ko": kernel.NBD, "disk.qcow2": disk,
	}
	client, err := exec.LookPath("nbd-client")
	if err != nil {
		t.Fatal(err)
	}
	files["nbd-client"] = client
	for _, library := range regexp.MustCompile(`/\S+`).FindAllString(peer.Run(t, "ldd", client), -1) {
		files[strings.TrimPrefix(library, "/")] = library
	}
	initrd := filepath.Join(dir, "initrd")
	archive(t, initrd, files)
	out := boot(t, kernel.Kernel, initrd)
	for _, want := range []string{
		"guest: without the module: qmon nbd: Failed to set up NBD device '/dev/null': not a device",
		"guest: twice: qmon nbd: Failed to set up NBD device '/dev/nbd0': Device or resource busy",
		"guest: PASS",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the guest does not say %q:\n%s", want, out)
		}
	}
}

// build builds a static program.
func build(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// archive writes an initial RAM disk: names in it, and the host's files.
func archive(t *testing.T, name string, files map[string]string) {
	t.Helper()
	records := []cpio.Record{cpio.StaticFile("other.raw", strings.Repeat("\x00", 1<<20), 0o644)}
	for in, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, cpio.StaticFile(in, string(data), 0o755))
	}
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	if err := cpio.WriteRecordsAndDirs(w, records); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// boot runs a machine until it reboots, and returns what its serial port said.
func boot(t *testing.T, kernel, initrd string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-m", "512",
		"-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 rdinit=/init").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
