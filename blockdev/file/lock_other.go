//go:build !linux

package file

import "os"

// Only Linux has open-file-description locks that QEMU takes; elsewhere QEMU locks
// nothing, and neither do we.

func lockFile(*os.File, string, bool) error { return nil }

func unlockFile(*os.File) error { return nil }
