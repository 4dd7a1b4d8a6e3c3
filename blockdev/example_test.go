package blockdev_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	_ "github.com/qmon/qmon/formats/all"
)

// A disk is made, an overlay is put over it, and what the overlay holds is committed.
func Example() {
	dir, err := os.MkdirTemp("", "qmon")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	name := filepath.Join(dir, "disk.qcow2")

	var g blockdev.Graph
	if err := g.Create(ctx, "qcow2", name, 64<<20, nil, blockdev.Reference{}); err != nil {
		log.Fatal(err)
	}
	base, err := g.Open(ctx, name, blockdev.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	overlay, err := g.OpenOverlay(ctx, base, dir)
	if err != nil {
		log.Fatal(err)
	}
	drive := blockdev.NewDrive(blockdev.DriveConfig{Name: "ide0-hd0"})
	if err := drive.Insert(overlay); err != nil {
		log.Fatal(err)
	}
	if _, err := drive.WriteAt([]byte("hello"), 1<<20); err != nil {
		log.Fatal(err)
	}
	for _, v := range drive.Medium().Chain() {
		s, err := blockdev.BlockStatus(v.Node, 1<<20, 4096, nil)
		fmt.Println(v.Driver.Name, s.Kind, err)
	}
	if err := drive.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	p := make([]byte, 5)
	_, err = base.Node.ReadAt(p, 1<<20)
	fmt.Printf("%s %v\n", p, err)

	v, err := drive.Remove()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(v.Unref())
	// Output:
	// qcow2 data <nil>
	// qcow2 unallocated <nil>
	// hello <nil>
	// <nil>
}
