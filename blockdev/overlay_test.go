package blockdev_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

func TestOverlay(t *testing.T) {
	dir := images(t)
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	var g blockdev.Graph
	d := openDrive(t, &g, "a.qcow2")
	before, err := os.ReadFile("a.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	base := d.Medium()
	over, err := g.OpenOverlay(t.Context(), base.Ref(), tmp)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ReplaceMedium(over); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("new"), 0); err != nil {
		t.Error(err)
	}
	prefix := `json:{"backing": {"driver": "qcow2", "file": {"driver": "file", "filename": "a.qcow2"}}, "driver": "qcow2", "file": {"driver": "file", "filename": "`
	if !strings.HasPrefix(over.Filename, prefix+tmp) || !over.Mode().Cache.NoFlush {
		t.Errorf("%s, mode %+v", over.Filename, over.Mode())
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 && runtime.GOOS != "windows" {
		t.Errorf("%s is left in the folder", left[0].Name())
	}
	if _, ok := over.Node.(blockdev.VMStateStore); !ok {
		t.Error("the overlay cannot hold VM state")
	}
	if after, err := os.ReadFile("a.qcow2"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image below changed: %v", err)
	}
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeDrive(t, d)
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("%s is left in the folder", left[0].Name())
	}
	again := openDrive(t, &g, "a.qcow2")
	got := make([]byte, 3)
	if _, err := again.ReadAt(got, 0); err != nil || string(got) != "new" {
		t.Errorf("%q, %v", got, err)
	}
}
