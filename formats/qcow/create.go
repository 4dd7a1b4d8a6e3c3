package qcow

import (
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
)

var createOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "backing_file", Type: blockdev.OptString, Help: "File name of a base image"},
	{Name: "backing_fmt", Type: blockdev.OptString, Help: "Format of the backing image"},
	{Name: optEncryption, Type: blockdev.OptBool, Help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"},
	{Name: optCryptFormat, Type: blockdev.OptString, Help: "Encrypt the image, format choices: 'aes'"},
	{Name: cryptPrefix + luks1.KeySecret, Type: blockdev.OptString, Help: "ID of the secret that provides the AES encryption key"},
}

// What new images have: small clusters where they are copied from a backing file. Both L2
// tables reach 2 MiB.
const (
	plainClusterBits   = 12
	plainL2Bits        = 9
	overlayClusterBits = 9
	overlayL2Bits      = 12
)

// Create writes a new image: a header and an empty L1 table.
func Create(_ context.Context, r blockdev.CreateRequest) error {
	refuse := func(kind error, text string) error {
		return blockdev.Errorf(kind, "create", r.Filename, "%s", text)
	}
	crypt, err := createCrypt(r)
	if err != nil {
		return err
	}
	h := &header{
		crypt: crypt, clusterBits: plainClusterBits, l2Bits: plainL2Bits, backing: r.Backing.Name,
		size: r.Size/sectorSize*sectorSize + min(1, r.Size%sectorSize)*sectorSize,
	}
	if h.backing != "" {
		h.clusterBits, h.l2Bits = overlayClusterBits, overlayL2Bits
	}
	switch {
	case !blockdev.KnownFormat(r.Backing.Format):
		return refuse(blockdev.ErrInvalid, "unrecognized backing format '"+r.Backing.Format+"'")
	case r.Size == 0:
		return refuse(blockdev.ErrInvalid, "Image size is too small, cannot be zero length")
	case len(h.backing) > maxBackingName:
		return refuse(blockdev.ErrLimit, "Backing file name too long")
	case r.Size < 0 || r.Size > blockdev.MaxSize || h.l1Entries() > maxL1Bytes/entryBytes:
		return refuse(blockdev.ErrLimit, "Image too large")
	}
	b := h.encode()
	h.l1 = int64(len(b)+entryBytes-1) / entryBytes * entryBytes
	if _, err := r.File.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	end := h.l1 + (h.l1Entries()*entryBytes+sectorSize-1)/sectorSize*sectorSize
	return blockdev.Resize(r.File, end, blockdev.ResizeOptions{})
}
