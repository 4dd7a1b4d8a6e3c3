// Package all makes every image format known to the block layer. Import it for its side
// effects.
package all

import (
	_ "github.com/qmon/qmon/formats/qcow2" // QEMU's copy-on-write images
	_ "github.com/qmon/qmon/formats/raw"   // the bytes as they are
)
