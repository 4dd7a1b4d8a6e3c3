package luks

import (
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
)

// measure: the header, and behind it every byte of the disk.
func measure(_ context.Context, r blockdev.MeasureRequest) (blockdev.Measurement, error) {
	recipe, err := luks1.ParseCreate(r.Options, "", "")
	if err != nil {
		return blockdev.Measurement{}, err
	}
	payload, err := recipe.HeaderSize()
	if err != nil {
		return blockdev.Measurement{}, err
	}
	if r.Size > blockdev.MaxSize-payload {
		return blockdev.Measurement{}, blockdev.Errorf(blockdev.ErrLimit, "measure", "", "The requested file size is too large")
	}
	return blockdev.Measurement{Required: payload + r.Size, FullyAllocated: payload + r.Size}, nil
}
