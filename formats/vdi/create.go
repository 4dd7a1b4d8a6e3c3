package vdi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

var createOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "static", Type: blockdev.OptBool, Default: "off", Help: "VDI static (pre-allocated) image"},
}

// mapBuffer is how much of a new map is made at once, bytes.
const mapBuffer = 1 << 20

// Create writes a new image. With static all its blocks are there, as a hole.
func Create(_ context.Context, r blockdev.CreateRequest) error {
	static, _ := r.Options["static"].(bool)
	switch {
	case r.Backing.Name != "":
		return blockdev.Errorf(blockdev.ErrNotSupported, "create", r.Filename, "Backing file not supported for file format 'vdi'")
	case r.Size < 0 || r.Size > maxSize:
		return blockdev.Errorf(blockdev.ErrLimit, "create", r.Filename,
			"Unsupported VDI image size (size is 0x%x, max supported is 0x%x)", r.Size, int64(maxSize))
	}
	h := newHeader(r.Size, static)
	if _, err := r.File.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	if err := writeMap(r.File, h); err != nil {
		return err
	}
	if !static {
		return nil
	}
	return blockdev.Resize(r.File, h.data+h.blocks*blockSize, blockdev.ResizeOptions{})
}

func newHeader(size int64, static bool) *header {
	size = (size + sectorSize - 1) / sectorSize * sectorSize
	h := &header{kind: imageDynamic, mapOffset: headerBytes, size: size, blocks: (size + blockSize - 1) / blockSize, id: newUUID(), modified: newUUID()}
	h.data = h.mapOffset + (h.mapBytes()+sectorSize-1)/sectorSize*sectorSize
	if static {
		h.kind, h.allocated = imageStatic, h.blocks
	}
	return h
}

// newUUID makes a random UUID, version 4.
func newUUID() (u uuid) {
	_, _ = rand.Read(u[:]) // it never fails
	u[7] = u[7]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// writeMap writes a map without blocks, or with all of them in order.
func writeMap(file blockdev.Node, h *header) error {
	unused := bytes.Repeat([]byte{0xff}, int(min(mapBuffer, h.data-h.mapOffset)))
	for off := h.mapOffset; off < h.data; off += int64(len(unused)) {
		b := unused[:min(int64(len(unused)), h.data-off)]
		if h.kind == imageStatic {
			clear(b)
			first := (off - h.mapOffset) / mapEntryBytes
			for i := range min(int64(len(b))/mapEntryBytes, h.blocks-first) {
				binary.LittleEndian.PutUint32(b[i*mapEntryBytes:], uint32(first+i))
			}
		}
		if _, err := file.WriteAt(b, off); err != nil {
			return err
		}
	}
	return nil
}
