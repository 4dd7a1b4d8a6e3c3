package scsi

import "github.com/qmon/qmon/vm"

// Description is the unit as info qtree shows it on its bus. (A vm.Described would be shown
// beside it.)
func (u *Unit) Description() vm.Description {
	quoted := func(name string) vm.Property { return vm.Text(name, "auto") }
	d := vm.Description{Type: "scsi-hd", ID: u.id}
	if u.kind == CDROM {
		d.Type = "scsi-cd"
	}
	d.Properties = []vm.Property{
		vm.Text("drive", u.drive.Name()),
		quoted("backend_defaults"),
		vm.Bytes("logical_block_size", diskBlock),
		vm.Bytes("physical_block_size", diskBlock),
		vm.Bytes("min_io_size", 0),
		vm.Bytes("opt_io_size", 0),
		vm.Bytes("discard_granularity", unmapGranularity*diskBlock),
		quoted("write-cache"),
		vm.Boolean("share-rw", false),
		quoted("account-invalid"),
		quoted("account-failed"),
		quoted("rerror"),
		quoted("werror"),
		vm.Text("ver", "2.5+"),
		vm.Text("serial", u.serial),
		vm.Text("vendor", u.vendor),
		vm.Text("product", u.product),
		vm.Text("device_id", u.drive.Name()),
	}
	if u.kind != CDROM {
		u.look()
		g := u.geometry()
		d.Properties = append(d.Properties,
			vm.Boolean("removable", u.removable),
			vm.Boolean("dpofua", false),
			vm.Number("wwn", 0),
			vm.Number("max_unmap_size", maxUnmapBlocks*diskBlock),
			vm.Number("max_io_size", 1<<31-1),
			vm.Number("rotation_rate", 0),
			vm.Number("scsi_version", 5),
			vm.Number("cyls", uint64(g.cylinders)),
			vm.Number("heads", uint64(g.heads)),
			vm.Number("secs", uint64(g.sectors)),
		)
	}
	d.Properties = append(d.Properties,
		vm.Number("channel", uint64(u.address.Channel)),
		vm.Number("scsi-id", uint64(u.address.Target)),
		vm.Number("lun", uint64(u.address.LUN)),
	)
	return d
}
