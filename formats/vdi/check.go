package vdi

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
)

// Check reads the map and reports numbers that are too large or there twice, and a count in
// the header that is another. Nothing can be repaired, as in QEMU.
func (im *Image) Check(ctx context.Context, o blockdev.CheckOptions) (blockdev.CheckResult, error) {
	if o.RepairErrors || o.RepairLeaks {
		return blockdev.CheckResult{}, blockdev.Errorf(blockdev.ErrNotSupported, "check", im.name, "This image format does not support checks")
	}
	var res blockdev.CheckResult
	err := im.Exclusive(func() error {
		var b [4]byte
		if _, err := im.file.ReadAt(b[:], offAllocated); err != nil {
			return err
		}
		var err error
		res, err = im.checkMap(ctx, int64(binary.LittleEndian.Uint32(b[:])), o.Report)
		return err
	})
	return res, err
}

func (im *Image) checkMap(ctx context.Context, counted int64, report func(blockdev.Finding)) (res blockdev.CheckResult, err error) {
	corrupt := func(format string, args ...any) {
		res.Corruptions++
		if report != nil {
			report(blockdev.Finding{Kind: blockdev.FindingCorruption, Text: fmt.Sprintf(format, args...)})
		}
	}
	used := bat.NewSet(im.header.blocks)
	found := int64(0)
	err = im.table.Scan(ctx, im.file, func(i int64, e uint64) error {
		if e >= entryDiscarded {
			return nil
		}
		if e >= uint64(im.header.blocks) {
			corrupt("ERROR: block index %d too large, is %d", i, e)
			return nil
		}
		found++
		if !used.Add(int64(e)) {
			corrupt("ERROR: block index %d also used by %d", e, e)
		}
		return nil
	})
	if err == nil && found != counted {
		corrupt("ERROR: allocated blocks mismatch, is %d, should be %d", found, counted)
	}
	return res, err
}
