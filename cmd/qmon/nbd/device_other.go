//go:build !unix

package nbd

import (
	"context"

	"github.com/qmon/qmon/blockdev/nbd/kernel"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

func (t *tool) attach(context.Context, *options, server.Export) error { return kernel.ErrNoDriver }

func (t *tool) detach(device string) error { return kernel.Disconnect(device) }

func checkDevice(string) error { return kernel.ErrNoDriver }
