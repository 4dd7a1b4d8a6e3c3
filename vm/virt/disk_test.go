package virt

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/formats/all"
	"github.com/qmon/qmon/internal/peer"
)

// openDrive makes a drive with the image in it, closed at the end of the test.
func openDrive(t *testing.T, path, format string) *blockdev.Drive {
	t.Helper()
	g := &blockdev.Graph{}
	v, err := g.Open(t.Context(), path, blockdev.OpenOptions{Driver: format, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	return insert(t, blockdev.DriveConfig{Name: "d0"}, v)
}

// memoryDrive makes a drive of size bytes that lives in memory.
func memoryDrive(t *testing.T, c blockdev.DriveConfig, size int) *blockdev.Drive {
	t.Helper()
	g := &blockdev.Graph{}
	v, err := g.Add(blocktest.NewMemory(make([]byte, size)), "", blockdev.Mode{Writable: !c.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	return insert(t, c, v)
}

func insert(t *testing.T, c blockdev.DriveConfig, v *blockdev.Vertex) *blockdev.Drive {
	t.Helper()
	d := blockdev.NewDrive(c)
	if err := d.Insert(v); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if v, err := d.Remove(); err != nil || v.Unref() != nil {
			t.Errorf("closing the image: %v", err)
		}
	})
	return d
}

// fatImage makes a qcow2 image with a FAT file system that holds hello.txt, as mtools and
// qemu-img make them.
func fatImage(t *testing.T) string {
	t.Helper()
	peer.Need(t, "qemu-img", "mformat", "mcopy", "mtype")
	dir := t.TempDir()
	raw, qcow2 := filepath.Join(dir, "fat.raw"), filepath.Join(dir, "fat.qcow2")
	hello := filepath.Join(dir, "hello.txt")
	if err := os.WriteFile(hello, []byte(strings.Repeat("hello from the host\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "qemu-img", "create", "-q", "-f", "raw", raw, "64M")
	peer.Run(t, "mformat", "-i", raw, "-F", "::")
	peer.Run(t, "mcopy", "-i", raw, hello, "::hello.txt")
	peer.Run(t, "qemu-img", "convert", "-q", "-O", "qcow2", raw, qcow2)
	return qcow2
}

// TestUBootReadsAndWritesFAT is firmware that nobody here wrote on a disk that others
// made, over both versions of the transport; they find what it wrote.
func TestUBootReadsAndWritesFAT(t *testing.T) {
	boot := debianBoot(t)
	for _, modern := range []bool{false, true} {
		image := fatImage(t)
		t.Run(map[bool]string{false: "legacy", true: "modern"}[modern], func(t *testing.T) {
			drive := openDrive(t, image, "qcow2")
			_, c := start(t, Config{
				Boot: boot, RAM: 256 << 20, Modern: modern,
				Disks: []Disk{{Drive: drive, Bus: "virtio-mmio-bus.0"}},
			})
			c.expect(t, "autoboot")
			c.input(" ")
			c.expect(t, ubootPrompt)
			for _, step := range []struct{ command, answer string }{
				{"virtio scan", ""},
				{"virtio info", "Capacity: 64.0 MB"},
				{"ls virtio 0", "hello.txt"},
				{"load virtio 0 0x84000000 hello.txt", "20000 bytes read"},
				{"crc32 0x84000000 0x4e20", "crc32 for 84000000"},
				{"mw.b 0x85000000 0x71 0x3000", ""},
				{"fatwrite virtio 0 0x85000000 new.txt 0x3000", "12288 bytes written"},
				{"ls virtio 0", "new.txt"},
			} {
				if got := c.command(t, step.command, ubootPrompt); !strings.Contains(got, step.answer) {
					t.Fatalf("%s:\n%s\nwant %q", step.command, got, step.answer)
				}
			}
			c.input("poweroff\r")
			c.expect(t, "poweroff ...")
		})
		checkFAT(t, image)
	}
}

// checkFAT has others look at the image.
func checkFAT(t *testing.T, image string) {
	t.Helper()
	peer.Run(t, "qemu-img", "check", "-q", image)
	raw := image + ".raw"
	peer.Run(t, "qemu-img", "convert", "-O", "raw", image, raw)
	for file, want := range map[string]string{
		"::hello.txt": strings.Repeat("hello from the host\n", 1000),
		"::new.txt":   strings.Repeat("q", 0x3000),
	} {
		out, err := exec.Command("mtype", "-i", raw, file).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: %v, %d bytes, want %d", file, err, len(out), len(want))
		}
	}
}
