package parallels

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

var createOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "cluster_size", Type: blockdev.OptSize, Default: "1048576", Help: "Parallels image cluster size"},
}

// maxImageFactor is how many clusters a disk has at most: an entry counts them in 32 bits.
const maxImageFactor = 1 << 32

// Create writes a new image.
func Create(_ context.Context, r blockdev.CreateRequest) error {
	refuse := func(kind error, text string) error {
		return blockdev.Errorf(kind, "create", r.Filename, "%s", text)
	}
	cluster, _ := r.Options["cluster_size"].(int64)
	switch {
	case r.Backing.Name != "":
		return refuse(blockdev.ErrNotSupported, "Backing file not supported for file format 'parallels'")
	case cluster >= (1<<63-1)/maxImageFactor:
		return refuse(blockdev.ErrLimit, "Cluster size is too large")
	}
	cluster = (cluster + sectorSize - 1) / sectorSize * sectorSize
	if r.Size < 0 || r.Size >= cluster*maxImageFactor {
		return refuse(blockdev.ErrLimit, "Image size is too large for this cluster size")
	}
	h := &header{clusterSize: cluster, size: (r.Size + sectorSize - 1) / sectorSize * sectorSize}
	h.entries = (h.size + cluster - 1) / cluster
	if h.entries > maxEntries || cluster > maxTracks*sectorSize {
		return refuse(blockdev.ErrLimit, "such an image could not be opened")
	}
	h.data = (h.firstCluster() + cluster - 1) / cluster * cluster
	if _, err := r.File.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	return blockdev.Resize(r.File, h.data, blockdev.ResizeOptions{})
}
