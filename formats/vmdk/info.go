package vmdk

import (
	"context"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// Info tells what the descriptor says, in the order and with the keys of QEMU.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	info := blockdev.ImageInfo{Compressed: im.isStream()}
	if g := im.extents[0].geo; g != nil {
		info.ClusterSize = g.grain
	}
	list := make([]any, len(im.extents))
	for i, e := range im.extents {
		var f []blockdev.InfoField
		if e.geo != nil && e.geo.compressed {
			f = append(f, blockdev.InfoField{Key: "compressed", Value: true})
		}
		f = append(f,
			blockdev.InfoField{Key: "virtual-size", Value: e.size},
			blockdev.InfoField{Key: "filename", Value: e.name})
		if e.geo != nil {
			f = append(f, blockdev.InfoField{Key: "cluster-size", Value: e.geo.grain})
		}
		list[i] = append(f, blockdev.InfoField{Key: "format", Value: e.shown})
	}
	info.Specific = []blockdev.InfoField{
		{Key: "cid", Value: int64(im.cid.Load())},
		{Key: "parent-cid", Value: int64(im.desc.parentCID)},
		{Key: "create-type", Value: im.desc.createType},
		{Key: "extents", Value: list},
	}
	return info, nil
}

// Check looks at every grain of every sparse extent: that it is in the file, and not over
// the tables. Nothing can be repaired, as in QEMU.
func (im *Image) Check(ctx context.Context, o blockdev.CheckOptions) (blockdev.CheckResult, error) {
	var res blockdev.CheckResult
	if o.RepairErrors || o.RepairLeaks {
		return res, blockdev.Errorf(blockdev.ErrNotSupported, "check", im.name, "This image format does not support checks")
	}
	found := func(err error) {
		res.Corruptions++
		if o.Report != nil {
			o.Report(blockdev.Finding{Kind: blockdev.FindingCorruption, Text: fmt.Sprintf("ERROR: %s", blockdev.Message(err))})
		}
	}
	for _, e := range im.extents {
		seen := map[int64]bool{}
		for i, at := range e.dir {
			if err := ctx.Err(); err != nil {
				return res, err
			}
			switch {
			case at == 0:
			case seen[at]:
				found(blockdev.ErrorAt(blockdev.ErrCorrupt, "check", e.name, at, "VMDK grain table at %#x is used twice", at))
			default:
				im.checkTable(e, int64(i), found)
			}
			seen[at] = true
		}
	}
	return res, nil
}

// checkTable looks at the grains of one table.
func (im *Image) checkTable(e *extent, i int64, found func(error)) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if _, err := e.table(i); err != nil {
		found(err)
		return
	}
	first := i * e.geo.perTable
	for grain := first; grain < min(first+e.geo.perTable, (e.size-1)/e.geo.grain+1); grain++ {
		state, host, err := e.lookup(grain)
		if err == nil && state == grainStored && !e.geo.compressed && e.overMetadata(host) {
			err = blockdev.ErrorAt(blockdev.ErrCorrupt, "check", e.name, host, "VMDK grain %d lies over metadata", grain)
		}
		if err != nil {
			found(err)
		}
	}
}
