// Package sheeptest is a Sheepdog cluster inside a test: it keeps what a live daemon was
// seen to do, also where that hurts a careless client.
//
//	Cluster             the objects, the VDIs, the locks
//	   |        \
//	Gateway    Gateway  each a listening socket; may be killed and disturbed
//
// Among the traps: creating an object again wipes it; writes past an object's end succeed
// and vanish; rewriting an unchanged table entry loses the count of references, and with
// it a snapshot's data; deleting a VDI whose table is not empty succeeds and does nothing;
// a write to the first bytes of an erasure code's stripe wipes its others; a lock outlives
// its connection; a short lookup by snapshot id kills the daemon; an object that lost its
// last reference is removed some time later, also if it was made again meanwhile.
package sheeptest

import (
	"encoding/binary"
	"sync"
	"time"

	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// Config of a cluster.
type Config struct {
	Copies      uint8 // of new VDIs; 0 for 1
	Locking     bool  // LOCK_VDI locks
	Unformatted bool
	// ReclaimDelay is how long an object without references is still there.
	ReclaimDelay time.Duration
}

// Cluster is what all gateways serve.
type Cluster struct {
	config Config

	reclaims sync.WaitGroup // of objects about to be removed

	mu      sync.Mutex
	epoch   uint32
	objects map[p.ObjectID]*object
	used    map[p.VID]bool // bits of READ_VDIS, which deleting does not clear
	locked  map[p.VID]bool
	ledgers map[p.ObjectID]ledger
}

// object is a data, VM state or inode object. What was never written reads as zeroes.
type object struct {
	data     []byte
	readOnly bool
	// references are an inode's counts, by index of the table.
	references map[uint32]reference
}

// reference is what an inode knows of an object that its table names: how many
// generations away the owner is, and how many children of this inode name it too.
type reference struct{ generation, count int32 }

// ledger sums up, by generation, the references to an object; it may go when all are 0.
type ledger map[int32]int32

// New makes a cluster without VDIs.
func New(c Config) *Cluster {
	if c.Copies == 0 {
		c.Copies = 1
	}
	epoch := uint32(1)
	if c.Unformatted {
		epoch = 0
	}
	return &Cluster{
		config: c, epoch: epoch,
		objects: map[p.ObjectID]*object{}, used: map[p.VID]bool{}, locked: map[p.VID]bool{},
		ledgers: map[p.ObjectID]ledger{},
	}
}

// NodeLost raises the epoch, as the death of another node does.
func (c *Cluster) NodeLost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
}

// Locked tells if a VDI is locked.
func (c *Cluster) Locked(v p.VID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.locked[v]
}

// Locks is how many VDIs are locked.
func (c *Cluster) Locks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, l := range c.locked {
		if l {
			n++
		}
	}
	return n
}

// Restart has the locks forgotten, as starting all daemons anew does.
func (c *Cluster) Restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.locked)
}

// Objects counts the data, and the VM state, objects, without those about to be removed.
func (c *Cluster) Objects() (data, vmState int) {
	c.reclaims.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.objects {
		switch {
		case id.IsInode():
		case id.IsVMState():
			vmState++
		default:
			data++
		}
	}
	return data, vmState
}

// Patch overwrites bytes of a VDI's inode behind the daemon's back, to make it lie.
func (c *Cluster) Patch(v p.VID, off int, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects[p.InodeID(v)].write(b, int64(off), inodeSize)
}

// Working is the working VDI of a name, 0 for none.
func (c *Cluster) Working(name string) p.VID {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, _ := c.find(name, "", 0)
	return v
}

// inodeSize is that of a whole inode object, with the daemon's own part.
const inodeSize = p.OffsetReferences + 8*p.MaxObjects

func newInode() *object {
	return &object{data: make([]byte, p.InodeHeaderSize), references: map[uint32]reference{}}
}

// write stores b; what is past size vanishes.
func (o *object) write(b []byte, off, size int64) {
	if off >= size {
		return
	}
	b = b[:min(int64(len(b)), size-off)]
	if end := off + int64(len(b)); end > int64(len(o.data)) {
		if end > int64(cap(o.data)) {
			grown := make([]byte, end, min(size, 2*end))
			copy(grown, o.data)
			o.data = grown
		}
		o.data = o.data[:end]
	}
	copy(o.data[off:], b)
}

// garbage is what a read past an object's end gives.
const garbage = 0xa5

func (o *object) read(b []byte, off, size int64) {
	clear(b)
	if off < int64(len(o.data)) {
		copy(b, o.data[off:])
	}
	for i := max(0, size-off); i < int64(len(b)); i++ {
		b[i] = garbage
	}
	for i, r := range o.references {
		at := int64(p.OffsetReferences) + 8*int64(i) - off
		if at >= 0 && at+8 <= int64(len(b)) {
			binary.LittleEndian.PutUint32(b[at:], uint32(r.generation))
			binary.LittleEndian.PutUint32(b[at+4:], uint32(r.count))
		}
	}
}

func (o *object) header() p.Inode { return p.DecodeInode(o.data) }

func (o *object) setHeader(n p.Inode) { n.Encode(o.data) }

func (o *object) entry(i uint32) p.VID {
	at := int(p.EntryOffset(i))
	if at+p.EntrySize > len(o.data) {
		return 0
	}
	return p.VID(binary.LittleEndian.Uint32(o.data[at:]))
}

// entries is how many table entries were ever written.
func (o *object) entries() uint32 {
	return uint32(max(0, len(o.data)-p.OffsetTable) / p.EntrySize)
}

// objectSize is that of an object, by the inode of its VDI.
func (c *Cluster) objectSize(id p.ObjectID) int64 {
	if id.IsInode() {
		return inodeSize
	}
	if inode, ok := c.objects[p.InodeID(id.VID())]; ok {
		n := inode.header()
		return n.ObjectSize()
	}
	return 1 << p.DefaultShift
}

