package blockdev

// What a guest does to its CD drive happens to the host's, if that is what is in it, and
// what happens to the host's the guest sees.

// hostMedium is the drive of the host that v's bytes are in, nil if they are elsewhere.
func hostMedium(v *Vertex) HostMedium {
	if v == nil {
		return nil
	}
	for v.File() != nil {
		v = v.File()
	}
	m, _ := v.Node.(HostMedium)
	return m
}

// watchHost has the drive notice when v's medium comes and goes.
func (d *Drive) watchHost(v *Vertex) {
	m := hostMedium(v)
	if m == nil {
		return
	}
	m.Watch(func(present bool) {
		d.mu.Lock()
		if d.medium != v {
			d.mu.Unlock()
			return
		}
		d.changes++
		events := d.events
		d.mu.Unlock()
		if present {
			d.SetTray(false) // somebody has closed the host's
		}
		if events != nil {
			events.MediumChanged(present)
		}
	})
}

// MoveHostTray opens or closes the tray of the host's drive, where that is the medium:
// what a guest's eject does after SetTray. The monitor's does not; it lets go of the drive.
func (d *Drive) MoveHostTray(open bool) error {
	if m := hostMedium(d.Medium()); m != nil {
		return m.Eject(open)
	}
	return nil
}

// LockHostMedium is MoveHostTray for the guest's lock, after SetLocked.
func (d *Drive) LockHostMedium(on bool) error {
	if m := hostMedium(d.Medium()); m != nil {
		return m.Lock(on)
	}
	return nil
}

// isWholeDisk tells if v's bytes are on a whole disk of the host.
func isWholeDisk(v *Vertex) bool {
	for v.File() != nil {
		v = v.File()
	}
	disk, ok := v.Node.(HostDisk)
	return ok && disk.WholeDisk()
}

// DiskWarning is what a user should be told who opened v, "" for nothing.
func DiskWarning(v *Vertex) string {
	if !v.Mode().Writable || !isWholeDisk(v) {
		return ""
	}
	return "warning: '" + v.Filename + "' is a whole disk of this host and open for writing: what the host has on it\n" +
		"         is lost if both write. readonly=on or snapshot=on protects it."
}
