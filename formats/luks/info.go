package luks

import "github.com/qmon/qmon/blockdev"

// Info tells what the header says, in the order and with the keys of QEMU.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	im.slots.Lock()
	defer im.slots.Unlock()
	if im.header2 != nil {
		return blockdev.ImageInfo{Encrypted: true, Specific: im.header2.Fields()}, nil
	}
	return blockdev.ImageInfo{Encrypted: true, Specific: im.header.Fields("")}, nil
}
