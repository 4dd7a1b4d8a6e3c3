package system

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/vm/scsi"
	"github.com/qmon/qmon/vm/virt"
)

// passiveModels are the models of -device where there is no guest: a drive is only taken, under
// the name that info block shows. They have the suffix that the path of their drive's user ends
// in.
var passiveModels = map[string]string{
	"virtio-blk-pci": "/virtio-backend", "virtio-blk": "/virtio-backend",
	"virtio-blk-device": "", "ide-hd": "", "ide-cd": "", "scsi-hd": "", "scsi-cd": "", "floppy": "",
}

// virtModels are those on virt.
var virtModels = map[string]func(*storage, deviceOption, *virt.Board) error{
	"virtio-blk-device":  (*storage).addDisk,
	"virtio-scsi-device": (*storage).addSCSIHost,
	"scsi-hd":            (*storage).addSCSIUnit,
	"scsi-cd":            (*storage).addSCSIUnit,
}

// deviceNames counts the devices of one run that have no id, for their paths.
type deviceNames struct{ unnamed int }

func (n *deviceNames) path(id string) string {
	if id != "" {
		return "/machine/peripheral/" + id
	}
	n.unnamed++
	return fmt.Sprintf("/machine/peripheral-anon/device[%d]", n.unnamed-1)
}

// harmlessProperties of a disk are accepted with any value: they say what is so anyway, or
// what no guest here can see.
var harmlessProperties = []string{
	"bootindex", "num-queues", "queue-size", "logical_block_size", "physical_block_size",
	"write-cache", "discard", "write-zeroes", "share-rw", "config-wce", "iothread",
}

// connect gives the drives of the board's own places and of -device to the machine. Disks have
// their slots first, so that they do not depend on what else there is.
func (s *storage) connect(o *options, board *virt.Board) error {
	names := &deviceNames{}
	for n, p := range s.builder.Placed() {
		if err := s.connectPlaced(p, n, names, board); err != nil {
			return err
		}
	}
	for _, a := range o.devices {
		if err := s.connectDevice(a, names, board); err != nil {
			return &usageError{a.text, blockdev.Message(err)}
		}
	}
	if board == nil {
		return nil
	}
	return s.connectUnits(names, board)
}

// connectPlaced connects a drive that the board has a place for.
func (s *storage) connectPlaced(p driveopt.Placed, n int, names *deviceNames, board *virt.Board) error {
	switch {
	case p.Spec.Interface == "none":
		return nil
	case board != nil && s.board.disks[p.Spec.Interface] && !p.Spec.CDROM:
		suffix := ""
		if p.Spec.Interface == "virtio" {
			suffix = "/virtio-backend"
		}
		return board.AddDisk(virt.Disk{Drive: p.Drive, Path: names.path("") + suffix})
	case board != nil, p.Spec.Interface == "sd":
		return nil
	case p.Spec.Interface == "virtio":
		return p.Drive.Attach(names.path("")+"/virtio-backend", nil)
	}
	return p.Drive.Attach(fmt.Sprintf("/machine/unattached/device[%d]", n), nil)
}

// connectUnits makes SCSI units of the drives that are left: CD-ROM and floppy drives, and
// disks with if=scsi.
func (s *storage) connectUnits(names *deviceNames, board *virt.Board) error {
	for _, p := range s.builder.Placed() {
		if !s.board.units[p.Spec.Interface] || p.Drive.Attached() != "" {
			continue
		}
		if !board.HasSCSIHost() {
			if err := board.AddSCSIHost(virt.SCSIHost{}); err != nil {
				return err
			}
		}
		u := virt.SCSIUnit{Drive: p.Drive, Target: -1, Path: names.path("")}
		switch {
		case p.Spec.CDROM:
			u.Kind = scsi.CDROM
		case p.Spec.Interface == "floppy":
			u.Kind = scsi.Floppy
		}
		if err := board.AddSCSIUnit(u); err != nil {
			return err
		}
	}
	return nil
}

// deviceOption is one -device, taken apart.
type deviceOption struct {
	model, id, bus string
	path           string // of the device, for info block
	list           qemuopts.List
}

