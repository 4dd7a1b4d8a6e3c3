package savevm_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	_ "github.com/qmon/qmon/formats/all"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/savevm"
)

const imageSize = 8 << 20

// newImage makes an empty qcow2 image.
func newImage(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	g := &blockdev.Graph{}
	if err := g.Create(background, "qcow2", path, imageSize, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// image adds a drive with the qcow2 image in file path.
func (m *toy) image(name, path string) *blockdev.Drive {
	m.t.Helper()
	return m.drive(blockdev.DriveConfig{Name: name}, path, blockdev.OpenOptions{Driver: "qcow2"})
}

// fill writes v to all of the first mebibyte of a drive.
func fill(t *testing.T, d *blockdev.Drive, v byte) {
	t.Helper()
	if _, err := d.WriteAt(bytes.Repeat([]byte{v}, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
}

// wantFilled fails unless a drive is as fill(v) made it.
func wantFilled(t *testing.T, d *blockdev.Drive, v byte) {
	t.Helper()
	p := make([]byte, 1<<20)
	if _, err := d.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p, bytes.Repeat([]byte{v}, len(p))) {
		t.Errorf("%s begins with %d, want %d", d.Name(), p[0], v)
	}
}

// check wants the image behind a drive in order, without a leak.
func check(t *testing.T, d *blockdev.Drive) {
	t.Helper()
	n := d.Medium().Node
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := n.(blockdev.Checker).Check(background, blockdev.CheckOptions{})
	if err != nil || r.Corruptions+r.Leaks+r.CheckErrors > 0 {
		t.Errorf("check of %s: %+v, %v", d.Name(), r, err)
	}
}

func TestImages(t *testing.T) {
	m := newToy(t, toyConfig{ramSize: 4 << 20})
	a, b := m.image("d0", newImage(t, "a.qcow2")), m.image("d1", newImage(t, "b.qcow2"))
	both := func(fn func(t *testing.T, d *blockdev.Drive)) {
		t.Helper()
		fn(t, a)
		fn(t, b)
	}
	for v := byte(1); v <= 3; v++ {
		m.set(v)
		both(func(t *testing.T, d *blockdev.Drive) { fill(t, d, v) })
		m.save(fmt.Sprint("v", v))
		both(check)
	}
	m.set(4)
	m.save("v2") // replaced
	both(check)
	for v, disk := range map[byte]byte{1: 1, 3: 3} {
		m.load(fmt.Sprint("v", v))
		m.expect(v)
		both(func(t *testing.T, d *blockdev.Drive) { wantFilled(t, d, disk) })
		both(check)
	}
	m.load("v2")
	m.expect(4)
	both(func(t *testing.T, d *blockdev.Drive) { wantFilled(t, d, 3) })
	if got := m.tags(); got != "v1 v3 v2" {
		t.Errorf("snapshots %s", got)
	}
	for _, tag := range []string{"v1", "v2", "v3"} {
		if err := savevm.Delete(background, m.Machine, tag); err != nil {
			t.Error(err)
		}
		both(check)
	}
}

// Another process finds the snapshots, and its machine goes on from there.
func TestAnotherProcess(t *testing.T) {
	path := newImage(t, "a.qcow2")
	t.Run("save", func(t *testing.T) {
		m := newToy(t, toyConfig{})
		fill(t, m.image("d0", path), 1)
		m.set(1)
		m.save("s")
		fill(t, m.Drives().All()[0], 2)
	})
	t.Run("load", func(t *testing.T) {
		m := newToy(t, toyConfig{})
		d := m.image("d0", path)
		wantFilled(t, d, 2)
		m.load("s")
		m.expect(1)
		wantFilled(t, d, 1)
	})
}

type resizes struct{ n int }

func (*resizes) MediumChanged(bool)  {}
func (*resizes) TrayMoved(bool)      {}
func (*resizes) EjectRequested(bool) {}
func (r *resizes) Resized()          { r.n++ }

// A disk that was resized since goes back to its size, and its device hears of it.
func TestResizedDisk(t *testing.T) {
	m := newToy(t, toyConfig{})
	d := m.image("d0", newImage(t, "a.qcow2"))
	m.save("s")
	if err := d.Resize(2 * imageSize); err != nil {
		t.Fatal(err)
	}
	m.save("larger")
	r := &resizes{}
	if err := d.Attach("dev0", r); err != nil {
		t.Fatal(err)
	}
	m.load("s")
	if size, err := d.Size(); size != imageSize || err != nil || r.n != 1 {
		t.Errorf("size %d, %v, device heard %d times", size, err, r.n)
	}
	check(t, d)
	m.load("larger")
	if size, _ := d.Size(); size != 2*imageSize {
		t.Errorf("size %d", size)
	}
	check(t, d)
}

// With -snapshot the snapshots are in the overlay, and the image is not touched.
func TestOverlay(t *testing.T) {
	path := newImage(t, "a.qcow2")
	before := sum(t, path)
	t.Run("run", func(t *testing.T) {
		m := newToy(t, toyConfig{})
		v, err := m.graph.Open(background, path, blockdev.OpenOptions{Driver: "qcow2"})
		if err != nil {
			t.Fatal(err)
		}
		o, err := m.graph.OpenOverlay(background, v, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		d := m.drive(blockdev.DriveConfig{Name: "d0"}, "", blockdev.OpenOptions{})
		if err := d.Insert(o); err != nil {
			t.Fatal(err)
		}
		fill(t, d, 1)
		m.set(1)
		m.save("s")
		fill(t, d, 2)
		m.set(2)
		m.load("s")
		m.expect(1)
		wantFilled(t, d, 1)
		check(t, d)
	})
	if sum(t, path) != before {
		t.Error("the image has changed")
	}
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(p)
}

// A savevm that is interrupted leaves the image clean and the snapshots as they were; a
// program that dies during one leaves an image that opens and from which they load.
func TestInterruptedSave(t *testing.T) {
	path, left := newImage(t, "a.qcow2"), filepath.Join(t.TempDir(), "left.qcow2")
	m := newToy(t, toyConfig{ramSize: 48 << 20})
	d := m.image("d0", path)
	fill(t, d, 1)
	m.set(1)
	m.do(func() {
		for i := 1; i < len(m.ram.Data)-1; i += 4096 {
			m.ram.Data[i] = 7
		}
	})
	m.save("s")
	fill(t, d, 2)
	m.set(2)
	ctx, cancel := context.WithCancel(background)
	ctx = savevm.WithProgress(ctx, func(done, total int64) {
		if done < total/2 {
			return
		}
		p, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(left, p, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
		cancel()
	})
	if err := savevm.SaveTag(ctx, m.Machine, "s"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	check(t, d)
	if got := m.tags(); got != "s" {
		t.Errorf("snapshots %s", got)
	}
	m.load("s")
	m.expect(1)
	wantFilled(t, d, 1)
	check(t, d)
	again := newToy(t, toyConfig{ramSize: 48 << 20})
	d = again.image("d0", left)
	again.load("s")
	again.expect(1)
	wantFilled(t, d, 1)
	again.save("s")
	if r, err := d.Medium().Node.(blockdev.Checker).Check(background, blockdev.CheckOptions{}); err != nil || r.Corruptions > 0 {
		t.Errorf("check of what the dead program left: %+v, %v", r, err)
	}
}

// Real qemu-img agrees on what our snapshots are.
func TestImagesAsQEMUSeesThem(t *testing.T) {
	peer.Need(t, "qemu-img")
	dir := t.TempDir()
	path := filepath.Join(dir, "a.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", path, fmt.Sprint(imageSize))
	var table string
	t.Run("ours", func(t *testing.T) {
		m := newToy(t, toyConfig{ramSize: 4 << 20})
		d := m.image("d0", path)
		for v := byte(1); v <= 3; v++ {
			fill(t, d, v)
			m.set(v)
			m.save(fmt.Sprint("v", v))
			if err := d.Medium().Node.Flush(); err != nil {
				t.Fatal(err)
			}
			peer.Run(t, "qemu-img", "check", "-U", path)
		}
		fill(t, d, 9)
		m.load("v1")
		m.save("v1")
		if err := savevm.Delete(background, m.Machine, "v2"); err != nil {
			t.Fatal(err)
		}
		list, err := d.Medium().Node.(blockdev.Snapshotter).Snapshots()
		if err != nil {
			t.Fatal(err)
		}
		table = "Snapshot list:\n" + img.SnapshotTable(list)
	})
	peer.Run(t, "qemu-img", "check", path)
	if got := peer.Run(t, "qemu-img", "snapshot", "-l", path); got != table {
		t.Errorf("qemu-img lists\n%s\nwe\n%s", got, table)
	}
	for v, tag := range map[byte]string{1: "v1", 3: "v3"} {
		raw := filepath.Join(dir, tag)
		peer.Run(t, "qemu-img", "convert", "-l", "snapshot.name="+tag, "-O", "raw", path, raw)
		p, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		want := append(bytes.Repeat([]byte{v}, 1<<20), make([]byte, imageSize-1<<20)...)
		if !bytes.Equal(p, want) {
			t.Errorf("%s: qemu-img converts other bytes", tag)
		}
	}
	peer.Run(t, "qemu-img", "snapshot", "-d", "v1", path)
	if out := peer.Run(t, "qemu-img", "check", path); !strings.Contains(out, "No errors were found") {
		t.Errorf("check after deleting ours: %s", out)
	}
}
