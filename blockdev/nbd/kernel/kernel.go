// Package kernel hands NBD connections to Linux's own client, which shows them as
// /dev/nbdN, through the generic netlink family "nbd" (linux/nbd-netlink.h).
//
//	server <-- socket --> kernel <-- /dev/nbdN --> file systems
//	                         ^
//	                         +-- netlink: connect, disconnect
//
// The handshake is done before a socket is handed over, by client.Handshake. The kernel
// knows simple replies only.
package kernel

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// ErrNoDriver says that the kernel has no NBD client, or does not show it.
var ErrNoDriver = errors.New("the kernel has no NBD client (is the module nbd loaded?)")

// maxIndex is the largest number of a device: Linux's minor numbers have 20 bits.
const maxIndex = 1<<20 - 1

// index is the number of a device of the kernel's client: 3 of /dev/nbd3.
func index(device string) (uint32, error) {
	if digits, ok := strings.CutPrefix(filepath.Base(device), "nbd"); ok {
		if n, err := strconv.ParseUint(digits, 10, 32); err == nil && n <= maxIndex {
			return uint32(n), nil
		}
	}
	return 0, deviceError(device, errors.New("not a device of the kernel's NBD client"))
}

func deviceError(device string, err error) error {
	return &blockdev.Error{Op: "nbd", File: device, Offset: blockdev.NoOffset,
		Text: fmt.Sprintf("Failed to set up NBD device '%s'", device), Err: err}
}
