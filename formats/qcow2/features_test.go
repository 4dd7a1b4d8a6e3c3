package qcow2

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

func TestCreateRefusesInQEMUsWords(t *testing.T) {
	for _, c := range []struct{ options, text string }{
		{"cluster_size=256", "Cluster size must be a power of two between 512 and 2048k"},
		{"cluster_size=3000", "Cluster size must be a power of two between 512 and 2048k"},
		{"cluster_size=4M", "Cluster size must be a power of two between 512 and 2048k"},
		{"refcount_bits=3", "Refcount width must be a power of two and may not exceed 64 bits"},
		{"refcount_bits=-1", "Refcount width must be a power of two and may not exceed 64 bits"},
		{"refcount_bits=128", "Refcount width must be a power of two and may not exceed 64 bits"},
		{"compat=0.11", "Parameter 'version' does not accept value '0.11'"},
		{"compat=0.10,lazy_refcounts=on", "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)"},
		{"compat=0.10,refcount_bits=8", "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)"},
		{"compression_type=lz4", "Parameter 'compression-type' does not accept value 'lz4'"},
		{"compat=0.10,compression_type=zstd", "Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)"},
		{"preallocation=foo", "Parameter 'preallocation' does not accept value 'foo'"},
		{"data_file_raw=on", "data-file-raw requires data-file"},
		{"compat=v2,data_file=x", "External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)"},
		{"compat=v2,extended_l2=on", "Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)"},
		{"cluster_size=8k,extended_l2=on", "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"},
	} {
		t.Run(c.options, func(t *testing.T) {
			o := blockdev.Options{}
			for _, kv := range strings.Split(c.options, ",") {
				k, v, _ := strings.Cut(kv, "=")
				o[k] = v
			}
			v, err := createOptionTable.Parse(o)
			if err != nil {
				t.Fatal(err)
			}
			err = Create(context.Background(), blockdev.CreateRequest{Filename: "a", Size: 1 << 20, File: &blocktest.Memory{}, Options: v})
			if blockdev.Message(err) != c.text || !errors.Is(err, blockdev.ErrInvalid) {
				t.Errorf("%v, want %q", err, c.text)
			}
			peer.Need(t, "qemu-img")
			out, _ := exec.Command("qemu-img", "create", "-f", "qcow2", "-o", c.options, filepath.Join(t.TempDir(), "a"), "1M").CombinedOutput()
			if !strings.HasSuffix(strings.TrimSpace(string(out)), ": "+c.text) {
				t.Errorf("QEMU says %s", out)
			}
		})
	}
}

func TestBackingReferenceIsRewritten(t *testing.T) {
	m := create(t, 1<<20, blockdev.Options{"cluster_size": "512"})
	im := open(t, m, writable)
	// An extension that nobody knows is kept.
	im.hdr.extensions = append(im.hdr.extensions, extension{0x12345678, []byte("unknown")})
	for _, c := range []struct{ name, format string }{{"a/b.img", "raw"}, {strings.Repeat("x", 300), ""}, {"", ""}, {"c", "qcow2"}} {
		if err := im.ChangeBackingReference(c.name, c.format); err != nil {
			t.Fatal(err)
		}
		again := open(t, m, blockdev.Mode{})
		if ref := again.BackingReference(); ref.Name != c.name || c.name != "" && ref.Format != c.format {
			t.Errorf("%+v, want %+v", ref, c)
		}
		if string(again.hdr.extensionData(0x12345678)) != "unknown" {
			t.Error("an unknown extension is lost")
		}
	}
	if err := im.ChangeBackingReference(strings.Repeat("x", 1024), ""); !errors.Is(err, blockdev.ErrLimit) {
		t.Error(err)
	}
	if err := im.ChangeBackingReference(strings.Repeat("x", 500), ""); !errors.Is(err, blockdev.ErrLimit) {
		t.Errorf("a name that does not fit into the first cluster: %v", err)
	}
	checkClean(t, im)
	peer.Need(t, "qemu-img")
	out := peer.Run(t, "qemu-img", "info", "-U", save(t, m))
	if !strings.Contains(out, "backing file: c (") && !strings.Contains(out, "backing file: c\n") || !strings.Contains(out, "backing file format: qcow2") {
		t.Error(out)
	}
}

