package savevm_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm"
)

// memFile is a file in memory whose writes and flushes can fail, driver "memfile".
type memFile struct {
	mu   sync.Mutex
	data []byte
	fail func() error // asked before every change; nil for none
}

var _ blockdev.Resizer = (*memFile)(nil)

func (f *memFile) change() error {
	if f.fail == nil {
		return nil
	}
	return f.fail()
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off+int64(len(p)) > int64(len(f.data)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, f.data[off:]), nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change(); err != nil {
		return 0, err
	}
	f.grow(off + int64(len(p)))
	return copy(f.data[off:], p), nil
}

func (f *memFile) grow(size int64) {
	if more := size - int64(len(f.data)); more > 0 {
		f.data = append(f.data, make([]byte, more)...)
	}
}

func (f *memFile) Resize(size int64, _ blockdev.ResizeOptions) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change(); err != nil {
		return err
	}
	f.grow(size)
	f.data = f.data[:size]
	return nil
}

func (f *memFile) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.data))
}

func (f *memFile) Map(off, n int64) (blockdev.Extent, error) {
	return blockdev.Extent{Kind: blockdev.ExtentData, Len: n, Node: f, Host: off}, nil
}

func (f *memFile) Flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.change()
}

func (f *memFile) Close() error { return nil }

func init() {
	blockdev.Register(blockdev.Driver{
		Name: "memfile", Protocol: true, Prefixes: []string{"memfile"},
		OpenOptions: blockdev.OptionTable{{Name: "filename", Type: blockdev.OptString}},
		Open: func(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
			n, ok := diskRegistry.Load(r.Filename)
			if !ok {
				return nil, blockdev.Errorf(blockdev.ErrNotFound, "open", r.Filename, "no such file")
			}
			return n.(blockdev.Node), nil
		},
	})
}

// emptyImage is a new qcow2 image's bytes.
func emptyImage(t *testing.T) []byte {
	t.Helper()
	p, err := os.ReadFile(newImage(t, "empty.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// onFile makes a machine with a qcow2 image in f.
func onFile(t *testing.T, f *memFile) (*toy, *blockdev.Drive) {
	t.Helper()
	m := newToy(t, toyConfig{})
	return m, m.file("d0", f)
}

// file adds a drive with a qcow2 image in f.
func (m *toy) file(name string, f *memFile) *blockdev.Drive {
	m.t.Helper()
	filename := "memfile:" + name
	diskRegistry.Store(filename, f)
	return m.drive(blockdev.DriveConfig{Name: name}, filename, blockdev.OpenOptions{Driver: "qcow2"})
}

// twice saves value 1 as s, then sets machine and disk to 2, which is flushed.
func (m *toy) twice(d *blockdev.Drive) {
	m.t.Helper()
	t := m.t.(*testing.T)
	fill(t, d, 1)
	m.set(1)
	m.save("s")
	fill(t, d, 2)
	m.set(2)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
}

// noCorruption checks the image in a drive, which may have leaks.
func noCorruption(t *testing.T, d *blockdev.Drive) {
	t.Helper()
	r, err := d.Medium().Node.(blockdev.Checker).Check(background, blockdev.CheckOptions{})
	if err != nil || r.Corruptions+r.CheckErrors > 0 {
		t.Errorf("check: %+v, %v", r, err)
	}
}

// Whichever write of a savevm the host refuses, once, the image stays consistent, and the
// tag means the new snapshot only where that was complete.
func TestSaveOverFailingFile(t *testing.T) {
	empty := emptyImage(t)
	for failAt := 1; ; failAt++ {
		f := &memFile{data: bytes.Clone(empty)}
		m, d := onFile(t, f)
		m.twice(d)
		n := 0
		f.fail = func() error {
			if n++; n == failAt {
				return errFault
			}
			return nil
		}
		err := savevm.SaveTag(background, m.Machine, "s")
		f.fail = nil
		if n < failAt {
			if err != nil || failAt < 10 {
				t.Errorf("%d writes, %v", n, err)
			}
			return
		}
		want := byte(1)
		if err == nil || strings.HasPrefix(err.Error(), "delete") {
			want = 2
		} else if !errors.Is(err, errFault) {
			t.Errorf("write %d failed, savevm says %v", failAt, err)
		}
		noCorruption(t, d)
		wantFilled(t, d, 2)
		m.load("s")
		m.expect(want)
		wantFilled(t, d, want)
	}
}

// At whichever write the program dies, the image that is left opens, and the tag means the
// old snapshot or the new one.
func TestProgramDiesAtAnyWrite(t *testing.T) {
	f := &memFile{data: emptyImage(t)}
	m, d := onFile(t, f)
	m.twice(d)
	var left [][]byte
	f.fail = func() error {
		left = append(left, bytes.Clone(f.data))
		return nil
	}
	m.save("s")
	f.fail = nil
	if len(left) < 10 {
		t.Fatalf("only %d writes", len(left))
	}
	for _, p := range left {
		m, d := onFile(t, &memFile{data: p})
		wantFilled(t, d, 2)
		m.load("s")
		v := m.ram.Data[0]
		if v != 1 && v != 2 {
			t.Errorf("RAM has %d", v)
		}
		m.expect(v)
		wantFilled(t, d, v)
		noCorruption(t, d)
	}
}
