package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/internal/peer"
)

func TestServe(t *testing.T) {
	dir := peer.SocketDir(t)
	image, socket := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "s")
	if err := new(blockdev.Graph).Create(t.Context(), "qcow2", image, 1<<20, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, image, socket) }()
	config, err := nbd.Config("nbd+unix:///disk?socket=" + socket)
	if err != nil {
		t.Fatal(err)
	}
	config.OpenTimeout = 10 * time.Second
	c, err := client.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteAt([]byte("hello"), 4096); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Flush(), c.Close()); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
