package qed

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

var createOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "backing_file", Type: blockdev.OptString, Help: "File name of a base image"},
	{Name: "backing_fmt", Type: blockdev.OptString, Help: "Image format of the base image"},
	{Name: "cluster_size", Type: blockdev.OptSize, Default: "65536", Help: "Cluster size (in bytes)"},
	{Name: "table_size", Type: blockdev.OptSize, Help: "L1/L2 table size (in clusters)"},
}

// defaultTableSize in clusters.
const defaultTableSize = 4

// Create writes a new image: a header and an empty L1 table, of which the file only has the
// length.
func Create(_ context.Context, r blockdev.CreateRequest) error {
	h := &header{headerSize: 1, tableSize: defaultTableSize}
	h.clusterSize, _ = r.Options["cluster_size"].(int64)
	if n, ok := r.Options["table_size"].(int64); ok {
		h.tableSize = n
	}
	refuse := func(format string, args ...any) error {
		return blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, format, args...)
	}
	switch {
	case !blockdev.KnownFormat(r.Backing.Format):
		return refuse("Parameter 'backing-fmt' does not accept value '%s'", r.Backing.Format)
	case !powerOfTwo(h.clusterSize, minClusterSize, maxClusterSize):
		return refuse("QED cluster size must be within range [%d, %d] and power of 2", minClusterSize, maxClusterSize)
	case !powerOfTwo(h.tableSize, 1, maxTableSize):
		return refuse("QED table size must be within range [1, %d] and power of 2", maxTableSize)
	case r.Size < 0 || r.Size > h.maxSize():
		return refuse("QED image size must be a non-zero multiple of cluster size and less than %d bytes", h.maxSize())
	case len(r.Backing.Name) > maxBackingName:
		return refuse("Backing file name too long")
	}
	h.size = (r.Size + sectorSize - 1) / sectorSize * sectorSize
	h.l1 = h.dataStart()
	h.setBacking(r.Backing.Name, r.Backing.Format)
	if _, err := r.File.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	return blockdev.Resize(r.File, h.l1+h.tableBytes(), blockdev.ResizeOptions{})
}
