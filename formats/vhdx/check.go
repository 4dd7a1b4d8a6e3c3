package vhdx

import (
	"context"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// maxOverlapMap is the longest file, in MiB, of which a check remembers what is in use:
// 128 MiB of memory. In longer ones blocks that overlap are not found.
const maxOverlapMap = 1 << 30

// Check looks at every entry of the table. A log that was replayed when the image was
// opened counts as a corruption that was fixed, as in QEMU.
func (im *Image) Check(ctx context.Context, o blockdev.CheckOptions) (blockdev.CheckResult, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	var res blockdev.CheckResult
	if im.replayed {
		res.CorruptionsFixed = 1
		im.replayed = false
	}
	seen := newUsage(im.fileEnd)
	for block := range im.meta.blocks() {
		if block%entriesPerPage == 0 && ctx.Err() != nil {
			return res, ctx.Err()
		}
		e, err := im.bat.get(block)
		if err != nil {
			return res, err
		}
		host, present, err := im.locate(e, block)
		if err == nil && present && !seen.take(span{host, im.used(block)}) {
			err = im.corrupt("VHDX block %d at %#x overlaps with another", block, host)
		}
		report(&res, o, err)
	}
	if im.meta.hasParent {
		for chunk := range (im.meta.blocks() + im.meta.chunkRatio() - 1) / im.meta.chunkRatio() {
			report(&res, o, im.checkBitmap(chunk, seen))
		}
	}
	return res, nil
}

// report counts an error as a corruption, and tells of it.
func report(res *blockdev.CheckResult, o blockdev.CheckOptions, err error) {
	if err == nil {
		return
	}
	res.Corruptions++
	if o.Report != nil {
		o.Report(blockdev.Finding{Kind: blockdev.FindingCorruption, Text: fmt.Sprintf("ERROR: %s", blockdev.Message(err))})
	}
}

// checkBitmap looks at the sector bitmap block of a chunk, which a chunk with a partially
// present block must have.
func (im *Image) checkBitmap(chunk int64, seen usage) error {
	needed := false
	for block := chunk * im.meta.chunkRatio(); block < min((chunk+1)*im.meta.chunkRatio(), im.meta.blocks()); block++ {
		e, err := im.bat.get(block)
		if err != nil {
			return err
		}
		needed = needed || e&stateMask == blockPartlyPresent
	}
	if !needed {
		return nil
	}
	host, err := im.bitmapBlock(chunk)
	if err == nil && !seen.take(span{host, mib}) {
		err = im.corrupt("VHDX sector bitmap of chunk %d at %#x overlaps with a block", chunk, host)
	}
	return err
}

// usage remembers which MiB of a file are in use.
type usage []uint64

func newUsage(fileSize int64) usage {
	n := (fileSize + mib - 1) / mib
	if n > maxOverlapMap {
		return nil
	}
	return make(usage, (n+63)/64)
}

// take marks a part as in use and tells if it was free.
func (u usage) take(s span) bool {
	if u == nil {
		return true
	}
	free := true
	for i := s.off / mib; i*mib < s.end(); i++ {
		bit := uint64(1) << (i % 64)
		free = free && u[i/64]&bit == 0
		u[i/64] |= bit
	}
	return free
}
