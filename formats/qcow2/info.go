package qcow2

import "github.com/qmon/qmon/blockdev"

// Info tells what the header says, in the order and with the keys of QEMU.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	im.mu.RLock()
	defer im.mu.RUnlock()
	h := im.hdr
	compat, compression := "1.1", "zlib"
	if !im.v3() {
		compat = "0.10"
	}
	if im.compression == compressionZstd {
		compression = "zstd"
	}
	corrupt := h.incompatible&incompatCorrupt != 0
	fields := []blockdev.InfoField{{Key: "compat", Value: compat}, {Key: "compression-type", Value: compression}}
	if im.v3() {
		fields = append(fields, blockdev.InfoField{Key: "lazy-refcounts", Value: h.compatible&compatLazyRefcounts != 0})
		if list := im.bitmapFields(); list != nil {
			fields = append(fields, blockdev.InfoField{Key: "bitmaps", Value: list})
		}
	}
	fields = append(fields, blockdev.InfoField{Key: "refcount-bits", Value: int64(1) << im.refWidth})
	if im.external {
		if name := h.dataFile(); name != "" {
			fields = append(fields, blockdev.InfoField{Key: "data-file", Value: name})
		}
		fields = append(fields, blockdev.InfoField{Key: "data-file-raw", Value: im.raw()})
	}
	if im.encrypted() {
		fields = append(fields, blockdev.InfoField{Key: "encrypt", Value: im.cryptFields()})
	}
	if im.v3() {
		fields = append(fields,
			blockdev.InfoField{Key: "corrupt", Value: corrupt},
			blockdev.InfoField{Key: "extended-l2", Value: im.extended})
	}
	return blockdev.ImageInfo{
		ClusterSize:   im.clusterSize,
		VMStateOffset: im.vmStateBase(im.Size()),
		DirtyFlag:     h.incompatible&incompatDirty != 0,
		Corrupt:       corrupt,
		Encrypted:     im.encrypted(),
		Specific:      fields,
	}, nil
}

// ReopenWritable switches between read-only and read-write.
func (im *Image) ReopenWritable(writable bool) error {
	return im.exclusive(func() error {
		if writable == im.writable.Load() {
			return nil
		}
		if !writable {
			return im.stopWriting()
		}
		return im.startWriting(im.options)
	})
}
