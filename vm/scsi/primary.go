package scsi

// Commands of all devices (SPC-5, chapter 6), and START STOP UNIT.

func (u *Unit) nothing(*Task) {}

// testUnitReady has had all its questions asked.
func (u *Unit) testUnitReady(*Task) {}

// requestSense gives what waits: a unit attention condition, else the last command's.
func (u *Unit) requestSense(t *Task) {
	if t.CDB[1]&1 != 0 { // descriptor format
		t.fail(senseBadField)
		return
	}
	s := u.takeAttention()
	if s == (Sense{}) {
		s, u.sense = u.sense, Sense{}
	}
	t.reply(s.Bytes(), cdb(t.CDB).limit())
}

// preventRemoval is the guest's lock (SPC-5, 6.16). It says nothing about a medium.
func (u *Unit) preventRemoval(t *Task) {
	if u.removable {
		on := t.CDB[4]&1 != 0
		u.drive.SetLocked(on)
		t.run = func() error { return u.drive.LockHostMedium(on) }
	}
}

// Bits of START STOP UNIT (SBC-4, 5.31).
const (
	startBit    = 1
	loadEject   = 2
	powerShift  = 4
	powerActive = 0
)

func (u *Unit) startStop(t *Task) {
	flags := t.CDB[4]
	if flags>>powerShift != powerActive || flags&loadEject == 0 || !u.removable {
		return
	}
	if flags&startBit != 0 {
		u.opened = false
		u.moveTray(t, false)
		return
	}
	if u.drive.Locked() && !u.drive.TrayOpen() {
		if u.drive.Medium() == nil {
			t.fail(senseNotReadyLocked)
		} else {
			t.fail(senseLocked)
		}
		return
	}
	u.opened, u.ejectAsked = true, false
	u.moveTray(t, true)
}

// moveTray also moves the tray of the host's drive, if that is what is in the guest's.
func (u *Unit) moveTray(t *Task, open bool) {
	u.drive.SetTray(open)
	t.run = func() error { return u.drive.MoveHostTray(open) }
}
