package qed

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/internal/peer"
)

const cluster = 4 << 10

// newImage is an image of 64 KiB in clusters of 4 KiB: a header, the L1 table, the L2 table,
// the clusters 1 and 3 of the disk. Tables have two clusters: QEMU 7.2 refuses those of one.
func newImage(t testing.TB) []byte {
	t.Helper()
	file := &blocktest.Memory{}
	err := Create(context.Background(), blockdev.CreateRequest{Filename: "test", Size: 64 << 10, File: file,
		Options: blockdev.Values{"cluster_size": int64(cluster), "table_size": int64(2)}})
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []int64{1, 3} {
		if _, err := im.WriteAt([]byte{byte(c)}, c*cluster); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func set32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[off:], v) }
}

func set64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[off:], v) }
}

// backing makes the header refer to a backing file.
func backing(off, n uint32) func([]byte) {
	return func(b []byte) {
		set64(offFeatures, featureBacking)(b)
		set32(offBackingOffset, off)(b)
		set32(offBackingSize, n)(b)
	}
}

var damages = []formattest.Damage{
	{Name: "magic", Do: set32(0, 1), Kind: blockdev.ErrFormat, Text: "Image not in QED format"},
	{Name: "feature", Do: set64(offFeatures, 8), Kind: blockdev.ErrNotSupported, Text: "Unsupported QED features: 8"},
	{Name: "high feature", Do: set64(offFeatures, 1<<40), Kind: blockdev.ErrNotSupported, Text: "Unsupported QED features: 10000000000"},
	{Name: "cluster size 0", Do: set32(offClusterSize, 0), Kind: blockdev.ErrCorrupt, Text: "QED cluster size is invalid"},
	{Name: "cluster size small", Do: set32(offClusterSize, 2048), Kind: blockdev.ErrCorrupt, Text: "QED cluster size is invalid"},
	{Name: "cluster size large", Do: set32(offClusterSize, 128<<20), Kind: blockdev.ErrCorrupt, Text: "QED cluster size is invalid"},
	{Name: "cluster size odd", Do: set32(offClusterSize, 5000), Kind: blockdev.ErrCorrupt, Text: "QED cluster size is invalid"},
	{Name: "table size 0", Do: set32(offTableSize, 0), Kind: blockdev.ErrCorrupt, Text: "QED table size is invalid"},
	{Name: "table size 3", Do: set32(offTableSize, 3), Kind: blockdev.ErrCorrupt, Text: "QED table size is invalid"},
	{Name: "table size 32", Do: set32(offTableSize, 32), Kind: blockdev.ErrCorrupt, Text: "QED table size is invalid"},
	{Name: "header over the table", Do: set32(offHeaderSize, 2), Kind: blockdev.ErrCorrupt, Text: "QED table offset is invalid"},
	{Name: "header huge", Do: set32(offHeaderSize, 0xffffffff), Kind: blockdev.ErrCorrupt, Text: "QED table offset is invalid"},
	{Name: "no header", Do: set32(offHeaderSize, 0), Kind: blockdev.ErrCorrupt, Text: "QED table offset is invalid", Ours: true},
	{Name: "table at 0", Do: set64(offL1, 0), Kind: blockdev.ErrCorrupt, Text: "QED table offset is invalid"},
	{Name: "table unaligned", Do: set64(offL1, cluster+1), Kind: blockdev.ErrCorrupt, Text: "QED table offset is invalid"},
	{Name: "table far away", Do: set64(offL1, 1<<40), Kind: blockdev.ErrCorrupt, Text: "QED table offset is invalid"},
	{Name: "table negative", Do: set64(offL1, 1<<64-cluster), Kind: blockdev.ErrCorrupt, Text: "QED table offset is invalid"},
	{Name: "size odd", Do: set64(offSize, 1000), Kind: blockdev.ErrCorrupt, Text: "QED image size is invalid"},
	{Name: "size over the tables", Do: set64(offSize, 1024*1024*cluster+512), Kind: blockdev.ErrCorrupt, Text: "QED image size is invalid"},
	{Name: "size negative", Do: set64(offSize, 1<<63), Kind: blockdev.ErrCorrupt, Text: "QED image size is invalid"},
	{Name: "backing file's name far away", Do: backing(0x20000, 5), Kind: blockdev.ErrCorrupt, Text: "QED backing filename offset is invalid"},
	{Name: "backing file's name long", Do: backing(64, 2000), Kind: blockdev.ErrLimit, Text: "the backing file name has 2000 bytes, more than 1023", Ours: true},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "qed", newImage(t), damages)
}

