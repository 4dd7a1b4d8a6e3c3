package img_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/qmon/qmon/blockdev/all" // where images lie
	_ "github.com/qmon/qmon/formats/all"  // how they are laid out
	"github.com/qmon/qmon/img"
)

// A raw file becomes a qcow2 image. Neither image refers to another file, so no gate is
// needed.
func Example() {
	dir, err := os.MkdirTemp("", "img")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	raw := img.Source{Filename: filepath.Join(dir, "disk.raw"), Format: "raw"}
	image := img.Source{Filename: filepath.Join(dir, "disk.qcow2"), Format: "qcow2"}
	if err := os.WriteFile(raw.Filename, make([]byte, 1<<20), 0o644); err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	if err := img.Convert(ctx, img.ConvertOptions{Sources: []img.Source{raw}, Target: image}); err != nil {
		fmt.Println(err)
		return
	}
	info, err := img.ReadInfo(ctx, img.InfoOptions{Image: image})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(info.Format, info.VirtualSize, info.ClusterSize)
	same, err := img.Compare(ctx, img.CompareOptions{A: raw, B: image})
	fmt.Println(same.Difference == img.Identical, err)
	// Output:
	// qcow2 1048576 65536
	// true <nil>
}

// An upload gate: the image is a qcow2 image, it is not too large, and it refers to nothing.
func ExampleInspect() {
	dir, err := os.MkdirTemp("", "img")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	upload := filepath.Join(dir, "upload.qcow2")
	ctx, size := context.Background(), int64(1<<30)
	if err := img.Create(ctx, img.CreateOptions{
		Filename: upload, Format: "qcow2", Size: &size, Backing: "/etc/passwd", BackingFormat: "raw", Unchecked: true,
	}); err != nil {
		fmt.Println(err)
		return
	}
	report, err := img.Inspect(ctx, img.InspectOptions{Image: img.Source{Filename: upload, Format: "qcow2"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	image := report.Images[0]
	fmt.Println(image.Format, image.VirtualSize, "complete:", report.Complete)
	for _, r := range image.References {
		fmt.Println("refers to", r.Path)
	}
	// Output:
	// qcow2 1073741824 complete: false
	// refers to /etc/passwd
}

// What a conversion to qcow2 will take.
func ExampleMeasure() {
	size := int64(10 << 30)
	m, err := img.Measure(context.Background(), img.MeasureOptions{Format: "qcow2", Size: &size})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Required, m.FullyAllocated)
	// Output:
	// 1900544 10739318784
}