func TestMakeEmptyKeepsSnapshots(t *testing.T) {
	for _, compat := range []string{"v2", "v3"} {
		m := create(t, 1<<20, blockdev.Options{"compat": compat, "cluster_size": "4k"})
		im := open(t, m, writable)
		want := pattern(1, 1<<20)
		if _, err := im.WriteAt(want, 0); err != nil {
			t.Fatal(err)
		}
		s, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := im.WriteAt(pattern(2, 5000), 100); err != nil {
			t.Fatal(err)
		}
		if err := im.MakeEmpty(); err != nil {
			t.Fatal(err)
		}
		if e, err := im.Map(0, 1<<20); err != nil || e.Kind != blockdev.ExtentUnallocated || e.Len != 1<<20 {
			t.Errorf("%+v, %v", e, err)
		}
		checkClean(t, im)
		n, err := im.OpenSnapshot(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		compareWith(t, n, want)
	}
}

func TestReopenSwitchesBothWays(t *testing.T) {
	m := create(t, 1<<20, blockdev.Options{"lazy_refcounts": "on"})
	im := open(t, m, blockdev.Mode{})
	before := m.Bytes()
	for i := range 3 {
		if _, err := im.WriteAt([]byte{1}, 0); !errors.Is(err, blockdev.ErrReadOnly) {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes(), before) {
			t.Fatal("a read-only image was written")
		}
		if err := im.ReopenWritable(true); err != nil {
			t.Fatal(err)
		}
		if _, err := im.WriteAt([]byte{byte(i)}, int64(i)*100000); err != nil {
			t.Fatal(err)
		}
		if err := im.ReopenWritable(false); err != nil {
			t.Fatal(err)
		}
		before = m.Bytes()
		checkClean(t, open(t, m, blockdev.Mode{}))
	}
}

func TestPreallocationIsThere(t *testing.T) {
	for _, mode := range []string{preallocMetadata, preallocFalloc, preallocFull} {
		for _, cs := range []string{"512", "64k"} {
			const size = 300 << 10
			m := create(t, size, blockdev.Options{"preallocation": mode, "cluster_size": cs})
			im := open(t, m, writable)
			compareWith(t, im, make([]byte, size))
			for off := int64(0); off < size; {
				e, err := im.Map(off, size-off)
				holes := e.Kind == blockdev.ExtentZero && e.Allocated && e.Written
				if err != nil || e.Kind != blockdev.ExtentData && !(holes && mode == preallocMetadata) {
					t.Fatalf("%s: %+v, %v", mode, e, err)
				}
				off += e.Len
			}
			checkClean(t, im)
			end := m.Size()
			if _, err := im.WriteAt(pattern(1, size), 0); err != nil {
				t.Fatal(err)
			}
			if m.Size() != end {
				t.Errorf("%s: writing made the file grow", mode)
			}
			if err := im.Resize(2*size, blockdev.ResizeOptions{Preallocation: mode}); err != nil {
				t.Fatal(err)
			}
			checkClean(t, im)
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			agreeWithQEMU(t, save(t, m), append(pattern(1, size), make([]byte, size)...))
		}
	}
}

func TestResizeRefuses(t *testing.T) {
	im := open(t, create(t, 1<<20, blockdev.Options{"compat": "v2"}), writable)
	if err := im.Resize(1000, blockdev.ResizeOptions{Shrink: true}); !errors.Is(err, blockdev.ErrInvalid) {
		t.Error(err)
	}
	if err := im.Resize(512, blockdev.ResizeOptions{}); !errors.Is(err, blockdev.ErrInvalid) {
		t.Error(err)
	}
	if err := im.Resize(1<<62, blockdev.ResizeOptions{}); !errors.Is(err, blockdev.ErrLimit) {
		t.Error(err)
	}
	if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if err := im.Resize(2<<20, blockdev.ResizeOptions{}); blockdev.Message(err) != "Can't resize a v2 image which has snapshots" {
		t.Error(err)
	}
}

// TestEmptyDisk: an image of size 0 has no L1 table at all.
func TestEmptyDisk(t *testing.T) {
	m := create(t, 0, nil)
	im := open(t, m, writable)
	empty, err := im.CreateSnapshot(blockdev.Snapshot{Name: "empty"})
	if err != nil {
		t.Fatal(err)
	}
	checkClean(t, im)
	if _, err := im.WriteVMState(pattern(1, 1000), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: "state only", VMStateSize: 1000}); err != nil {
		t.Fatal(err)
	}
	if err := im.Resize(1<<20, blockdev.ResizeOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := im.ApplySnapshot(empty.ID); err != nil || im.Size() != 0 {
		t.Fatal(im.Size(), err)
	}
	checkClean(t, im)
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	agreeWithQEMU(t, save(t, m), nil)
}

// TestRefcountsMayRunOut: a cluster of a 1-bit image cannot be shared.
func TestRefcountsMayRunOut(t *testing.T) {
	im := open(t, create(t, 1<<20, blockdev.Options{"refcount_bits": "1"}), writable)
	want := pattern(1, 1<<20)
	if _, err := im.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"}); !errors.Is(err, blockdev.ErrLimit) {
		t.Error(err)
	}
	compareWith(t, im, want)
	checkClean(t, im)
}

func TestSnapshotInUseStays(t *testing.T) {
	im := open(t, create(t, 1<<20, nil), writable)
	s, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := im.OpenSnapshot(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := im.DeleteSnapshot(s.ID); !errors.Is(err, blockdev.ErrInUse) {
		t.Error(err)
	}
	if _, err := n.WriteAt([]byte{1}, 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Error(err)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.DeleteSnapshot(s.ID); err != nil {
		t.Error(err)
	}
	if err := im.DeleteSnapshot(s.ID); !errors.Is(err, blockdev.ErrNotFound) {
		t.Error(err)
	}
}

// TestFreedClustersAreDiscarded: with pass-discard the file gets holes, but only once
// nothing on disk refers to the clusters any more.
func TestFreedClustersAreDiscarded(t *testing.T) {
	rec := blocktest.NewRecorder(nil)
	createIn(t, rec, 1<<20, nil, blockdev.Reference{})
	im := open(t, rec, writable)
	if _, err := im.WriteAt(pattern(1, 1<<18), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	e, err := im.Map(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	hole := func() bool { return bytes.Equal(rec.Bytes()[e.Host:e.Host+1<<18], make([]byte, 1<<18)) }
	if err := im.Discard(0, 1<<18); err != nil {
		t.Fatal(err)
	}
	if hole() {
		t.Error("discarded before the L2 table is on disk")
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	if !hole() {
		t.Error("not discarded")
	}
}