// Where the tables of newImage are.
const (
	l1Table = cluster
	l2Table = 3 * cluster
	data1   = 5 * cluster
)

var checks = map[string]struct {
	damage func([]byte) []byte
	want   blockdev.CheckResult
}{
	"sound":           {nil, blockdev.CheckResult{AllocatedClusters: 2}},
	"L1 far away":     {in(set64(l1Table, 1<<40)), blockdev.CheckResult{Corruptions: 1, Leaks: 4}},
	"L1 unaligned":    {in(set64(l1Table, l2Table+1)), blockdev.CheckResult{Corruptions: 1, Leaks: 4}},
	"L2 twice":        {in(set64(l2Table, data1)), blockdev.CheckResult{Corruptions: 1, AllocatedClusters: 3, FragmentedClusters: 1}},
	"L2 far away":     {in(set64(l2Table, 1<<40)), blockdev.CheckResult{Corruptions: 1, AllocatedClusters: 3, FragmentedClusters: 1}},
	"L2 over L1":      {in(set64(l1Table, l1Table)), blockdev.CheckResult{Corruptions: 2, Leaks: 4}},
	"data over L1":    {in(set64(l2Table, l1Table)), blockdev.CheckResult{Corruptions: 1, AllocatedClusters: 3, FragmentedClusters: 1}},
	"leaks":           {func(b []byte) []byte { return append(b, make([]byte, 3*cluster)...) }, blockdev.CheckResult{Leaks: 3, AllocatedClusters: 2}},
	"a file cut off":  {func(b []byte) []byte { return b[:len(b)-1000] }, blockdev.CheckResult{Corruptions: 1, AllocatedClusters: 2}},
	"zeroes, nothing": {in(set64(l2Table, 1)), blockdev.CheckResult{AllocatedClusters: 2}},
}

func in(f func([]byte)) func([]byte) []byte {
	return func(b []byte) []byte { f(b); return b }
}

