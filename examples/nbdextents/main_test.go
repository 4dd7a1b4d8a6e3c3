package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/blockdev/nbd/server"
	"github.com/qmon/qmon/internal/peer"
)

func TestPrint(t *testing.T) {
	dir := peer.SocketDir(t)
	socket := filepath.Join(dir, "s")
	disk := blocktest.NewMemory(make([]byte, 1<<20))
	if err := disk.Discard(1<<19, 1<<19); err != nil {
		t.Fatal(err)
	}
	dirty, err := blockdev.NewDirtyBitmap(disk.Size(), 65536)
	if err != nil {
		t.Fatal(err)
	}
	dirty.Set(65536, 1)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, l, server.Export{
			Name: "disk", Backend: server.FromNode(disk), Size: disk.Size(), Bitmaps: []server.Bitmap{{Name: "b0", Dirty: dirty}},
		})
	}()
	defer func() {
		stop()
		<-served
	}()
	var out strings.Builder
	if err := printAll(t.Context(), &out, "nbd+unix:///disk?socket="+socket); err != nil {
		t.Fatal(err)
	}
	const want = `base:allocation
           0       524288  0x0
      524288       524288  0x3
qemu:dirty-bitmap:b0
           0        65536  0x0
       65536        65536  0x1
      131072       917504  0x0
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
