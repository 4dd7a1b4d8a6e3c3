//go:build !linux

package kernel

import (
	"os"

	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// Connect fails: only Linux has such devices.
func Connect(device string, _ []*os.File, _ protocol.ExportInfo) error {
	if _, err := index(device); err != nil {
		return err
	}
	return deviceError(device, ErrNoDriver)
}

// Disconnect fails: only Linux has such devices.
func Disconnect(device string) error { return Connect(device, nil, protocol.ExportInfo{}) }
