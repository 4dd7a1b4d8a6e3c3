package luks

import (
	"context"
	"slices"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
)

var createOptions = append(append(blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: luks1.KeySecret, Type: blockdev.OptString, Help: "ID of the secret that provides the keyslot passphrase"},
}, luks1.CreateTable("")...),
	blockdev.Option{Name: "preallocation", Type: blockdev.OptString, Help: "Preallocation mode (allowed values: off, falloc, full)"})

// preallocations are what the option of that name may say; empty is the default.
var preallocations = []string{"", "off", "metadata", "falloc", "full"}

// Create writes a header with one key slot, and makes the file as long as the disk needs.
func Create(_ context.Context, r blockdev.CreateRequest) error {
	if r.Backing.Name != "" {
		return blockdev.Errorf(blockdev.ErrNotSupported, "create", r.Filename, "Backing file not supported for file format 'luks'")
	}
	preallocation, _ := r.Options["preallocation"].(string)
	if !slices.Contains(preallocations, preallocation) {
		return blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "invalid parameter value: %s", preallocation)
	}
	if preallocation == "metadata" {
		preallocation = "" // all of it is written anyway
	}
	recipe, err := luks1.ParseCreate(r.Options, "", r.Filename)
	if err != nil {
		return err
	}
	payload, err := recipe.HeaderSize()
	if err != nil {
		return err
	}
	size := (r.Size + sectorSize - 1) / sectorSize * sectorSize
	if r.Size < 0 || size > blockdev.MaxSize-payload {
		return blockdev.Errorf(blockdev.ErrLimit, "create", r.Filename, "The requested file size is too large")
	}
	if err := blockdev.Resize(r.File, payload+size, blockdev.ResizeOptions{Preallocation: preallocation}); err != nil {
		return err
	}
	_, err = luks1.New(recipe, r.File)
	return err
}
