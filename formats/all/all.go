// Package all makes every image format known to the block layer. Import it for its side
// effects.
package all

import (
	_ "github.com/qmon/qmon/formats/asif"      // Apple, sparse
	_ "github.com/qmon/qmon/formats/bochs"     // Bochs, growing
	_ "github.com/qmon/qmon/formats/cloop"     // compressed loop device
	_ "github.com/qmon/qmon/formats/dmg"       // Apple, compressed
	_ "github.com/qmon/qmon/formats/luks"      // encrypted disks
	_ "github.com/qmon/qmon/formats/parallels" // Parallels, expandable
	_ "github.com/qmon/qmon/formats/qcow"      // QEMU's copy-on-write images, version 1
	_ "github.com/qmon/qmon/formats/qcow2"     // QEMU's copy-on-write images
	_ "github.com/qmon/qmon/formats/qed"       // QEMU, enhanced disk
	_ "github.com/qmon/qmon/formats/raw"       // the bytes as they are
	_ "github.com/qmon/qmon/formats/vdi"       // VirtualBox
	_ "github.com/qmon/qmon/formats/vhdx"      // Hyper-V, second generation
	_ "github.com/qmon/qmon/formats/vmdk"      // VMware
	_ "github.com/qmon/qmon/formats/vpc"       // Virtual PC and Hyper-V
)
