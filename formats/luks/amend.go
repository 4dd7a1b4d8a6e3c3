package luks

import (
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
)

var amendOptions = luks1.AmendTable("")

// Amend fills or erases key slots.
func (im *Image) Amend(ctx context.Context, o blockdev.AmendOptions) error {
	if !im.writable.Load() {
		return blockdev.Errorf(blockdev.ErrReadOnly, "amend", im.name, "Block node is read-only")
	}
	if im.header2 != nil {
		return blockdev.Errorf(blockdev.ErrNotSupported, "amend", im.name, "Key slots of LUKS version 2 cannot be changed")
	}
	a, err := luks1.ParseAmend(o.Values, "", im.name)
	if err != nil || a == nil {
		return err
	}
	im.slots.Lock()
	defer im.slots.Unlock()
	return im.volume.Amend(ctx, a, o.Force, im.head)
}