// connectDevice does what one -device says.
func (s *storage) connectDevice(a argument, names *deviceNames, board *virt.Board) error {
	d := deviceOption{list: slices.Clone(a.list)}
	d.model, _ = d.list.Take("driver")
	add, known := virtModels[d.model]
	suffix := ""
	if board == nil {
		suffix, known = passiveModels[d.model]
		add = (*storage).takeDrive
	}
	if !known {
		return blockdev.Errorf(blockdev.ErrNotFound, "", "", "'%s' is not a valid device model name", d.model)
	}
	var given bool
	if d.id, given = d.list.Take("id"); given {
		if err := qemuopts.CheckID(d.id); err != nil {
			return err
		}
	}
	d.bus, _ = d.list.Take("bus")
	d.path = names.path(d.id) + suffix
	return add(s, d, board)
}

// rest checks that nothing is left of the options.
func (d deviceOption) rest() error {
	for _, p := range d.list {
		if !slices.Contains(harmlessProperties, p.Key) {
			return fmt.Errorf("Property '%s.%s' not found", d.model, p.Key)
		}
	}
	return nil
}

// drive takes the drive that drive= names.
func (s *storage) drive(d *deviceOption) (*blockdev.Drive, error) {
	name, ok := d.list.Take("drive")
	if !ok {
		return nil, errors.New("drive property not set")
	}
	model := d.model
	if strings.HasPrefix(model, "virtio-blk") {
		model = "virtio-blk-device" // which the others are wrapped around
	}
	return s.driveFor(name, model)
}

// takeDrive makes a drive one that is in use.
func (s *storage) takeDrive(d deviceOption, _ *virt.Board) error {
	drive, err := s.drive(&d)
	if err != nil {
		return err
	}
	d.list.Take("serial")
	if err := d.rest(); err != nil {
		return err
	}
	return drive.Attach(d.path, nil)
}

func (s *storage) addDisk(d deviceOption, board *virt.Board) error {
	drive, err := s.drive(&d)
	if err != nil {
		return err
	}
	serial, _ := d.list.Take("serial")
	if err := d.rest(); err != nil {
		return err
	}
	return board.AddDisk(virt.Disk{Drive: drive, Bus: d.bus, ID: d.id, Serial: serial, Path: d.path})
}

func (s *storage) addSCSIHost(d deviceOption, board *virt.Board) error {
	if err := d.rest(); err != nil {
		return err
	}
	return board.AddSCSIHost(virt.SCSIHost{Bus: d.bus, ID: d.id})
}

// addSCSIUnit makes a scsi-hd or scsi-cd. A CD-ROM drive may be without a drive of its own: it
// gets an empty one of its name.
func (s *storage) addSCSIUnit(d deviceOption, board *virt.Board) (err error) {
	u := virt.SCSIUnit{Bus: d.bus, ID: d.id, Path: d.path}
	if d.model == "scsi-cd" {
		u.Kind = scsi.CDROM
	}
	for key, to := range map[string]*string{"serial": &u.Serial, "vendor": &u.Vendor, "product": &u.Product} {
		*to, _ = d.list.Take(key)
	}
	if u.Target, err = d.list.TakeInt("scsi-id", -1); err != nil {
		return err
	}
	if u.LUN, err = d.list.TakeInt("lun", 0); err != nil {
		return err
	}
	if u.Removable, err = d.list.TakeBool("removable", false); err != nil {
		return err
	}
	if _, given := d.list.Get("drive"); !given && u.Kind == scsi.CDROM && d.id != "" {
		u.Drive = blockdev.NewDrive(blockdev.DriveConfig{Name: d.id, ReadOnly: true})
		err = s.builder.Drives.Add(u.Drive)
	} else {
		u.Drive, err = s.drive(&d)
	}
	if err != nil {
		return err
	}
	if err := d.rest(); err != nil {
		return err
	}
	return board.AddSCSIUnit(u)
}

// modernSlots tells if the virtio slots are to be of version 2, from -global.
func modernSlots(o *options) (bool, error) {
	modern := false
	for _, a := range o.globals {
		for _, p := range a.list {
			driver, property, _ := strings.Cut(p.Key, ".")
			switch {
			case p.Key == "virtio-mmio.force-legacy":
				legacy, err := qemuopts.Bool("force-legacy", p.Value)
				if err != nil {
					return false, &usageError{a.text, err.Error()}
				}
				modern = !legacy
			case driver == "" || property == "":
				return false, &usageError{a.text, fmt.Sprintf("Invalid parameter '%s'", p.Key)}
			}
		}
	}
	return modern, nil
}
