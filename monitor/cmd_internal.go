package monitor

import (
	"context"
	"time"

	"github.com/qmon/qmon/blockdev"
)

var internalCommands = []Command{
	{
		Name: "snapshot_blkdev_internal", Args: "device:B name:s",
		Help: "make a snapshot of one disk, inside its image", Run: snapshotDisk,
	},
	{
		Name: "snapshot_delete_blkdev_internal", Args: "device:B name:s id:s?",
		Help: "delete a snapshot of one disk", Run: deleteDiskSnapshot,
	},
}

// diskMedium is the medium of the drive of that name.
func (s *Session) diskMedium(name string) (*blockdev.Drive, *blockdev.Vertex, error) {
	d, ok := s.Machine().Drives().Get(name)
	if !ok {
		return nil, nil, blockdev.Errorf(blockdev.ErrNotFound, "", "", "Cannot find device='%[1]s' nor node-name='%[1]s'", name)
	}
	v := d.Medium()
	if v == nil {
		return nil, nil, blockdev.Errorf(blockdev.ErrNoMedium, "", "", "Device '%s' has no medium", name)
	}
	return d, v, nil
}

// snapshotDisk keeps what is on one disk, and nothing of the machine.
func snapshotDisk(_ context.Context, s *Session, a Args) error {
	d, v, err := s.diskMedium(a.String("device"))
	if err != nil {
		return err
	}
	images, ok := v.Node.(blockdev.Snapshotter)
	name := a.String("name")
	switch {
	case !ok:
		return blockdev.Errorf(blockdev.ErrNotSupported, "", "",
			"Block format '%s' used by device '%s' does not support internal snapshots", v.Driver.Name, d.Name())
	case name == "":
		return blockdev.Errorf(blockdev.ErrInvalid, "", "", "Name is empty")
	}
	all, err := images.Snapshots()
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Name == name {
			return blockdev.Errorf(blockdev.ErrExists, "", "",
				"Snapshot with name '%s' already exists on device '%s'", name, d.Name())
		}
	}
	snapshot := blockdev.Snapshot{Name: name, Date: time.Now(), ICount: blockdev.NoICount}
	if err := s.Do(func() { snapshot.VMClock = s.Machine().Clock().Now() }); err != nil {
		return err
	}
	resume := d.Drain()
	defer resume()
	_, err = images.CreateSnapshot(snapshot)
	return err
}

// deleteDiskSnapshot deletes the snapshot of that name, and of that ID if one is given.
func deleteDiskSnapshot(_ context.Context, s *Session, a Args) error {
	d, v, err := s.diskMedium(a.String("device"))
	if err != nil {
		return err
	}
	images, ok := v.Node.(blockdev.Snapshotter)
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotSupported, "", "", "Failed to get a snapshot list: Operation not supported")
	}
	all, err := images.Snapshots()
	if err != nil {
		return err
	}
	name, id := a.String("name"), a.String("id")
	for _, snapshot := range all {
		if snapshot.Name == name && (id == "" || snapshot.ID == id) {
			resume := d.Drain()
			defer resume()
			return images.DeleteSnapshot(snapshot.ID)
		}
	}
	if id == "" {
		id = "null" // as QEMU has it
	}
	return blockdev.Errorf(blockdev.ErrNotFound, "", "",
		"Snapshot with id '%s' and name '%s' does not exist on device '%s'", id, name, d.Name())
}
