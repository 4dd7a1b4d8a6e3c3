package sheepdog

import (
	"encoding/binary"
	"sync"

	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// index is a VDI's inode as this client knows it: the header, and of the table the entries
// that belong to the disk.
type index struct {
	client *client

	mu    sync.RWMutex
	inode p.Inode
	table []p.VID
	// unsure are entries whose last write was not answered for: they are read again before
	// they are relied on.
	unsure map[uint32]bool
}

// loadIndex reads the inode of a VDI.
func loadIndex(c *client, v p.VID) (*index, error) {
	n, err := loadInode(c, v)
	if err != nil {
		return nil, err
	}
	x := &index{client: c, inode: n, unsure: map[uint32]bool{}}
	x.table, err = loadTable(c, v, 0, n.Objects())
	return x, err
}

// loadInode reads and checks the header of an inode.
func loadInode(c *client, v p.VID) (p.Inode, error) {
	b := make([]byte, p.InodeHeaderSize)
	if err := c.readObject(p.InodeID(v), b, 0); err != nil {
		return p.Inode{}, err
	}
	n := p.DecodeInode(b)
	return n, n.Check(c.file, v)
}

// loadTable reads entries of a VDI's table: at most MaxObjects, as the inode was checked.
func loadTable(c *client, v p.VID, first, n uint32) ([]p.VID, error) {
	if n == 0 {
		return nil, nil
	}
	b := make([]byte, int64(n)*p.EntrySize)
	if err := c.readObject(p.InodeID(v), b, p.EntryOffset(first)); err != nil {
		return nil, err
	}
	return p.DecodeTable(c.file, b)
}

// vid is the VDI's own id.
func (x *index) vid() p.VID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.inode.VID
}

func (x *index) size() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return int64(x.inode.Size)
}

// header is a copy of the inode.
func (x *index) header() p.Inode {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.inode
}

// owner is the VDI that holds object i, 0 for a hole.
func (x *index) owner(i uint32) p.VID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.table[i]
}

// certain is owner, read again from the server where it is in doubt. The caller has the
// object alone.
func (x *index) certain(i uint32) (p.VID, error) {
	x.mu.RLock()
	v, unsure := x.table[i], x.unsure[i]
	x.mu.RUnlock()
	if !unsure {
		return v, nil
	}
	v, err := x.fetch(i)
	if err != nil {
		return 0, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.table[i] = v
	delete(x.unsure, i)
	return v, nil
}

// owns tells, without a doubt, that object i is the VDI's own.
func (x *index) owns(i uint32) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.table[i] == x.inode.VID && !x.unsure[i]
}

// fetch reads an entry from the server, and does not keep it: only who has the object
// alone may, as another writer may be about to change it.
func (x *index) fetch(i uint32) (p.VID, error) {
	table, err := loadTable(x.client, x.vid(), i, 1)
	if err != nil {
		return 0, err
	}
	return table[0], nil
}

// setOwner writes one entry, and nothing else, to the server. Only an answer makes it
// true here, except that a hole is one at once: whoever writes to it allocates anew.
func (x *index) setOwner(i uint32, v p.VID) error {
	x.mu.Lock()
	vid := x.inode.VID
	if v == 0 {
		x.table[i] = 0
	}
	x.unsure[i] = true
	x.mu.Unlock()
	entry := binary.LittleEndian.AppendUint32(nil, uint32(v))
	if err := x.client.writeObject(p.InodeID(vid), entry, p.EntryOffset(i), 0); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.table[i] = v
	delete(x.unsure, i)
	return nil
}

// allocated counts the objects that are this VDI's own.
func (x *index) allocated() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := int64(0)
	for _, v := range x.table {
		if v == x.inode.VID {
			n++
		}
	}
	return n
}

// run is how many objects from i on, up to limit, are holes if i is, and data if i is.
func (x *index) run(i, limit uint32) (n uint32, hole bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	hole = x.table[i] == 0
	for n = 1; i+n < limit && (x.table[i+n] == 0) == hole; n++ {
	}
	return n, hole
}
