package scsi

import "encoding/binary"

// Mode pages (SPC-5, 7.5; SBC-4, 6.5; MMC-6, 7.2).
const (
	pageRecovery     = 0x01
	pageGeometry     = 0x04
	pageFlexibleDisk = 0x05
	pageCaching      = 0x08
	pageAudio        = 0x0e
	pageCapabilities = 0x2a
	pageAll          = 0x3f
)

// What MODE SENSE may ask for: in the two top bits of byte 2.
const (
	currentValues = iota
	changeableValues
	defaultValues
	savedValues
)

// modePage makes the contents of a page, without its head. Changeable values are bits: those
// that MODE SELECT can change.
type modePage struct {
	number byte
	on     func(Kind) bool
	make   func(u *Unit, control byte) []byte
}

func onDisks(k Kind) bool   { return k != CDROM }
func onOptical(k Kind) bool { return k == CDROM }
func onAll(Kind) bool       { return true }

// modePages in the order of page 3f.
var modePages = []modePage{
	{pageRecovery, onAll, (*Unit).recoveryPage},
	{pageGeometry, onDisks, fixed((*Unit).geometryPage)},
	{pageFlexibleDisk, onDisks, fixed((*Unit).flexibleDiskPage)},
	{pageCaching, onAll, (*Unit).cachingPage},
	{pageAudio, onOptical, fixed(func(*Unit) []byte { return make([]byte, 14) })},
	{pageCapabilities, onOptical, fixed((*Unit).capabilitiesPage)},
}

// pageHead is the length of a page's head: number and length. Offsets in pages count from it, as
// those of the standards do.
const pageHead = 2

// fixed is a page of which nothing can be changed.
func fixed(contents func(*Unit) []byte) func(*Unit, byte) []byte {
	return func(u *Unit, control byte) []byte {
		b := contents(u)
		if control == changeableValues {
			clear(b)
		}
		return b
	}
}

func (u *Unit) recoveryPage(control byte) []byte {
	b := make([]byte, 10)
	if control == changeableValues {
		return b
	}
	b[0] = 0x80 // bad blocks are replaced on writes
	if u.kind == CDROM {
		b[1] = 0x20 // retries
	}
	return b
}

// geometryPage is the rigid disk geometry page.
func (u *Unit) geometryPage() []byte {
	g := u.geometry()
	b := make([]byte, pageHead+22)
	put24 := func(at, v int) { b[at], b[at+1], b[at+2] = byte(v>>16), byte(v>>8), byte(v) }
	put24(2, g.cylinders)
	b[5] = byte(g.heads)
	put24(6, g.cylinders) // write precompensation starts behind the last one
	put24(9, g.cylinders)
	binary.BigEndian.PutUint16(b[12:], 200) // step rate, ns
	put24(14, 0xffffff)                     // landing zone
	binary.BigEndian.PutUint16(b[20:], g.rpm)
	return b[pageHead:]
}

func (u *Unit) flexibleDiskPage() []byte {
	g := u.geometry()
	b := make([]byte, pageHead+30)
	be := binary.BigEndian
	be.PutUint16(b[2:], g.rate)
	b[4], b[5] = byte(g.heads), byte(g.sectors)
	be.PutUint16(b[6:], diskBlock)
	be.PutUint16(b[8:], uint16(g.cylinders))
	be.PutUint16(b[10:], uint16(g.cylinders)) // write precompensation
	be.PutUint16(b[12:], uint16(g.cylinders)) // reduced write current
	be.PutUint16(b[14:], 1)                   // step rate, 100 us
	b[16] = 1                                 // step pulse width
	be.PutUint16(b[17:], 1)                   // head settle delay
	b[19], b[20] = 1, 1                       // motor on and off delay
	be.PutUint16(b[28:], g.rpm)
	return b[pageHead:]
}

// writeCacheBit is in the first byte of the caching page.
const writeCacheBit = 4

func (u *Unit) cachingPage(control byte) []byte {
	b := make([]byte, 18)
	if control == changeableValues || control == defaultValues || u.writeback {
		b[0] = writeCacheBit
	}
	return b
}

// capabilitiesPage is the page of MM capabilities and mechanical status.
func (u *Unit) capabilitiesPage() []byte {
	b := make([]byte, pageHead+20)
	be := binary.BigEndian
	b[2] = 0x3b // reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM, by fixed packets
	b[4] = 0x7f // audio, composite, digital ports, mode 2 forms, multi-session
	b[5] = 0xff // CD-DA, R-W, C2 pointers, ISRC, UPC, bar codes
	b[6] = 0x2d // tray, ejects, locks; the state of the lock
	if u.drive.Locked() {
		b[6] |= 2
	}
	be.PutUint16(b[8:], 50*176) // the fastest it reads, kB/s
	be.PutUint16(b[10:], 2)     // volume levels
	be.PutUint16(b[12:], 2048)  // buffer, KiB
	be.PutUint16(b[14:], 16*176)
	be.PutUint16(b[18:], 16*176)
	be.PutUint16(b[20:], 16*176)
	return b[pageHead:]
}

