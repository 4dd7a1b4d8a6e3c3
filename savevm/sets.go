package savevm

import "github.com/qmon/qmon/blockdev"

// set is a snapshot on every disk: one entry of each disk's table.
type set []blockdev.Snapshot

// sets finds the snapshots called tag that all tables have, oldest first. The entries of
// one set were made by one Save: they have the same date. Where no dates agree, tag means
// the first entry of each table, as it does to QEMU: qemu-img makes snapshots disk by disk.
func sets(tables [][]blockdev.Snapshot, tag string) []set {
	if len(tables) == 0 {
		return nil
	}
	var out []set
	for _, s := range tables[0] {
		if s.Name != tag {
			continue
		}
		same := func(o blockdev.Snapshot) bool { return o.Name == tag && o.Date.Equal(s.Date) }
		if found, ok := pick(tables, same); ok {
			out = append(out, found)
		}
	}
	if len(out) > 0 {
		return out
	}
	if found, ok := pick(tables, func(o blockdev.Snapshot) bool { return o.Name == tag }); ok {
		return []set{found}
	}
	return nil
}

// pick takes the first entry that matches from each table.
func pick(tables [][]blockdev.Snapshot, match func(blockdev.Snapshot) bool) (set, bool) {
	out := make(set, 0, len(tables))
	for _, table := range tables {
		for _, s := range table {
			if match(s) {
				out = append(out, s)
				break
			}
		}
	}
	return out, len(out) == len(tables)
}

// holder is the index of the disk whose snapshot of the set has a machine's state: the
// preferred one, or another if that has none; -1 if none has.
func (s set) holder(preferred int) int {
	if preferred >= 0 && s[preferred].VMStateSize > 0 {
		return preferred
	}
	for i, e := range s {
		if e.VMStateSize > 0 {
			return i
		}
	}
	return -1
}
