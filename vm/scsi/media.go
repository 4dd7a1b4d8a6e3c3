package scsi

import "github.com/qmon/qmon/vm"

// Media events (MMC-6, 6.7.2.6).
const (
	eventNone          = 0
	eventEjectAsked    = 1
	eventNewMedium     = 2
	eventMediumRemoved = 3
)

// The class of media events, as a number and as a bit in lists of classes.
const (
	mediaClass    = 4
	mediaClassBit = 1 << mediaClass
)

// eventStatus answers GET EVENT STATUS NOTIFICATION, polled; each event is told once.
func (u *Unit) eventStatus(t *Task) {
	if t.CDB[1]&1 == 0 { // without being polled an answer would have to wait
		t.fail(senseBadField)
		return
	}
	if t.CDB[4]&mediaClassBit == 0 {
		t.reply([]byte{0, 0, 0x80, mediaClassBit}, cdb(t.CDB).limit()) // no such event
		return
	}
	var status byte
	if u.drive.TrayOpen() {
		status = 1
	}
	if u.blocks > 0 {
		status |= 2
	}
	t.reply([]byte{0, 4, mediaClass, mediaClassBit, u.takeEvent(), status, 0, 0}, cdb(t.CDB).limit())
}

func (u *Unit) takeEvent() byte {
	e := u.mediaEvent
	u.mediaEvent = eventNone
	if e == eventNone && u.ejectAsked {
		u.ejectAsked = false
		return eventEjectAsked
	}
	return e
}

// MediumChanged implements blockdev.DriveEvents.
func (u *Unit) MediumChanged(loaded bool) {
	u.machine.Post(func() { u.mediumChanged(loaded) })
}

// mediumChanged tells the guest that the medium is another: first that the old one is gone, then
// that there is a new one. A guest that opened the tray itself knows the former.
func (u *Unit) mediumChanged(loaded bool) {
	u.medium = u.drive.Loaded()
	if !loaded && u.opened {
		return
	}
	u.opened, u.ejectAsked, u.replaced = false, false, loaded
	u.mediaEvent = eventMediumRemoved
	if loaded {
		u.mediaEvent = eventNewMedium
	}
	u.attend(attentionMediumRemoved)
}

// TrayMoved implements blockdev.DriveEvents: the console hears of it, whoever moved it.
func (u *Unit) TrayMoved(open bool) {
	u.machine.Post(func() {
		u.machine.Announce(vm.Event{Kind: vm.EventTrayMoved, Device: u.drive.Name(), Open: open})
	})
}

// EjectRequested implements blockdev.DriveEvents: the guest is asked to give the medium up.
func (u *Unit) EjectRequested(bool) {
	u.machine.Post(func() { u.ejectAsked = true })
}

// Resized implements blockdev.DriveEvents.
func (u *Unit) Resized() {
	u.machine.Post(func() {
		u.attend(attentionCapacityChanged)
		if u.changed != nil {
			u.changed()
		}
	})
}