// find looks a VDI up: the working one, or else a snapshot that has the tag or the id.
func (c *Cluster) find(name, tag string, snapID uint32) (p.VID, p.Result) {
	found, newest, known := p.VID(0), uint32(0), false
	for id, o := range c.objects {
		if !id.IsInode() {
			continue
		}
		n := o.header()
		if n.Name != name || name == "" {
			continue
		}
		known = true
		if tag == "" && snapID == 0 {
			if !n.IsSnapshot() {
				return n.VID, p.Success
			}
			continue
		}
		match := tag != "" && n.Tag == tag || snapID != 0 && n.SnapID == snapID
		if n.IsSnapshot() && match && n.SnapID >= newest {
			found, newest = n.VID, n.SnapID
		}
	}
	switch {
	case found != 0:
		return found, p.Success
	case known && (tag != "" || snapID != 0):
		return 0, p.NoTag
	}
	return 0, p.NoVDI
}

// newVDI creates, clones or takes a snapshot.
func (c *Cluster) newVDI(r p.Request, name string, now time.Time) (p.VID, p.Result) {
	working, res := c.find(name, "", 0)
	if r.SnapID == 0 && res == p.Success {
		return 0, p.VDIExists
	}
	if r.SnapID != 0 && res != p.Success {
		return 0, p.NoVDI
	}
	base := c.objects[p.InodeID(r.BaseVID)]
	if r.BaseVID != 0 && base == nil {
		return 0, p.BaseVDIRead
	}
	if r.SnapID != 0 {
		old := c.objects[p.InodeID(working)]
		n := old.header()
		n.SnapTime = now
		old.setHeader(n)
		c.freeze(working)
	}
	n := p.Inode{
		Name: name, CreateTime: now, Size: r.Size, CopyPolicy: r.CopyPolicy, StorePolicy: r.StorePolicy,
		Copies: r.Copies, Shift: r.Shift, SnapID: c.nextSnapID(name), VID: c.freeVID(name), Parent: r.BaseVID,
	}
	if n.Copies == 0 {
		n.Copies = c.config.Copies
	}
	if n.Shift == 0 {
		n.Shift = p.DefaultShift
	}
	inode := newInode()
	inode.setHeader(n)
	if base != nil {
		c.inherit(inode, base, r.BaseVID)
	}
	c.objects[p.InodeID(n.VID)] = inode
	c.used[n.VID] = true
	return n.VID, p.Success
}

// inherit copies the parent's table and counts the references.
func (c *Cluster) inherit(child, parent *object, vid p.VID) {
	for i := range parent.entries() {
		v := parent.entry(i)
		if v == 0 {
			continue
		}
		child.write(parent.data[p.EntryOffset(i):][:p.EntrySize], int64(p.EntryOffset(i)), inodeSize)
		r := parent.references[i]
		child.references[i] = reference{generation: r.generation + 1}
		r.count++
		parent.references[i] = r
	}
	c.freeze(vid)
}

// freeze makes a VDI's data read-only.
func (c *Cluster) freeze(v p.VID) {
	for id, o := range c.objects {
		if id.VID() == v && !id.IsInode() && !id.IsVMState() {
			o.readOnly = true
		}
	}
}

func (c *Cluster) nextSnapID(name string) uint32 {
	highest := uint32(0)
	for id, o := range c.objects {
		if id.IsInode() {
			if n := o.header(); n.Name == name {
				highest = max(highest, n.SnapID)
			}
		}
	}
	return highest + 1
}

func (c *Cluster) freeVID(name string) p.VID {
	v := p.HashName(name)
	for c.used[v] {
		v = v.Next()
	}
	return v
}

// deleteVDI forgets a VDI whose table is empty, and says so of others too.
func (c *Cluster) deleteVDI(v p.VID) {
	inode := c.objects[p.InodeID(v)]
	for i := range inode.entries() {
		if inode.entry(i) != 0 {
			return
		}
	}
	n := inode.header()
	n.Name, n.Size = "", 0
	inode.setHeader(n)
	delete(c.locked, v)
}

// writeInode writes an inode object, and drops references where the table changes. Every
// entry in the range loses its counts, also one that stays what it was.
func (c *Cluster) writeInode(inode *object, b []byte, off int64) {
	table := off >= p.OffsetTable
	if !table {
		inode.write(b, off, inodeSize)
		return
	}
	first := uint32((off - p.OffsetTable) / p.EntrySize)
	last := uint32((off + int64(len(b)) - 1 - p.OffsetTable) / p.EntrySize)
	var old []p.VID
	for i := first; i <= last; i++ {
		old = append(old, inode.entry(i))
	}
	inode.write(b, off, inodeSize)
	for k, was := range old {
		i := first + uint32(k)
		if was != 0 && was != inode.entry(i) {
			c.dropReference(p.DataID(was, i), inode.references[i])
		}
		delete(inode.references, i)
	}
}

// dropReference takes one user of an object away, and the object with the last.
func (c *Cluster) dropReference(id p.ObjectID, r reference) {
	l := c.ledgers[id]
	if l == nil {
		l = ledger{0: 1}
		c.ledgers[id] = l
	}
	l[r.generation]--
	l[r.generation+1] += r.count
	for _, n := range l {
		if n != 0 {
			return
		}
	}
	delete(c.ledgers, id)
	if c.config.ReclaimDelay == 0 {
		delete(c.objects, id)
		return
	}
	c.reclaims.Add(1)
	time.AfterFunc(c.config.ReclaimDelay, func() {
		defer c.reclaims.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.objects, id)
	})
}
