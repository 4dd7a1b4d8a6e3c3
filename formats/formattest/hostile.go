package formattest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// Damage is an image that must be refused.
type Damage struct {
	Name string
	// Do damages a copy of a sound image.
	Do func(image []byte)
	// Kind of the error, and its text, which is QEMU's unless Ours is set: QEMU opens the
	// image, or says something else.
	Kind error
	Text string
	Ours bool
}

// maxRefusalBytes is what refusing an image may allocate: less than any table it claims.
const maxRefusalBytes = 4 << 20

// RunDamages opens damaged images, ours and QEMU's way.
func RunDamages(t *testing.T, driver string, image []byte, list []Damage) {
	d, err := blockdev.LookupDriver(driver)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		t.Run(c.Name, func(t *testing.T) {
			b := bytes.Clone(image)
			c.Do(b)
			file := blocktest.NewMemory(b)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := d.Open(context.Background(), blockdev.OpenRequest{Filename: "test", File: file})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, c.Kind) || blockdev.Message(err) != c.Text {
				t.Errorf("%v, want %v with text %q", err, c.Kind, c.Text)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > maxRefusalBytes {
				t.Errorf("%d bytes allocated", n)
			}
			if !c.Ours {
				theySay(t, driver, b, c.Text)
			}
		})
	}
}

// theySay compares QEMU's reason for refusing an image.
func theySay(t *testing.T, driver string, image []byte, want string) {
	t.Helper()
	peer.Need(t, "qemu-img")
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("qemu-img", "info", "-f", driver, path).CombinedOutput()
	if err == nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "': "+want) {
		t.Errorf("QEMU says %s", out)
	}
}

// fuzzReach bounds how much of a disk is touched, and how long a file may grow: an image
// may claim to be huge.
const fuzzReach = 1 << 20

// Fuzz uses images of which nothing is expected but that everything comes back, with an
// error or without. 8 bytes of each image are replaced. The first seed is damaged in every
// way of the list, too.
func Fuzz(f *testing.F, driver string, list []Damage, seeds ...[]byte) {
	f.Helper()
	blocktest.Sequential(f)
	for _, c := range list {
		b := bytes.Clone(seeds[0])
		c.Do(b)
		f.Add(b, uint32(0), uint64(0))
	}
	for _, s := range seeds {
		f.Add(s, uint32(0), uint64(0))
		for at := 8; at < min(len(s), 1<<10); at += 12 * (1 + len(s)>>16) { // long ones take longer
			f.Add(s, uint32(at), ^uint64(0)>>(at%24))
		}
	}
	d, err := blockdev.LookupDriver(driver)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, image []byte, at uint32, v uint64) {
		useDamaged(d, image, at, v)
	})
}

// FuzzFields is Fuzz for a format whose images are too large to be changed as a whole: of one
// of the images two times 8 bytes are replaced. Seeds are the images as they are, fields of the
// first that matter, by their place, and the list's.
func FuzzFields(f *testing.F, driver string, images [][]byte, list []Damage, fields ...uint32) {
	f.Helper()
	blocktest.Sequential(f)
	for i := range images {
		f.Add(uint8(i), uint32(0), uint64(0), uint32(0), uint64(0))
	}
	for _, c := range list {
		b := bytes.Clone(images[0])
		c.Do(b)
		for at := range b {
			if b[at] != images[0][at] && at+8 <= len(b) {
				f.Add(uint8(0), uint32(at), binary.LittleEndian.Uint64(b[at:]), uint32(0), uint64(0))
				break
			}
		}
	}
	for i, at := range fields {
		for k, v := range []uint64{1, 0xff, 1 << 63, 1<<64 - 1, 1 << 40, 0x0200000000000000} {
			f.Add(uint8(k), at, v, fields[(i+1)%len(fields)], v>>8)
		}
	}
	d, err := blockdev.LookupDriver(driver)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, which uint8, at1 uint32, v1 uint64, at2 uint32, v2 uint64) {
		b := bytes.Clone(images[int(which)%len(images)])
		replace(b, at1, v1)
		useDamaged(d, b, at2, v2)
	})
}

// replace replaces 8 bytes, unless v is 0.
func replace(b []byte, at uint32, v uint64) {
	for i := range 8 {
		if int(at)+i < len(b) && v != 0 {
			b[int(at)+i] = byte(v >> (8 * i))
		}
	}
}

func useDamaged(d *blockdev.Driver, image []byte, at uint32, v uint64) {
	b := bytes.Clone(image)
	replace(b, at, v)
	Use(d, b)
}

// Use does a bit of everything to an image that may be damaged, read-only and then writing.
func Use(d *blockdev.Driver, image []byte) {
	file := &bounded{blocktest.NewMemory(image)}
	for _, mode := range []blockdev.Mode{{}, {Writable: true, Unmap: true, AutoReadOnly: true}, {}} {
		use(d, file, mode)
	}
}

