package qcow2

import "github.com/qmon/qmon/blockdev"

// The VM state lies in guest clusters behind the disk, section "Snapshots": it begins with
// the first L1 entry that describes no part of the disk.

// vmStateBase is the guest offset of the VM state behind a disk of size bytes.
func (im *Image) vmStateBase(size int64) int64 { return im.l1Needed(size) * im.l2Span() }

func (im *Image) checkVMState(op string, off, n int64) error {
	if err := im.checkInternal(op); err != nil {
		return err
	}
	if off < 0 || off > maxL1Bytes/8*im.l2Span()-im.vmStateBase(im.Size())-n {
		return blockdev.ErrorAt(blockdev.ErrLimit, op, im.name, off, "VM state would be too large")
	}
	return nil
}

// ReadVMState reads the state area of the present contents.
func (im *Image) ReadVMState(p []byte, off int64) (int, error) {
	if err := im.checkVMState("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	base := im.vmStateBase(im.Size())
	if len(p) == 0 {
		return 0, nil
	}
	im.raise(blockdev.EventVmstateLoad)
	defer im.lockRange(base+off, int64(len(p)), false)()
	if err := im.readGuest(im.active(), p, base+off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteVMState writes to the state area, which grows as needed.
func (im *Image) WriteVMState(p []byte, off int64) (int, error) {
	if err := im.checkWritable("write"); err != nil {
		return 0, err
	}
	if err := im.checkVMState("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	off += im.vmStateBase(im.Size())
	im.raise(blockdev.EventVmstateSave)
	if err := im.needL1(off + int64(len(p))); err != nil {
		return 0, err
	}
	if err := im.writeGuest(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// needL1 makes the L1 table long enough for guest offsets up to end, and some more, so
// that a state that is streamed does not move the table with every L2 table.
func (im *Image) needL1(end int64) error {
	im.mu.RLock()
	n := int64(len(im.l1.entries))
	im.mu.RUnlock()
	need := im.l1Needed(end)
	if need <= n {
		return nil
	}
	return im.exclusive(func() error {
		n := int64(len(im.l1.entries))
		if need <= n {
			return nil
		}
		return im.growL1(min(max(need, n+n/2), maxL1Bytes/8))
	})
}

// DiscardVMState frees the state area of the present contents.
func (im *Image) DiscardVMState() error {
	if err := im.checkWritable("discard"); err != nil {
		return err
	}
	return im.exclusive(func() error {
		return im.dropBeyond(im.vmStateBase(im.Size()), discardOther)
	})
}
