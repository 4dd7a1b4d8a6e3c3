package savevm

import (
	"context"
	"fmt"
	"slices"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
)

// media describes what is in the drives whose medium can be changed.
func media(m *vm.Machine) ([]blockdev.Medium, error) {
	var out []blockdev.Medium
	for _, d := range m.Drives().All() {
		if !d.Config().Removable {
			continue
		}
		medium, err := d.Describe()
		if err != nil {
			return nil, err
		}
		out = append(out, medium)
	}
	return out, nil
}

// exchange is a drive and what it gets for what it has.
type exchange struct {
	drive   *blockdev.Drive
	content blockdev.Content
}

// exchanges are what has to be done for a snapshot's media to be in their drives.
type exchanges []exchange

// planMedia finds the media that belong to a snapshot and opens those that are not in their
// drives. Nothing is changed. The caller has to close what it does not use.
func planMedia(ctx context.Context, m *vm.Machine, all []disk, tag string) (plan exchanges, err error) {
	recorded, err := recordedMedia(all, tag)
	if err != nil {
		return nil, err
	}
	for _, medium := range recorded {
		e, err := plan.find(ctx, m, medium)
		if err != nil {
			return nil, both(&blockdev.Error{
				Op: "loadvm", File: medium.Drive, Offset: blockdev.NoOffset,
				Text: fmt.Sprintf("The medium of device '%s' cannot be put back", medium.Drive), Err: err,
			}, plan.close())
		}
		plan = append(plan, e)
	}
	return plan, nil
}

// recordedMedia reads the list of media out of the newest state with that tag.
func recordedMedia(all []disk, tag string) ([]blockdev.Medium, error) {
	byDisk, err := tables(all)
	if err != nil {
		return nil, err
	}
	for i, table := range byDisk {
		for j := len(table) - 1; j >= 0; j-- {
			if s := table[j]; s.Name == tag && s.VMStateSize > 0 {
				return mediaOf(all[i], s)
			}
		}
	}
	return nil, nil
}

func mediaOf(d disk, s blockdev.Snapshot) (media []blockdev.Medium, err error) {
	node, err := d.snapshots.OpenSnapshot(s.ID)
	if err != nil {
		return nil, diskError("load", s.Name, d, err)
	}
	defer func() { err = both(err, node.Close()) }()
	store, ok := node.(blockdev.VMStateStore)
	if !ok {
		return nil, nil
	}
	media, err = vmstate.Media(stateReader{store}, s.VMStateSize)
	if err != nil {
		return nil, loadError(d, err)
	}
	return media, nil
}

// find says how a drive gets its medium. One that lies in another drive is not opened again:
// it may be locked.
func (plan exchanges) find(ctx context.Context, m *vm.Machine, medium blockdev.Medium) (exchange, error) {
	e := exchange{content: blockdev.Content{TrayOpen: medium.TrayOpen, Locked: medium.Locked}}
	d, ok := m.Drives().Get(medium.Drive)
	if !ok {
		return e, blockdev.Errorf(blockdev.ErrNotFound, "loadvm", medium.Drive, "Device '%s' not found", medium.Drive)
	}
	e.drive = d
	if medium.File == "" {
		return e, nil
	}
	for _, other := range m.Drives().All() {
		v := other.Medium()
		if v == nil || other != d && !other.Config().Removable {
			continue
		}
		v.Ref()
		same, err := medium.Is(v)
		if err == nil && same {
			e.content.Medium = v
			return e, nil
		}
		if err := v.Unref(); err != nil {
			return e, err
		}
	}
	v, err := m.Drives().OpenMedium(ctx, medium)
	e.content.Medium = v
	return e, err
}

// medium is what will be in a drive.
func (plan exchanges) medium(d *blockdev.Drive) *blockdev.Vertex {
	for _, e := range plan {
		if e.drive == d {
			return e.content.Medium
		}
	}
	return d.Medium()
}

// disks are those that take part when the plan is carried out. present are those that do now.
func (plan exchanges) disks(m *vm.Machine, present []disk) []disk {
	var out []disk
	for _, d := range m.Drives().All() {
		v := plan.medium(d)
		if i := slices.IndexFunc(present, func(p disk) bool { return p.Drive == d }); i >= 0 && v != nil && v.Node == present[i].node {
			out = append(out, present[i])
			continue
		}
		if v == nil || v == d.Medium() || d.Config().ReadOnly || !v.Mode().Writable {
			continue
		}
		s, _ := v.Node.(blockdev.Snapshotter)
		out = append(out, disk{d, v.Node, s})
	}
	return out
}

// carryOut puts everything in its place. The plan then holds what was there: carried out again
// it is undone.
func (plan exchanges) carryOut() {
	for i, e := range plan {
		plan[i].content = e.drive.Exchange(e.content)
	}
}

// close lets go of the media that the plan holds.
func (plan exchanges) close() error {
	var err error
	for _, e := range plan {
		if v := e.content.Medium; v != nil {
			err = both(err, v.Unref())
		}
	}
	return err
}