// modeSense answers MODE SENSE (6) and (10) (SPC-5, 6.13).
func (u *Unit) modeSense(t *Task) {
	page, control := t.CDB[2]&0x3f, t.CDB[2]>>6
	if control == savedValues {
		t.fail(senseNoSavedPages)
		return
	}
	long := t.CDB[0] == opModeSense10
	blocks := t.CDB[1]&8 == 0 && u.kind != CDROM
	b := u.modeHead(long, blocks)
	head := len(b)
	for _, p := range modePages {
		if p.on(u.kind) && (page == pageAll || page == p.number) {
			contents := p.make(u, control)
			b = append(b, p.number, byte(len(contents)))
			b = append(b, contents...)
		}
	}
	if len(b) == head {
		t.fail(senseBadField)
		return
	}
	if long {
		binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	} else {
		b[0] = byte(len(b) - 1)
	}
	t.reply(b, cdb(t.CDB).limit())
}

// writeProtectBit is in the device-specific parameter of the head.
const writeProtectBit = 0x80

// modeHead is the head of mode parameters, with a block descriptor if asked for (SPC-5, 7.5.5).
func (u *Unit) modeHead(long, blocks bool) []byte {
	var specific byte
	if u.kind != CDROM && u.drive.ReadOnly() {
		specific = writeProtectBit
	}
	n := u.blocks
	descriptor := byte(0)
	if blocks && n > 0 {
		descriptor = 8
	}
	b := []byte{0, 0, specific, descriptor}
	if long {
		b = []byte{0, 0, 0, specific, 0, 0, 0, descriptor}
	}
	if descriptor == 0 {
		return b
	}
	if n > 0xffffff {
		n = 0
	}
	return append(b, 0, byte(n>>16), byte(n>>8), byte(n), 0, 0, diskBlock>>8, diskBlock&0xff)
}

// modeSelect takes mode parameters over, all of them or none (SPC-5, 6.11). The write cache is
// all that can be changed.
func (u *Unit) modeSelect(t *Task) {
	n := cdb(t.CDB).limit()
	if n == 0 {
		return
	}
	if t.CDB[1]&0x11 != 0x10 { // page format; nothing can be saved
		t.fail(senseBadField)
		return
	}
	p := t.fetch(n)
	if p == nil {
		return
	}
	head, descriptor := 4, 0
	if t.CDB[0] == opModeSelect10 {
		head = 8
	}
	if len(p) < head {
		t.fail(senseParameterLength)
		return
	}
	if descriptor = int(p[head-1]); head == 8 {
		descriptor = int(binary.BigEndian.Uint16(p[6:]))
	}
	if len(p) < head+descriptor {
		t.fail(senseParameterLength)
		return
	}
	if descriptor != 0 && descriptor != 8 {
		t.fail(senseBadParameter)
		return
	}
	writeback, s := u.selectPages(p[head+descriptor:])
	if s != (Sense{}) {
		t.fail(s)
		return
	}
	u.setWriteCache(t, writeback)
}

// selectPages looks at pages that are to be taken over, and returns what is to become of the
// write cache.
func (u *Unit) selectPages(p []byte) (writeback bool, s Sense) {
	writeback = u.writeback
	for len(p) > 0 {
		if len(p) < 2 || len(p) < 2+int(p[1]) {
			return false, senseParameterLength
		}
		number, contents := p[0], p[2:2+int(p[1])]
		p = p[2+int(p[1]):]
		known := false
		for _, m := range modePages {
			if m.number != number || !m.on(u.kind) {
				continue
			}
			known = true
			if s := u.acceptable(m, contents); s != (Sense{}) {
				return false, s
			}
			if number == pageCaching {
				writeback = contents[0]&writeCacheBit != 0
			}
		}
		if !known {
			return false, senseBadParameter
		}
	}
	return writeback, Sense{}
}

// acceptable checks that a page changes only what can be changed.
func (u *Unit) acceptable(m modePage, contents []byte) Sense {
	current, mask := m.make(u, currentValues), m.make(u, changeableValues)
	if len(contents) != len(current) {
		return senseBadParameter
	}
	for i := range contents {
		if (contents[i]^current[i])&^mask[i] != 0 {
			return senseBadParameter
		}
	}
	return Sense{}
}

// setWriteCache switches the cache; when it goes off, what is in it is written.
func (u *Unit) setWriteCache(t *Task, on bool) {
	was := u.writeback
	u.writeback = on
	if was && !on && u.blocks > 0 {
		t.Writes = true
		t.run = u.medium.Flush
	}
}
