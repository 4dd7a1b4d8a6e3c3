package vhdx

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/internal/peer"
)

func TestWithQEMU(t *testing.T) {
	formattest.RunWithQEMU(t, formattest.Format{Driver: "vhdx"},
		"", "block_size=1M", "subformat=fixed", "block_state_zero=off,log_size=2M,block_size=2M")
}

func TestToolsSayAsQEMUs(t *testing.T) {
	peer.Need(t, "vhdiinfo")
	peer.SevenZip(t)
	formattest.RunTools(t, formattest.Tools{
		Driver:  "vhdx",
		Options: []string{"", "block_size=1M", "subformat=fixed", "block_state_zero=off,log_size=2M"},
		Other:   readByOthers,
		// 7-Zip refuses disks of anything but whole MiB, QEMU's too.
		Size: 6 * mib,
	})
}

// readByOthers lets libvhdi and 7-Zip read an image of ours.
func readByOthers(t *testing.T, image string, want []byte) {
	t.Helper()
	if out := peer.Run(t, "vhdiinfo", image); !strings.Contains(out, "VHDX (version 2)") {
		t.Errorf("vhdiinfo: %s", out)
	}
	got, err := exec.Command(peer.SevenZip(t), "e", "-so", "-tvhdx", image).Output()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("7z extracts something else: %v", err)
	}
}

// TestQEMUReplaysOurLog: a crash at any point after the first flush leaves an image that
// QEMU repairs, and then finds the same in it as we do.
func TestQEMUReplaysOurLog(t *testing.T) {
	peer.Need(t, "qemu-img")
	rec := blocktest.NewRecorder(nil)
	createIn(t, rec, 4*mib, blockdev.Options{"block_size": "1M"})
	im := open(t, rec, writable)
	for i := range int64(3) {
		write(t, im, i*mib, pattern(int(i), 5000))
		if err := im.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	full := rec.Position()
	dirty := 0
	err := rec.Replay(blocktest.ReplayOptions{}, func(file *blocktest.Memory, durable int) error {
		if durable < full-12 {
			return nil
		}
		h, err := readHeaders(file, "")
		if err != nil || h.current.log.isZero() {
			return err
		}
		dirty++
		name := save(t, file.Bytes())
		peer.Run(t, "qemu-img", "check", "-q", "-f", "vhdx", "-r", "all", name)
		raw := name + ".raw"
		peer.Run(t, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", name, raw)
		want, err := os.ReadFile(raw)
		if err != nil {
			return err
		}
		if !bytes.Equal(contents(t, open(t, file, writable)), want) {
			t.Error("QEMU reads something else")
		}
		return nil
	})
	if err != nil || dirty == 0 {
		t.Errorf("%d dirty images, %v", dirty, err)
	}
}
