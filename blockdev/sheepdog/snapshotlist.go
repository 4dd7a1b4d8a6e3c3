package sheepdog

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// maxSnapshots bounds the list of one VDI's snapshots: a server that claims more is not
// believed.
const maxSnapshots = 1 << 16

// family is every VDI of a name.
type family struct {
	working   p.VID // 0 if it was not among those looked at
	snapshots []p.Inode
}

// listFamily finds the VDIs of a name by reading inodes. A VDI's id is the hash of its
// name or one of those behind it, without a gap, so that the run of ids in use from there
// is enough; clusters that use ids of deleted VDIs again break that rule, and then
// everything is looked at.
func listFamily(c *client, name string, working p.VID) (family, error) {
	bitmap := make([]byte, p.BitmapSize)
	if _, err := c.call(p.Request{Opcode: p.OpReadVDIs}, nil, bitmap); err != nil {
		return family{}, err
	}
	used := func(v p.VID) bool { return bitmap[v/8]>>(v%8)&1 != 0 }
	var ids []p.VID
	start := p.HashName(name)
	for v := start; used(v); {
		ids = append(ids, v)
		if v = v.Next(); v == start {
			break
		}
	}
	f, err := readFamily(c, name, ids)
	if err != nil || slices.Contains(ids, working) {
		return f, err
	}
	ids = ids[:0]
	for v := p.VID(1); v < p.MaxVID; v++ {
		if used(v) {
			ids = append(ids, v)
		}
	}
	return readFamily(c, name, ids)
}

// readFamily reads the headers of VDIs and keeps those of a name.
func readFamily(c *client, name string, ids []p.VID) (family, error) {
	var mu sync.Mutex
	var f family
	parts := make([]piece, len(ids))
	for i := range ids {
		parts[i].index = uint32(ids[i])
	}
	err := inParallel(parts, func(part piece) error {
		v := p.VID(part.index)
		b := make([]byte, p.InodeHeaderSize)
		if err := c.readObject(p.InodeID(v), b, 0); errors.Is(err, p.NoObject) {
			return nil // a bit whose VDI is gone
		} else if err != nil {
			return err
		}
		n := p.DecodeInode(b)
		if n.Name != name {
			return nil
		}
		if err := n.Check(c.file, v); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if !n.IsSnapshot() {
			f.working = v
			return nil
		}
		if len(f.snapshots) == maxSnapshots {
			return blockdev.Errorf(blockdev.ErrLimit, "snapshot", c.file, "more than %d snapshots", maxSnapshots)
		}
		f.snapshots = append(f.snapshots, n)
		return nil
	})
	slices.SortFunc(f.snapshots, func(a, b p.Inode) int { return cmp.Compare(a.SnapID, b.SnapID) })
	return f, err
}
