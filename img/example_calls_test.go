package img_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
)

var ctx = context.Background()

// scratch makes a folder with disk.qcow2 in it, a disk of a MiB that begins with a text.
func scratch() (disk img.Source, remove func()) {
	dir, err := os.MkdirTemp("", "img")
	must(err)
	raw := img.Source{Filename: filepath.Join(dir, "disk.raw"), Format: "raw"}
	must(os.WriteFile(raw.Filename, append([]byte("some text"), make([]byte, 1<<20-9)...), 0o600))
	disk = img.Source{Filename: filepath.Join(dir, "disk.qcow2"), Format: "qcow2"}
	must(img.Convert(ctx, img.ConvertOptions{Sources: []img.Source{raw}, Target: disk}))
	return disk, func() { must(os.RemoveAll(dir)) }
}

// overlay makes an image over disk. Who opens it needs a gate that lets it refer to disk.
func overlay(disk img.Source) (over img.Source, session img.Session) {
	over = img.Source{Filename: filepath.Join(filepath.Dir(disk.Filename), "over.qcow2"), Format: "qcow2"}
	session = img.Session{Gate: blockdev.RestrictGate{Dir: filepath.Dir(disk.Filename)}}
	must(img.Create(ctx, img.CreateOptions{
		Session: session, Filename: over.Filename, Format: over.Format,
		Backing: "disk.qcow2", BackingFormat: "qcow2",
	}))
	return over, session
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// An overlay: it is as large as what it lies over, and holds what is written from now on.
func ExampleCreate() {
	disk, remove := scratch()
	defer remove()
	err := img.Create(ctx, img.CreateOptions{
		Session:  img.Session{Gate: blockdev.RestrictGate{Dir: filepath.Dir(disk.Filename)}},
		Filename: filepath.Join(filepath.Dir(disk.Filename), "over.qcow2"), Format: "qcow2",
		Backing: "disk.qcow2", BackingFormat: "qcow2",
		Options:  blockdev.Options{"cluster_size": "4k"},
		Announce: func(line string) { fmt.Println(line[strings.LastIndex(line, "backing_fmt"):]) },
	})
	fmt.Println(err)
	// Output:
	// backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16
	// <nil>
}

// What an image says of itself, and of what it lies over. The gate lets its reference be followed.
func ExampleReadInfo() {
	disk, remove := scratch()
	defer remove()
	over, session := overlay(disk)
	for _, chain := range []bool{false, true} {
		info, err := img.ReadInfo(ctx, img.InfoOptions{Session: session, Image: over, Chain: chain})
		must(err)
		fmt.Println(info.Format, info.VirtualSize, info.BackingFilename, info.Backing != nil)
	}
	// Output:
	// qcow2 1048576 disk.qcow2 false
	// qcow2 1048576 disk.qcow2 true
}

// Is the metadata of an image sound?
func ExampleCheck() {
	disk, remove := scratch()
	defer remove()
	report, err := img.Check(ctx, img.CheckOptions{Image: disk})
	must(err)
	fmt.Print(report.Text())
	// Output:
	// No errors were found on the image.
	// 1/16 = 6.25% allocated, 0.00% fragmented, 0.00% compressed clusters
	// Image end offset: 393216
}

// A compressed copy.
func ExampleConvert() {
	disk, remove := scratch()
	defer remove()
	small := img.Source{Filename: disk.Filename + ".small", Format: "qcow2"}
	err := img.Convert(ctx, img.ConvertOptions{
		Sources: []img.Source{disk}, Target: small, Compress: true,
		Create: blockdev.Options{"compression_type": "zstd"},
	})
	must(err)
	info, err := img.ReadInfo(ctx, img.InfoOptions{Image: small})
	must(err)
	fmt.Println(info.VirtualSize, info.Specific[1])
	// Output: 1048576 {compression-type zstd}
}

// Where the contents of an image lie.
func ExampleMap() {
	disk, remove := scratch()
	defer remove()
	m, err := img.Map(ctx, img.MapOptions{Image: disk, Length: -1})
	must(err)
	for _, e := range m.Entries {
		fmt.Println(e.Start, e.Length, "data:", e.Data, "at", e.Offset)
	}
	// Output:
	// 0 65536 data: true at 327680
	// 65536 983040 data: false at -1
}

// A snapshot is taken, and what was written since undone.
func ExampleCreateSnapshot() {
	disk, remove := scratch()
	defer remove()
	o := img.SnapshotOptions{Image: disk, Name: "before"}
	must(img.CreateSnapshot(ctx, o))
	_, err := img.Bench(ctx, img.BenchOptions{Image: disk, Write: true, Count: 1, Depth: 1, Size: 4096})
	must(err)
	must(img.ApplySnapshot(ctx, o))
	list, err := img.Snapshots(ctx, o)
	must(err)
	for _, s := range list {
		fmt.Println(s.ID, s.Name, s.DiskSize)
	}
	must(img.DeleteSnapshot(ctx, o))
	// Output:
	// 1 before 1048576
}

// Two images hold the same, until one is written to.
func ExampleCompare() {
	disk, remove := scratch()
	defer remove()
	over, session := overlay(disk)
	o := img.CompareOptions{Session: session, A: disk, B: over}
	same, err := img.Compare(ctx, o)
	must(err)
	fmt.Println(same.Difference == img.Identical)
	_, err = img.Bench(ctx, img.BenchOptions{Session: session, Image: over, Write: true, Pattern: 1, Count: 1, Depth: 1, Size: 512, Offset: 8192})
	must(err)
	same, err = img.Compare(ctx, o)
	must(err)
	fmt.Println(same.Difference == img.Identical, same.Offset)
	// Output:
	// true
	// false 8192
}

// A disk grows. To become smaller it has to be asked for.
func ExampleResize() {
	disk, remove := scratch()
	defer remove()
	size, err := img.Resize(ctx, img.ResizeOptions{Image: disk, Size: img.SizeChange{Bytes: 1 << 20, Relative: true}})
	fmt.Println(size, err)
	_, err = img.Resize(ctx, img.ResizeOptions{Image: disk, Size: img.SizeChange{Bytes: 4096}})
	fmt.Println(blockdev.Message(err))
	// Output:
	// 2097152 <nil>
	// Use the --shrink option to perform a shrink operation.
}

// What an overlay holds goes into the image below it.
func ExampleCommit() {
	disk, remove := scratch()
	defer remove()
	over, session := overlay(disk)
	_, err := img.Bench(ctx, img.BenchOptions{Session: session, Image: over, Write: true, Pattern: 1, Count: 1, Depth: 1, Size: 65536, Offset: 1 << 19})
	must(err)
	must(img.Commit(ctx, img.CommitOptions{Session: session, Image: over}))
	m, err := img.Map(ctx, img.MapOptions{Session: session, Image: disk, Start: 1 << 19, Length: 65536})
	must(err)
	fmt.Println(m.Entries[0].Data)
	// Output: true
}

// An overlay gets what it needs of the image below it, and then stands for itself.
func ExampleRebase() {
	disk, remove := scratch()
	defer remove()
	over, session := overlay(disk)
	must(img.Rebase(ctx, img.RebaseOptions{Session: session, Image: over}))
	same, err := img.Compare(ctx, img.CompareOptions{A: over, B: disk}) // no gate any more
	must(err)
	fmt.Println(same.Difference == img.Identical)
	// Output: true
}

// An image is made readable for the oldest programs.
func ExampleAmend() {
	disk, remove := scratch()
	defer remove()
	must(img.Amend(ctx, img.AmendOptions{Image: disk, Options: blockdev.Options{"compat": "0.10"}}))
	must(img.Amend(ctx, img.AmendOptions{Image: disk, Options: blockdev.Options{"size": "2M"}}))
	err := img.Amend(ctx, img.AmendOptions{Image: disk, Options: blockdev.Options{"refcount_bits": "8"}})
	fmt.Println(blockdev.Message(err))
	// Output:
	// Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)
}

// A bitmap that tells what was written since the last backup.
func ExampleChangeBitmap() {
	disk, remove := scratch()
	defer remove()
	o := img.BitmapOptions{Image: disk, Name: "backup", Actions: []img.BitmapAction{{Kind: img.BitmapAdd}}}
	must(img.ChangeBitmap(ctx, o))
	_, err := img.Bench(ctx, img.BenchOptions{Image: disk, Write: true, Count: 3, Depth: 1, Size: 512, Step: 65536})
	must(err)
	list, err := img.Bitmaps(ctx, o)
	must(err)
	for _, b := range list {
		fmt.Println(b.Name, b.Granularity, b.Dirty)
	}
	// Output: backup 65536 196608
}

// The first sector of a disk.
func ExampleDD() {
	disk, remove := scratch()
	defer remove()
	target := disk.Filename + ".sector"
	r, err := img.DD(ctx, img.DDOptions{Source: disk, Target: target, BlockSize: 512, Count: 1})
	must(err)
	b, err := os.ReadFile(target)
	must(err)
	fmt.Printf("%d %s\n", r.Bytes, b[:9])
	// Output: 512 some text
}

// How long a thousand reads take, eight at a time.
func ExampleBench() {
	disk, remove := scratch()
	defer remove()
	took, err := img.Bench(ctx, img.BenchOptions{Image: disk, Count: 1000, Depth: 8, Size: 1024})
	must(err)
	perSecond := 1000 / max(took, 1).Seconds()
	fmt.Println(perSecond > 0)
	// Output: true
}
