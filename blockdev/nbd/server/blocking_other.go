//go:build !linux

package server

import (
	"net"
	"time"
)

// blocking leaves sockets to the runtime's poller.
func blocking(nc net.Conn, _ time.Duration) (net.Conn, error) { return nc, nil }
