package virt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestXV6 runs xv6 for RISC-V where QMON_XV6 names a folder with its kernel/kernel and
// fs.img, as `make TOOLPREFIX=riscv64-linux-gnu- kernel/kernel fs.img` builds them. Its
// kernel starts in machine mode, pages with Sv39, takes every interrupt and speaks modern
// virtio. QMON_XV6_TESTS names tests of its usertests to be run; all of them take minutes.
func TestXV6(t *testing.T) {
	dir := os.Getenv("QMON_XV6")
	if dir == "" {
		t.Skip("QMON_XV6 names no folder")
	}
	data, err := os.ReadFile(filepath.Join(dir, "fs.img"))
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "fs.img")
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, c := start(t, Config{
		RAM: 128 << 20, Modern: true,
		Boot:  Boot{Kernel: readImage(t, filepath.Join(dir, "kernel", "kernel"))},
		Disks: []Disk{{Drive: openDrive(t, image, "raw"), Bus: "virtio-mmio-bus.0"}},
	})
	const prompt = "\n$ "
	c.expect(t, prompt)
	for _, step := range []struct{ command, answer string }{
		{"ls", "README"},
		{"echo hello > file", ""},
		{"cat file", "hello\n"},
		{"cat README | grep xv6 | wc", "\n"},
		{"forktest", "fork test OK"},
	} {
		if got := c.command(t, step.command, prompt); !strings.Contains(got+"\n", step.answer) {
			t.Errorf("%s:\n%s\nwant %q", step.command, got, step.answer)
		}
	}
	for _, name := range strings.Fields(os.Getenv("QMON_XV6_TESTS")) {
		began := time.Now()
		if got := c.command(t, "usertests "+name, prompt); !strings.Contains(got, "ALL TESTS PASSED") {
			t.Errorf("usertests %s:\n%s", name, got)
		}
		t.Logf("usertests %s: %v", name, time.Since(began))
	}
}
