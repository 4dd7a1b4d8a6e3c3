package system

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/vm/virt"
)

// Models of -device. On virt there is virtio-blk-device; without a guest a drive is only
// taken, under the name that info block shows.
var (
	virtModels = []string{"virtio-blk-device"}
	// passiveModels have the suffix that the path of their drive's user ends in.
	passiveModels = map[string]string{
		"virtio-blk-pci": "/virtio-backend", "virtio-blk": "/virtio-backend",
		"virtio-blk-device": "", "ide-hd": "", "ide-cd": "", "scsi-hd": "", "scsi-cd": "", "floppy": "",
	}
)

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

// connect gives the drives of the board's own places and of -device to the machine.
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
	return nil
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

// connectDevice does what one -device says.
func (s *storage) connectDevice(a argument, names *deviceNames, board *virt.Board) error {
	list := slices.Clone(a.list)
	model, _ := list.Take("driver")
	_, passive := passiveModels[model]
	if board != nil && !slices.Contains(virtModels, model) || !passive {
		return blockdev.Errorf(blockdev.ErrNotFound, "", "", "'%s' is not a valid device model name", model)
	}
	id, given := list.Take("id")
	if given {
		if err := qemuopts.CheckID(id); err != nil {
			return err
		}
	}
	serial, _ := list.Take("serial")
	bus, _ := list.Take("bus")
	name, ok := list.Take("drive")
	if !ok {
		return errors.New("drive property not set")
	}
	for _, p := range list {
		if !slices.Contains(harmlessProperties, p.Key) {
			return fmt.Errorf("Property '%s.%s' not found", model, p.Key)
		}
	}
	drive, err := s.driveFor(name)
	if err != nil {
		return err
	}
	path := names.path(id)
	if board == nil {
		return drive.Attach(path+passiveModels[model], nil)
	}
	return board.AddDisk(virt.Disk{Drive: drive, Bus: bus, ID: id, Serial: serial, Path: path})
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
