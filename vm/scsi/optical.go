package scsi

import "encoding/binary"

// Commands of CD-ROM drives (MMC-6, chapter 6).

// maxCDBlocks is what fits a CD of 80 minutes; a larger medium is a DVD.
const maxCDBlocks = 80 * 60 * 75

// Profiles (MMC-6, 5.3.1).
const (
	profileNone = 0x0000
	profileCD   = 0x0008
	profileDVD  = 0x0010
)

func (u *Unit) profile() uint16 {
	switch n := u.blocks; {
	case n == 0:
		return profileNone
	case n <= maxCDBlocks:
		return profileCD
	}
	return profileDVD
}

// feature is a descriptor of GET CONFIGURATION: number, what stands in its head's third byte
// besides current, and data.
type feature struct {
	number uint16
	flags  byte
	data   []byte
}

const (
	featureCurrent    = 1
	featurePersistent = 2
)

// features of the drive, in order (MMC-6, 5.3).
func (u *Unit) features() []feature {
	profile := u.profile()
	entry := func(p uint16) []byte {
		b := binary.BigEndian.AppendUint16(nil, p)
		if p == profile {
			return append(b, featureCurrent, 0)
		}
		return append(b, 0, 0)
	}
	const persistent = featurePersistent | featureCurrent
	return []feature{
		{0x0000, persistent, append(entry(profileDVD), entry(profileCD)...)},
		// Core: over SCSI, INQUIRY as MMC wants it, device busy events.
		{0x0001, 2<<2 | persistent, []byte{0, 0, 0, 1, 1, 0, 0, 0}},
		// Removable medium: a tray, which can be locked, opened and shut.
		{0x0003, 2<<2 | persistent, []byte{0x39, 0, 0, 0}},
	}
}

// getConfiguration answers GET CONFIGURATION: features from a number on, all of them, those that
// are current, or just that one.
func (u *Unit) getConfiguration(t *Task) {
	which, from := t.CDB[1]&3, binary.BigEndian.Uint16(t.CDB[2:])
	if which == 3 {
		t.fail(senseBadField)
		return
	}
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b[6:], u.profile())
	for _, f := range u.features() {
		wanted := f.number >= from && (which == 0 || f.flags&featureCurrent != 0)
		if which == 2 {
			wanted = f.number == from
		}
		if wanted {
			b = binary.BigEndian.AppendUint16(b, f.number)
			b = append(append(b, f.flags, byte(len(f.data))), f.data...)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	t.reply(b, cdb(t.CDB).limit())
}

// Track and lead-out in a table of contents.
const (
	trackOne   = 1
	leadOut    = 0xaa
	trackFlags = 0x14 // position of Q channel, data track
	leadFlags  = 0x16
)

// readTOC answers READ TOC/PMA/ATIP for a medium of one session with one data track.
func (u *Unit) readTOC(t *Task) {
	minutes, format := t.CDB[1]&2 != 0, t.CDB[2]&0x0f
	if format == 0 {
		format = t.CDB[9] >> 6 // as drives before MMC-2 have it
	}
	address := func(lba uint64) []byte {
		if !minutes {
			return binary.BigEndian.AppendUint32(nil, uint32(lba))
		}
		lba += 2 * 75 // the first two seconds are before the data
		return []byte{0, byte(lba / 75 / 60), byte(lba / 75 % 60), byte(lba % 75)}
	}
	from := t.CDB[6]
	var b []byte
	switch {
	case format == 0 && (from <= trackOne || from == leadOut):
		b = []byte{0, 0, trackOne, trackOne}
		if from <= trackOne {
			b = append(append(b, 0, trackFlags, trackOne, 0), address(0)...)
		}
		b = append(append(b, 0, leadFlags, leadOut, 0), address(u.blocks)...)
	case format == 1: // sessions
		b = append([]byte{0, 0, 1, 1, 0, trackFlags, trackOne, 0}, address(0)...)
	case format == 2: // everything
		b = []byte{0, 0, 1, 1}
		point := func(what byte, pos []byte) {
			b = append(append(b, 1, trackFlags, 0, what, 0, 0, 0), pos...)
		}
		point(0xa0, []byte{0, trackOne, 0, 0})
		point(0xa1, []byte{0, trackOne, 0, 0})
		point(0xa2, address(u.blocks))
		point(trackOne, address(0))
	default:
		t.fail(senseBadField)
		return
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	t.reply(b, cdb(t.CDB).limit())
}

// discInformation answers READ DISC INFORMATION: a finished disc of one session.
func (u *Unit) discInformation(t *Task) {
	if t.CDB[1]&7 != 0 {
		t.fail(senseBadField)
		return
	}
	b := make([]byte, 34)
	b[1] = 32                // what follows
	b[2] = 0x0e              // complete, and so is its last session
	b[3], b[4] = trackOne, 1 // first track, sessions
	b[5], b[6] = trackOne, 1 // first and last track of the last session
	b[7] = 0x20              // may be used by anybody
	t.reply(b, cdb(t.CDB).limit())
}

// discStructure answers READ DISC STRUCTURE for DVDs: formats 0, physical, and 1, copyright.
func (u *Unit) discStructure(t *Task) {
	blocks := u.blocks
	format := t.CDB[7]
	switch {
	case blocks == 0:
		t.fail(senseNoMedium)
		return
	case blocks <= maxCDBlocks:
		t.fail(senseIncompatible)
		return
	case t.CDB[1]&0xf != 0 || t.CDB[6] != 0:
		t.fail(senseBadField)
		return
	}
	b := make([]byte, 4)
	switch format {
	case 0x00:
		layer := make([]byte, 2048)
		layer[0] = 1    // DVD-ROM, version 1
		layer[1] = 0x0f // 120 mm, as fast as can be
		layer[2] = 1    // one layer, read-only
		last := uint32(min(blocks-1, 0xffffff))
		binary.BigEndian.PutUint32(layer[8:], last)
		binary.BigEndian.PutUint32(layer[12:], last)
		b = append(b, layer...)
	case 0x01:
		b = append(b, 0, 0, 0, 0) // nothing is protected
	default:
		t.fail(senseBadField)
		return
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	t.reply(b, cdb(t.CDB).limit())
}

// mechanismStatus answers MECHANISM STATUS: nothing is played, one slot.
func (u *Unit) mechanismStatus(t *Task) {
	b := make([]byte, 8)
	b[5] = 1
	t.reply(b, cdb(t.CDB).limit())
}