// TestCheck compares the numbers with those that qemu-img check has as JSON.
func TestCheck(t *testing.T) {
	for name, c := range checks {
		t.Run(name, func(t *testing.T) {
			b := newImage(t)
			if c.damage != nil {
				b = c.damage(b)
			}
			im, err := Open(context.Background(), blockdev.OpenRequest{File: blocktest.NewMemory(b)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := im.Check(context.Background(), blockdev.CheckOptions{})
			c.want.TotalClusters = 16
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
			peer.Need(t, "qemu-img")
			path := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			out, _ := exec.Command("qemu-img", "check", "-f", "qed", "--output=json", path).Output()
			for key, n := range map[string]int64{"corruptions": got.Corruptions, "leaks": got.Leaks,
				"allocated-clusters": got.AllocatedClusters, "fragmented-clusters": got.FragmentedClusters} {
				if has := jsonNumber(out, key); has != n {
					t.Errorf("QEMU has %s %d, not %d\n%s", key, has, n, out)
				}
			}
		})
	}
}

// jsonNumber finds a number in qemu-img's output, 0 if it is not there.
func jsonNumber(out []byte, key string) (n int64) {
	_, rest, _ := bytes.Cut(out, []byte(`"`+key+`": `))
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// TestOpeningForWritingRepairs: an image with the flag that asks for a check gets one.
func TestOpeningForWritingRepairs(t *testing.T) {
	b := newImage(t)
	set64(offFeatures, featureNeedCheck)(b)
	set64(l2Table, 1<<40)(b)
	file := blocktest.NewMemory(b)
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := im.Info(); err != nil || !info.DirtyFlag {
		t.Errorf("the flag is not told: %+v, %v", info, err)
	}
	if _, err := im.ReadAt(make([]byte, 512), 0); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("reading through a wrong entry: %v", err)
	}
	im, err = Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.ReadAt(make([]byte, 64<<10), 0); err != nil {
		t.Errorf("reading after the repair: %v", err)
	}
	if info, err := im.Info(); err != nil || info.DirtyFlag {
		t.Errorf("the flag is still there: %+v, %v", info, err)
	}
	res, err := im.Check(context.Background(), blockdev.CheckOptions{})
	if err != nil || res.Corruptions != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestTheFlagIsSetWhileWriting looks at the file after a first allocation and after Close.
func TestTheFlagIsSetWhileWriting(t *testing.T) {
	file := blocktest.NewMemory(newImage(t))
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	flag := func() bool { return file.Bytes()[offFeatures]&featureNeedCheck != 0 }
	if flag() {
		t.Error("set before anything was written")
	}
	if _, err := im.WriteAt([]byte{1}, 0); err != nil || !flag() {
		t.Errorf("not set by an allocation: %v", err)
	}
	if err := im.Close(); err != nil || flag() {
		t.Errorf("set after closing: %v", err)
	}
}

// TestWritesSpareTheTable: a cluster of the disk that lies over the L1 table is not written.
func TestWritesSpareTheTable(t *testing.T) {
	b := newImage(t)
	set64(l2Table, l1Table)(b)
	file := blocktest.NewMemory(b)
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt(make([]byte, cluster), 0); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("writing over the table: %v", err)
	}
	if err := im.Close(); err != nil || !bytes.Equal(file.Bytes(), b) {
		t.Errorf("the file has changed: %v", err)
	}
}

// TestUnknownFeaturesAreKept: bits that need not be known stay when the header is written.
func TestUnknownFeaturesAreKept(t *testing.T) {
	b := newImage(t)
	set64(offCompat, 7)(b)
	file := blocktest.NewMemory(b)
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint64(file.Bytes()[offCompat:]); got != 7 {
		t.Errorf("the compatible features are %#x, and were 7", got)
	}
}

func TestResize(t *testing.T) {
	file := blocktest.NewMemory(newImage(t))
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		size int64
		o    blockdev.ResizeOptions
		text string
	}{
		{128 << 10, blockdev.ResizeOptions{}, ""},
		{128 << 10, blockdev.ResizeOptions{Preallocation: "full"}, "Unsupported preallocation mode 'full'"},
		{64 << 10, blockdev.ResizeOptions{Shrink: true}, "Shrinking images is currently not supported"},
		{1 << 60, blockdev.ResizeOptions{}, "Invalid image size specified"},
	} {
		if err := im.Resize(c.size, c.o); blockdev.Message(err) != c.text {
			t.Errorf("to %d: %v", c.size, err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if im, err = Open(context.Background(), blockdev.OpenRequest{File: file}); err != nil || im.Size() != 128<<10 {
		t.Errorf("the file has another size: %v", err)
	}
}

func TestBackingReference(t *testing.T) {
	file := blocktest.NewMemory(newImage(t))
	im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "x", File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, format, want string }{{"base.raw", "raw", "raw"}, {"base.qed", "qed", ""}, {"", "", ""}} {
		if err := im.ChangeBackingReference(c.name, c.format); err != nil {
			t.Fatal(err)
		}
		other, err := Open(context.Background(), blockdev.OpenRequest{Filename: "x", File: file})
		if err != nil {
			t.Fatal(err)
		}
		if ref := other.BackingReference(); ref.Name != c.name || ref.Format != c.want {
			t.Errorf("%+v, want %+v", ref, c)
		}
	}
}

func FuzzImage(f *testing.F) {
	b := newImage(f)
	dirty := bytes.Clone(b)
	set64(offFeatures, featureNeedCheck)(dirty)
	formattest.Fuzz(f, "qed", damages, append([][]byte{b, dirty, b[l1Table:]}, formattest.Goldens(f, "qed")...)...)
	for _, at := range []uint32{l1Table, l2Table, l2Table + 8, l2Table + 24} {
		for _, v := range []uint64{cluster, 2 * cluster, l2Table, 1 << 63, 1<<64 - cluster, 3} {
			f.Add(dirty, at, v)
		}
	}
}
