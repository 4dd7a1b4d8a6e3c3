package sheepdog

import (
	"context"
	"math/bits"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// create makes a VDI, empty or on top of a snapshot.
func create(ctx context.Context, r blockdev.CreateRequest) error {
	t, err := parseName(r.Filename)
	if err != nil {
		return err
	}
	if t.isSnapshot() {
		return blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "a snapshot cannot be created by its name")
	}
	n, err := parseCreateOptions(r)
	if err != nil {
		return err
	}
	n.Name = t.vdi
	o, err := openOptions.Parse(blockdev.Options{"filename": r.Filename})
	if err != nil {
		return err
	}
	s, err := parseSettings(o)
	if err != nil {
		return err
	}
	c, err := dial(ctx, r.Filename, s.gateways, s.timeout, s.reconnect)
	if err != nil {
		return err
	}
	defer c.close()
	err = newDisk(ctx, c, n, r)
	if err == nil && r.Options["preallocation"] == "full" {
		err = preallocateNew(ctx, r)
	}
	return fail(r.Filename, "create", blockdev.NoOffset, err)
}

// parseCreateOptions checks what the daemon does not.
func parseCreateOptions(r blockdev.CreateRequest) (n p.Inode, err error) {
	if mode, ok := r.Options["preallocation"].(string); ok && mode != "off" && mode != "full" {
		return n, invalidPreallocation("create", r.Filename, mode)
	}
	format, ok := r.Options["backing_fmt"].(string)
	if !ok {
		format = r.Backing.Format
	}
	if format != "" && format != "raw" {
		return n, blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "backing_file must be a raw image")
	}
	if text, ok := r.Options["redundancy"].(string); ok {
		if n.Copies, n.CopyPolicy, err = parseRedundancy(text); err != nil {
			return n, err
		}
	}
	if size, ok := r.Options["object_size"].(int64); ok {
		n.Shift = uint8(bits.Len64(uint64(size)) - 1)
		if size != 1<<n.Shift || n.Shift < p.MinShift || n.Shift > p.MaxShift {
			return n, blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename,
				"Invalid object size. It has to be a power of two between %d and %d bytes", 1<<p.MinShift, 1<<p.MaxShift)
		}
	}
	if r.Size < 0 {
		return n, blockdev.Errorf(blockdev.ErrLimit, "create", r.Filename, "Image size is negative")
	}
	n.Size = uint64(r.Size)
	return n, nil
}

// newDisk makes the VDI that n describes, on top of r.Backing if there is one.
func newDisk(ctx context.Context, c *client, n p.Inode, r blockdev.CreateRequest) error {
	backing := r.Backing.Name
	if b, ok := r.Options["backing_file"].(string); ok && backing == "" {
		backing = b
	}
	var base p.VID
	var err error
	if backing != "" {
		if base, err = cloneOf(ctx, c, &n, backing); err != nil {
			return err
		}
	}
	if n.Shift == 0 {
		if n.Shift, err = c.defaultShift(); err != nil {
			return err
		}
	}
	if n.Size > uint64(p.MaxSize(n.Shift)) {
		return tooLarge("create", r.Filename, int64(n.Size), n.Shift)
	}
	_, err = newVDI(c, n, base, 0, func(made p.Inode) bool { return made.Parent == base && made.Size == n.Size })
	return err
}

// cloneOf completes n from the snapshot that name says: a clone has its parent's objects,
// so their size, copies and policies are the same. The daemon would make a clone of a
// working VDI too, and its data read-only for its users: that is refused.
func cloneOf(ctx context.Context, c *client, n *p.Inode, name string) (p.VID, error) {
	invalid := func(text string) (p.VID, error) {
		return 0, blockdev.Errorf(blockdev.ErrInvalid, "create", c.file, "%s", text)
	}
	if d, err := blockdev.ProtocolOf(name); err != nil || d.Name != "sheepdog" {
		return invalid("backing_file must be a sheepdog image")
	}
	t, err := parseName(name)
	if err != nil {
		return 0, err
	}
	if !t.isSnapshot() {
		return invalid("cannot clone from a non snapshot vdi")
	}
	base, err := findBase(ctx, c, t)
	switch {
	case err != nil:
		return 0, err
	case !base.IsSnapshot():
		return invalid("cannot clone from a non snapshot vdi")
	case n.Shift != 0 && n.Shift != base.Shift, n.Copies != 0 && (n.Copies != base.Copies || n.CopyPolicy != base.CopyPolicy):
		return invalid("a clone has the object size and redundancy of its base")
	case n.Size == 0:
		n.Size = base.Size
	case n.Size < base.Size:
		return invalid("a clone cannot be smaller than its base")
	}
	n.Shift, n.Copies, n.CopyPolicy, n.StorePolicy = base.Shift, base.Copies, base.CopyPolicy, base.StorePolicy
	return base.VID, nil
}

// findBase reads the inode of a clone's base. The base may have been named with another
// daemon than the clone: then it must be the same VDI to both, for another cluster may have
// one of that name as well.
func findBase(ctx context.Context, c *client, t target) (p.Inode, error) {
	find := func(c *client) (p.Inode, error) {
		v, err := c.lookup(t.vdiName)
		if err != nil {
			return p.Inode{}, err
		}
		return loadInode(c, v)
	}
	if t.server == c.gateways[0] {
		return find(c)
	}
	there, err := dial(ctx, c.file, []gateway{t.server}, c.timeout, c.reconnect)
	if err != nil {
		return p.Inode{}, err
	}
	defer there.close()
	base, err := find(there)
	if err != nil {
		return p.Inode{}, err
	}
	same, err := find(c)
	if gone(err) || err == nil && (same.VID != base.VID || !same.CreateTime.Equal(base.CreateTime)) {
		err = blockdev.Errorf(blockdev.ErrInvalid, "create", c.file, "backing_file is on another Sheepdog cluster")
	}
	return base, err
}

// defaultShift asks the cluster for its object size.
func (c *client) defaultShift() (uint8, error) {
	o, err := c.call(p.Request{Opcode: p.OpDefaults}, nil, nil)
	switch {
	case err != nil:
		return 0, err
	case o.Shift == 0:
		return p.DefaultShift, nil
	case o.Shift < p.MinShift || o.Shift > p.MaxShift:
		return 0, protocolError("the Sheepdog cluster has objects of 2^%d bytes", o.Shift)
	}
	return o.Shift, nil
}

// preallocateNew opens the new VDI and gives every object storage.
func preallocateNew(ctx context.Context, r blockdev.CreateRequest) (err error) {
	o, err := openOptions.Parse(blockdev.Options{"filename": r.Filename})
	if err != nil {
		return err
	}
	n, err := open(ctx, blockdev.OpenRequest{Filename: r.Filename, Options: o, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		return err
	}
	m := n.(*Image)
	defer func() {
		if e := m.Close(); err == nil {
			err = e
		}
	}()
	m.gate.RLock()
	defer m.gate.RUnlock()
	h := m.index.header()
	return m.preallocate(0, h.Objects())
}
