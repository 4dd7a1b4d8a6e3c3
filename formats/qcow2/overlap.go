package qcow2

import (
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// overlapChecks is a set of kinds of metadata that writes are kept off: a table entry that
// points to metadata is damage, and to write there would be worse.
type overlapChecks uint16

const (
	overlapMainHeader overlapChecks = 1 << iota
	overlapActiveL1
	overlapActiveL2
	overlapRefcountTable
	overlapRefcountBlock
	overlapSnapshotTable
	overlapInactiveL1
	overlapInactiveL2
	overlapBitmapDirectory
)

// overlapOptions are the kinds in the words of options, as bits in that order.
var overlapOptions = []string{
	"main-header", "active-l1", "active-l2", "refcount-table", "refcount-block",
	"snapshot-table", "inactive-l1", "inactive-l2", "bitmap-directory",
}

// overlapModes are the templates, from the cheapest: "cached" is what can be told from
// memory, and the default.
var overlapModes = []string{"none", "constant", "cached", "all"}

var overlapTemplates = map[string]overlapChecks{
	"none":     0,
	"constant": overlapConstant,
	"cached":   overlapCached,
	"all":      overlapCached | overlapInactiveL2,
}

const (
	overlapConstant = overlapMainHeader | overlapRefcountTable | overlapSnapshotTable | overlapBitmapDirectory
	overlapCached   = overlapConstant | overlapActiveL1 | overlapActiveL2 | overlapRefcountBlock | overlapInactiveL1
)

// overlapOptionTable lists the options about overlap checks.
func overlapOptionTable() blockdev.OptionTable {
	const help = "Selects which overlap checks to perform from a range of templates (none, constant, cached, all)"
	t := blockdev.OptionTable{
		{Name: "overlap-check", Type: blockdev.OptString, Help: help, Supersedes: []string{"overlap-check.template"}},
		{Name: "overlap-check.template", Type: blockdev.OptString, Help: help, Supersedes: []string{"overlap-check"}},
	}
	for _, name := range overlapOptions {
		t = append(t, blockdev.Option{Name: "overlap-check." + name, Type: blockdev.OptBool, Help: "Check for unintended writes into that kind of metadata"})
	}
	return t
}

// parseOverlapChecks reads the options: a template, and kinds added to it or taken away.
func parseOverlapChecks(v blockdev.Values) (overlapChecks, error) {
	mode, short := v["overlap-check"].(string)
	template, long := v["overlap-check.template"].(string)
	if short && long && mode != template {
		return 0, blockdev.Errorf(blockdev.ErrInvalid, "open", "",
			"Conflicting values for qcow2 options 'overlap-check' ('%s') and 'overlap-check.template' ('%s')", mode, template)
	}
	switch {
	case long:
		mode = template
	case !short:
		mode = "cached"
	}
	if !slices.Contains(overlapModes, mode) {
		return 0, blockdev.Errorf(blockdev.ErrInvalid, "open", "",
			"Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of the following: %s", mode, strings.Join(overlapModes, ", "))
	}
	checks := overlapTemplates[mode]
	for i, name := range overlapOptions {
		switch on, given := v["overlap-check."+name].(bool); {
		case given && on:
			checks |= 1 << i
		case given:
			checks &^= 1 << i
		}
	}
	return checks, nil
}

// maxOverlapScan is how many entries of a table are looked at for every write. Of longer
// tables only those in memory count.
const maxOverlapScan = 4096

// metadataAt names the metadata that lies in a range of the file, "" for none, as far as
// the overlap checks ask for it. mu is held, shared at least.
func (im *Image) metadataAt(off, n int64) string { return im.metadataBut(0, off, n) }

// metadataBut is metadataAt for a place that is said to be metadata of the kinds given.
func (im *Image) metadataBut(kinds overlapChecks, off, n int64) string {
	cs, checks := im.clusterSize, im.options.overlap&^kinds
	hits := func(kind overlapChecks, start, length int64) bool {
		return checks&kind != 0 && length > 0 && off < start+length && start < off+n
	}
	directory, size, _ := im.bitmapDirectory()
	keys, keysSize := im.hdr.cryptArea()
	switch {
	case hits(overlapMainHeader, 0, cs):
		return "qcow2_header"
	case hits(overlapActiveL1, im.l1.off, int64(len(im.l1.entries))*8):
		return "active L1 table"
	case hits(overlapRefcountTable, im.hdr.refTableOffset, int64(im.hdr.refTableClusters)*cs),
		im.refs.move != nil && hits(overlapRefcountTable, im.refs.move.off, im.refs.move.clusters*cs):
		return "refcount table"
	case hits(overlapMainHeader, keys, keysSize):
		return "encryption header"
	case hits(overlapSnapshotTable, im.hdr.snapshotsOffset, im.snapshotBytes):
		return "snapshot table"
	case im.hdr.hasBitmaps() && hits(overlapBitmapDirectory, directory, size):
		return "bitmap directory"
	}
	for _, s := range im.snaps {
		if hits(overlapInactiveL1, s.l1Offset, int64(s.l1Size)*8) {
			return "inactive L1 table"
		}
	}
	return im.tableAt(checks, off, n)
}

// checkInactive refuses to write where the overlap checks ask for the L2 tables of snapshots
// and it cannot be told where these are. mu is held, shared at least.
func (im *Image) checkInactive() error {
	if im.options.overlap&overlapInactiveL2 == 0 {
		return nil
	}
	for _, s := range im.snaps {
		if err := im.checkSnapshotL1(s); err != nil {
			return err
		}
	}
	return nil
}

// tableAt is metadataAt for L2 tables and refcount blocks, as far as checks ask for them.
func (im *Image) tableAt(checks overlapChecks, off, n int64) string {
	cs := im.clusterSize
	for c := off &^ (cs - 1); c < off+n; c += cs {
		if checks&overlapActiveL2 != 0 && im.l2Cache.has(c) {
			return "active L2 table"
		}
		if checks&overlapRefcountBlock != 0 && im.refCache.has(c) {
			return "refcount block"
		}
	}
	if checks&overlapActiveL2 != 0 && pointsInto(im.l1.entries, entryOffset, off, n, cs) {
		return "active L2 table"
	}
	// A table of the default size has more entries than are scanned; those in use are the first.
	inUse := min(int64(len(im.refs.entries)), im.clustersFor(im.file.Size())>>im.refBlockBits+1)
	if checks&overlapRefcountBlock != 0 && pointsInto(im.refs.entries[:inUse], refBlockOffsetMask, off, n, cs) {
		return "refcount block"
	}
	if checks&overlapInactiveL2 == 0 {
		return ""
	}
	for _, s := range im.snaps {
		if l1, err := im.snapshotL1(s); err == nil && pointsInto(l1, entryOffset, off, n, cs) {
			return "inactive L2 table"
		}
	}
	return ""
}

// pointsInto tells if an entry of a table is the offset of a cluster that overlaps a range.
func pointsInto(entries []uint64, mask uint64, off, n, clusterSize int64) bool {
	if len(entries) > maxOverlapScan {
		return false
	}
	for _, e := range entries {
		if start := int64(e & mask); start != 0 && start < off+n && off < start+clusterSize {
			return true
		}
	}
	return false
}
