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

// Measure tells how large a new image with the same options would be: with the data that
// is allocated here, and with all of it.
func (im *Image) Measure() (required, fullyAllocated int64, err error) {
	var data int64
	size := im.Size()
	for off := int64(0); off < size; {
		e, err := im.Map(off, size-off)
		if err != nil {
			return 0, 0, err
		}
		if e.Kind == blockdev.ExtentData || e.Kind == blockdev.ExtentOpaque {
			data += im.clustersFor(e.Len)
		}
		off += e.Len
	}
	total := im.clustersFor(size)
	data = min(data, total)
	meta := metadataClusters(size, total, im.l2Geometry, im.refBlockBits)
	return (meta + data) << im.clusterBits, (meta + total) << im.clusterBits, nil
}

// metadataClusters is how many clusters the tables of an image take that is fully
// allocated: header, L1 and L2 tables, refcount table and blocks.
func metadataClusters(size, data int64, g l2Geometry, refBlockBits uint) int64 {
	perTable := int64(1) << (g.clusterBits - 3)
	l2 := g.l1Needed(size)
	tables := 1 + l2 + (l2+perTable-1)/perTable
	var refs int64
	for {
		blocks := (data + tables + refs + 1<<refBlockBits - 1) >> refBlockBits
		next := blocks + (blocks+perTable-1)/perTable
		if next == refs {
			return tables + refs
		}
		refs = next
	}
}
