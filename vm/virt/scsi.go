package virt

import (
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm/scsi"
	"github.com/qmon/qmon/vm/virtio"
)

// SCSIHost is a virtio-scsi device: -device virtio-scsi-device.
type SCSIHost struct {
	Bus string // "virtio-mmio-bus.0"; "" for the free slot of the highest address
	ID  string // the user's id, or ""
}

// SCSIUnit is a unit of a SCSI host: -device scsi-hd, -device scsi-cd.
type SCSIUnit struct {
	Drive     *blockdev.Drive
	Kind      scsi.Kind
	Removable bool   // of a disk
	Bus       string // "scsi0.0"; "" for that of the first host
	Target    int    // -1 for the lowest free one
	LUN       int
	ID        string // the user's id, or ""
	Serial    string
	Vendor    string
	Product   string
	Path      string // as in Disk
}

// AddSCSIHost puts a host into a slot; before Run.
func (b *Board) AddSCSIHost(h SCSIHost) error {
	slot, err := b.slot(h.Bus, "virtio-scsi-device")
	if err != nil {
		return err
	}
	bus := h.ID
	if bus == "" {
		bus = fmt.Sprintf("scsi%d", len(b.hosts))
	}
	host, err := virtio.NewSCSI(virtio.SCSIConfig{Machine: b.machine, Slot: slot, ID: h.ID, Bus: bus + ".0"})
	if err != nil {
		return err
	}
	b.hosts = append(b.hosts, host)
	b.machine.AddDevice(host)
	return nil
}

// HasSCSIHost tells if there is a host for units.
func (b *Board) HasSCSIHost() bool { return len(b.hosts) > 0 }

// AddSCSIUnit puts a unit on a host's bus. Before Run, or on the machine's goroutine.
func (b *Board) AddSCSIUnit(u SCSIUnit) error {
	host, err := b.host(u)
	if err != nil {
		return err
	}
	if u.Target < 0 {
		u.Target = host.FreeTarget()
	}
	_, err = host.AddUnit(scsi.Config{
		Drive: u.Drive, Kind: u.Kind, Removable: u.Removable,
		Address: scsi.Address{Target: u.Target, LUN: u.LUN},
		ID:      u.ID, Serial: u.Serial, Vendor: u.Vendor, Product: u.Product,
		Path: b.devicePath(u.Path, u.ID),
	})
	return err
}

// host finds the host with the bus that a unit is to be on.
func (b *Board) host(u SCSIUnit) (*virtio.SCSI, error) {
	for _, h := range b.hosts {
		if u.Bus == "" || h.Bus() == u.Bus {
			return h, nil
		}
	}
	if u.Bus != "" {
		return nil, fmt.Errorf("Bus '%s' not found", u.Bus)
	}
	model := "scsi-hd"
	if u.Kind == scsi.CDROM {
		model = "scsi-cd"
	}
	return nil, fmt.Errorf("No 'SCSI' bus found for device '%s'", model)
}
