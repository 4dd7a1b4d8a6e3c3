package sheepdog

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

func TestReadWriteAcrossObjects(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 5*mib+7)
	r.write(m, filled('a', 2*mib+10), mib-5)
	r.write(m, filled('b', 7), 5*mib)
	check := func(n blockdev.Node) {
		t.Helper()
		r.wants(n, 0, 0, mib-5)
		r.wants(n, 'a', mib-5, 2*mib+10)
		r.wants(n, 0, 3*mib+5, 2*mib-5)
		r.wants(n, 'b', 5*mib, 7)
	}
	check(m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	check(r.open("d", false))
	if n := r.cluster.Locks(); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}

func TestMapKnowsHoles(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 6*mib)
	r.write(m, []byte("x"), 2*mib)
	r.write(m, []byte("x"), 4*mib-1)
	var got []blockdev.Extent
	for off := int64(0); off < m.Size(); {
		e := must(m.Map(off, m.Size()-off))(t)
		if e.Kind == blockdev.ExtentData && (e.Node != m || e.Host != off) {
			t.Errorf("at %d: %+v", off, e)
		}
		off += e.Len
		e.Node, e.Host = nil, 0
		got = append(got, e)
	}
	want := []blockdev.Extent{
		{Kind: blockdev.ExtentZero, Len: 2 * mib}, {Kind: blockdev.ExtentData, Len: 2 * mib},
		{Kind: blockdev.ExtentZero, Len: 2 * mib},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := must(m.AllocatedSize())(t); n != 2*mib {
		t.Errorf("%d bytes", n)
	}
}

// TestFirstWritesOfOneObject: they all survive, though creating an object twice wipes it.
func TestFirstWritesOfOneObject(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 4*mib)
	const parts, size = 64, 4 * mib / 64
	errs := make(chan error, parts)
	for i := range parts {
		go func() {
			_, err := m.WriteAt(filled(byte(i+1), size), int64(i*7%parts)*size)
			errs <- err
		}()
	}
	for range parts {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for i := range parts {
		r.wants(m, byte(i+1), int64(i*7%parts)*size, size)
	}
}

// TestPartsOfStripes: small writes to one stripe of an erasure code all survive, one after
// the other and at a time.
func TestPartsOfStripes(t *testing.T) {
	r := newRig(t)
	if err := r.create("d", mib, blockdev.Options{"redundancy": "4:2"}); err != nil {
		t.Fatal(err)
	}
	m := r.open("d", true)
	r.write(m, filled('a', 4096), 0)
	for _, c := range []struct{ off, n int64 }{{512, 8}, {1024, 1}, {2047, 2}, {3000, 600}} {
		r.write(m, filled('b', int(c.n)), c.off)
		r.wants(m, 'b', c.off, c.n)
		r.wants(m, 'a', c.off+c.n, 4096-c.off-c.n)
		r.write(m, filled('a', int(c.n)), c.off)
	}
	const part = p.StripeSize / 8
	errs := make(chan error, 8)
	for i := range int64(8) {
		go func() {
			_, err := m.WriteAt(filled(byte(i+1), part), i*part)
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for i := range int64(8) {
		r.wants(m, byte(i+1), i*part, part)
	}
}

func TestDiscard(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 3*mib+512)
	r.write(m, filled('a', 3*mib+512), 0)
	if err := m.Discard(512, 3*mib-1); err != nil {
		t.Fatal(err)
	}
	r.wants(m, 'a', 0, mib)   // a part of an object stays
	r.wants(m, 0, mib, 2*mib) // whole objects go
	r.wants(m, 'a', 3*mib, 512)
	if data, _ := r.cluster.Objects(); data != 2 {
		t.Errorf("%d objects are left", data)
	}
	r.write(m, []byte("new"), mib)
	r.wants(m, 0, mib+3, 100)
	if err := m.Discard(3*mib, 512); err != nil {
		t.Fatal(err)
	}
	r.wants(m, 0, 3*mib, 512) // the last object is whole
}

func TestWriteZeroes(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 4*mib)
	r.write(m, filled('a', 3*mib), 0)
	if err := m.WriteZeroes(512, 2*mib, blockdev.ZeroMayUnmap); err != nil {
		t.Fatal(err)
	}
	r.wants(m, 'a', 0, 512)
	r.wants(m, 0, 512, 2*mib)
	r.wants(m, 'a', 512+2*mib, mib-512)
	if n := must(m.AllocatedSize())(t); n != 2*mib {
		t.Errorf("%d bytes", n)
	}
	if err := m.WriteZeroes(0, 4*mib, 0); err != nil {
		t.Fatal(err)
	}
	r.wants(m, 0, 0, 4*mib)
	if n := must(m.AllocatedSize())(t); n != 2*mib {
		t.Errorf("without unmap %d bytes", n)
	}
	if err := m.WriteZeroes(0, 10, blockdev.ZeroNoFallback); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("no fallback: %v", err)
	}
}