func use(d *blockdev.Driver, file blockdev.Node, mode blockdev.Mode) {
	ctx := context.Background()
	n, err := d.Open(ctx, blockdev.OpenRequest{Filename: "test", File: file, Mode: mode})
	if err != nil {
		return
	}
	if b, ok := n.(blockdev.Backed); ok && mode.Writable {
		_ = b.BackingReference()
		b.SetBacking(blocktest.NewMemory(bytes.Repeat([]byte{7}, fuzzReach/2)))
	}
	reach := min(n.Size(), fuzzReach)
	buf := make([]byte, reach)
	_, _ = n.ReadAt(buf, 0)
	tail := min(reach, 512)
	_, _ = n.ReadAt(buf[:tail], n.Size()-tail)
	if reach > 0 {
		_, _ = n.Map(0, reach)
		_, _ = n.Map(n.Size()-1, 1)
	}
	if i, ok := n.(blockdev.Informer); ok {
		_, _ = i.Info()
	}
	useStored(n)
	if mode.Writable {
		usePacked(n)
		_, _ = n.WriteAt(buf[:min(reach, 3000)], reach/3)
		_, _ = n.WriteAt(buf[:tail], n.Size()-tail)
		_ = blockdev.WriteZeroes(n, 0, reach/2, blockdev.ZeroMayUnmap)
		_ = blockdev.Discard(n, 0, reach/4)
		_ = blockdev.Resize(n, n.Size()+1<<20, blockdev.ResizeOptions{})
		_ = n.Flush()
	}
	if c, ok := n.(blockdev.Checker); ok {
		_, _ = c.Check(ctx, blockdev.CheckOptions{RepairErrors: mode.Writable, RepairLeaks: mode.Writable})
		_, _ = c.Check(ctx, blockdev.CheckOptions{})
	}
	if r, ok := n.(blockdev.Reopener); ok && mode.Writable {
		_ = r.ReopenWritable(false)
		_ = r.ReopenWritable(true)
		_, _ = n.WriteAt(buf[:tail], 0)
	}
	_ = n.Close()
}

// useStored reads what images store beside the disk.
func useStored(n blockdev.Node) {
	if s, ok := n.(blockdev.Snapshotter); ok {
		list, _ := s.Snapshots()
		for _, x := range list {
			if v, err := s.OpenSnapshot(x.ID); err == nil {
				_, _ = v.ReadAt(make([]byte, min(v.Size(), 4096)), 0)
				_ = v.Close()
			}
		}
	}
	if s, ok := n.(blockdev.BitmapStore); ok {
		list, _ := s.Bitmaps()
		for _, x := range list {
			_, _ = s.DirtyBitmap(x.Name)
		}
	}
}

// usePacked writes the first clusters compressed.
func usePacked(n blockdev.Node) {
	w, ok := n.(blockdev.CompressedWriter)
	i, told := n.(blockdev.Informer)
	if !ok || !told {
		return
	}
	info, err := i.Info()
	if err != nil || info.ClusterSize <= 0 || info.ClusterSize > fuzzReach {
		return
	}
	for off := int64(0); off < min(n.Size(), 3*info.ClusterSize); off += info.ClusterSize {
		_ = w.WriteCompressed(bytes.Repeat([]byte("packed"), fuzzReach)[:min(info.ClusterSize, n.Size()-off)], off)
	}
}

// bounded is a file that refuses to grow without end.
type bounded struct{ *blocktest.Memory }

var errFull = blockdev.Errorf(blockdev.ErrNoSpace, "write", "", "full")

func (b *bounded) WriteAt(p []byte, off int64) (int, error) {
	if off > 64*fuzzReach-int64(len(p)) {
		return 0, errFull
	}
	return b.Memory.WriteAt(p, off)
}

func (b *bounded) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if off > 64*fuzzReach-n {
		return errFull
	}
	return b.Memory.WriteZeroes(off, n, flags)
}

func (b *bounded) Resize(size int64, o blockdev.ResizeOptions) error {
	if size > 64*fuzzReach {
		return errFull
	}
	return b.Memory.Resize(size, o)
}

// CheckLike checks an image and compares the findings with want, and with what qemu-img
// check says.
func CheckLike(t *testing.T, driver string, image []byte, want []string) {
	t.Helper()
	d, err := blockdev.LookupDriver(driver)
	if err != nil {
		t.Fatal(err)
	}
	n, err := d.Open(context.Background(), blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(image)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	_, err = n.(blockdev.Checker).Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) {
		got = append(got, f.Text)
	}})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	peer.Need(t, "qemu-img")
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-img", "check", "-f", driver, path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_ = cmd.Run() // its status is that of the findings
	theirs := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
	if stderr.Len() == 0 {
		theirs = nil
	}
	if diff := cmp.Diff(theirs, got); diff != "" {
		t.Errorf("qemu-img check (-theirs +ours)\n%s", diff)
	}
}