func TestResize(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", mib)
	r.write(m, filled('a', mib), 0)
	if err := m.Resize(3*mib, blockdev.ResizeOptions{Preallocation: "full"}); err != nil {
		t.Fatal(err)
	}
	r.wants(m, 0, mib, 2*mib)
	if n := must(m.AllocatedSize())(t); n != 3*mib {
		t.Errorf("%d bytes", n)
	}
	r.write(m, []byte("grown"), 4*mib) // writing behind the end grows the disk, as a file does
	for _, c := range []struct {
		size int64
		o    blockdev.ResizeOptions
		kind error
	}{
		{mib, blockdev.ResizeOptions{Shrink: true}, blockdev.ErrNotSupported},
		{1<<40 + 1, blockdev.ResizeOptions{}, blockdev.ErrLimit},
		{8 * mib, blockdev.ResizeOptions{Preallocation: "falloc"}, blockdev.ErrInvalid},
		{1 << 40, blockdev.ResizeOptions{}, nil},
	} {
		if err := m.Resize(c.size, c.o); !errors.Is(err, c.kind) || (err == nil) != (c.kind == nil) {
			t.Errorf("%d %+v: %v", c.size, c.o, err)
		}
	}
	if n := m.Size(); n != 1<<40 {
		t.Errorf("%d bytes", n)
	}
}

// TestGrowOverLeftovers: entries that a client left behind the end do not come back.
func TestGrowOverLeftovers(t *testing.T) {
	r := newRig(t)
	m := r.disk("d", 2*mib)
	r.write(m, filled('a', 2*mib), 0)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	r.cluster.Patch(m.index.vid(), p.OffsetSize, []byte{0, 0, 0x10, 0, 0, 0, 0, 0})
	m = r.open("d", true)
	if err := m.Resize(2*mib, blockdev.ResizeOptions{}); err != nil {
		t.Fatal(err)
	}
	r.wants(m, 'a', 0, mib)
	r.wants(m, 0, mib, mib)
}

func TestReadOnly(t *testing.T) {
	r := newRig(t)
	r.disk("d", mib)
	m := r.open("d", false) // while it is locked
	if _, err := m.WriteAt([]byte("x"), 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Error(err)
	}
	if err := m.Discard(0, mib); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Error(err)
	}
	if _, err := m.CreateSnapshot(blockdev.Snapshot{Name: "s"}); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Error(err)
	}
	if err := m.ReopenWritable(true); !errors.Is(err, blockdev.ErrInUse) {
		t.Error(err)
	}
}

func TestReopenWritable(t *testing.T) {
	r := newRig(t)
	if err := r.create("d", mib, nil); err != nil {
		t.Fatal(err)
	}
	m := r.open("d", false)
	for _, writable := range []bool{true, true, false, true} {
		if err := m.ReopenWritable(writable); err != nil || m.Writable() != writable {
			t.Fatal(writable, err)
		}
		if locked := r.cluster.Locked(m.index.vid()); locked != writable {
			t.Errorf("writable %t, locked %t", writable, locked)
		}
	}
	r.write(m, []byte("x"), 0)
}

func TestLocks(t *testing.T) {
	r := newRig(t)
	r.disk("d", mib)
	_, err := r.tryOpen("d", blockdev.Mode{Writable: true}, nil)
	if !errors.Is(err, blockdev.ErrInUse) || !strings.Contains(err.Error(), "break-lock") {
		t.Errorf("a second writer: %v", err)
	}
	m := must(r.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"break-lock": "on"}))(t)
	r.write(m, []byte("x"), 0)
	if err := m.Close(); err != nil || r.cluster.Locks() != 0 {
		t.Errorf("%v, %d locks", err, r.cluster.Locks())
	}
}

func TestCreate(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		name    string
		size    int64
		options blockdev.Options
		kind    error
	}{
		{"plain", mib, nil, nil},
		{"plain", mib, nil, blockdev.ErrExists},
		{"copies", mib, blockdev.Options{"redundancy": "3"}, nil},
		{"erasure", mib, blockdev.Options{"redundancy": "4:2"}, nil},
		{"bad1", mib, blockdev.Options{"redundancy": "0"}, blockdev.ErrInvalid},
		{"bad2", mib, blockdev.Options{"redundancy": "3:1"}, blockdev.ErrInvalid},
		{"bad3", mib, blockdev.Options{"redundancy": "2:"}, blockdev.ErrInvalid},
		{"bad4", mib, blockdev.Options{"redundancy": "32"}, blockdev.ErrInvalid},
		{"small", mib, blockdev.Options{"object_size": "512k"}, blockdev.ErrInvalid},
		{"odd", mib, blockdev.Options{"object_size": "3M"}, blockdev.ErrInvalid},
		{"huge", mib, blockdev.Options{"object_size": "4G"}, blockdev.ErrInvalid},
		{"large", 1<<40 + 1, nil, blockdev.ErrLimit},
		{"default", 4 << 40, blockdev.Options{"object_size": "4M"}, nil},
		{"mode", mib, blockdev.Options{"preallocation": "metadata"}, blockdev.ErrInvalid},
		{"plain:tag", mib, nil, blockdev.ErrInvalid},
		{strings.Repeat("n", 256), mib, nil, blockdev.ErrInvalid},
		{"", mib, nil, blockdev.ErrInvalid},
	} {
		if err := r.create(c.name, c.size, c.options); !errors.Is(err, c.kind) || (err == nil) != (c.kind == nil) {
			t.Errorf("%q %v: %v", c.name, c.options, err)
		}
	}
	h := r.open("erasure", false).index.header()
	if h.Copies != 6 || h.CopyPolicy != 0x22 || h.Shift != 20 {
		t.Errorf("%+v", h)
	}
	if err := r.create("full", 3*mib, blockdev.Options{"preallocation": "full"}); err != nil {
		t.Fatal(err)
	}
	m := r.open("full", false)
	r.wants(m, 0, 0, 3*mib)
	if n := must(m.AllocatedSize())(t); n != 3*mib || r.cluster.Locks() != 0 {
		t.Errorf("%d bytes, %d locks", n, r.cluster.Locks())
	}
}
