package scsi

import "encoding/binary"

// Peripheral device types (SPC-5, table 151).
const (
	typeDisk  = 0x00
	typeCDROM = 0x05
)

func (u *Unit) deviceType() byte {
	if u.kind == CDROM {
		return typeCDROM
	}
	return typeDisk
}

// inquirySize is the length of standard INQUIRY data up to the revision.
const inquirySize = 36

// inquiry answers INQUIRY (SPC-5, 6.6).
func (u *Unit) inquiry(t *Task) {
	page, vital := t.CDB[2], t.CDB[1]&1 != 0
	limit := cdb(t.CDB).limit()
	if vital {
		data, ok := u.vitalPage(page)
		if !ok {
			t.fail(senseBadField)
			return
		}
		b := append([]byte{u.deviceType(), page, 0, 0}, data...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(data)))
		t.reply(b, limit)
		return
	}
	if page != 0 {
		t.fail(senseBadField)
		return
	}
	b := make([]byte, inquirySize)
	b[0] = u.deviceType()
	if u.removable {
		b[1] = 0x80
	}
	b[2] = 5    // SPC-3
	b[3] = 0x12 // the format of these data; LUNs are hierarchical
	b[4] = inquirySize - 5
	b[7] = 0x12 // command queuing; synchronous transfers
	pad(b[8:16], u.vendor)
	pad(b[16:32], u.product)
	pad(b[32:36], "2.5+")
	t.reply(b, limit)
}

// pad writes s with spaces behind it.
func pad(b []byte, s string) {
	for i := copy(b, s); i < len(b); i++ {
		b[i] = ' '
	}
}

// Pages of vital product data (SPC-5, 7.7; SBC-4, 6.6).
const (
	vpdPages          = 0x00
	vpdSerial         = 0x80
	vpdIdentification = 0x83
	vpdLimits         = 0xb0
	vpdCharacteristic = 0xb1
	vpdProvisioning   = 0xb2
)

// maxIdentifier is the length at which names in vital product data are cut off.
const maxIdentifier = 36

func (u *Unit) vitalPage(page byte) ([]byte, bool) {
	optical := u.kind == CDROM
	switch {
	case page == vpdPages:
		return u.vitalPages(), true
	case page == vpdSerial && u.serial != "":
		return []byte(u.serial[:min(len(u.serial), maxIdentifier)]), true
	case page == vpdIdentification:
		return u.identification(), true
	case page == vpdLimits && !optical:
		return u.limits(), true
	case page == vpdCharacteristic && !optical:
		return make([]byte, 60), true // a rotation rate that is not reported
	case page == vpdProvisioning && !optical:
		// UNMAP, WRITE SAME (16) and (10) give back storage; thin provisioning.
		return []byte{0, 0xe0, 2, 0}, true
	}
	return nil, false
}

func (u *Unit) vitalPages() []byte {
	b := []byte{vpdPages}
	if u.serial != "" {
		b = append(b, vpdSerial)
	}
	b = append(b, vpdIdentification)
	if u.kind != CDROM {
		b = append(b, vpdLimits, vpdCharacteristic, vpdProvisioning)
	}
	return b
}

// identification is one designator: the serial number, or the drive's name.
func (u *Unit) identification() []byte {
	name := u.serial
	if name == "" {
		name = u.drive.Name()
	}
	name = name[:min(len(name), maxIdentifier)]
	// Code set ASCII; of the logical unit, vendor specific (SPC-5, 7.7.6).
	return append([]byte{2, 0, 0, byte(len(name))}, name...)
}

// Limits that the page of block limits tells, in blocks.
const (
	maxTransferBlocks = 1<<22 - 1 // what fits 2 GiB less one block
	maxUnmapBlocks    = 1 << 21
	maxUnmapSegments  = 255
	unmapGranularity  = 8
)

func (u *Unit) limits() []byte {
	const head = 4 // offsets are those of the standard, with the page's head
	b := make([]byte, 64)
	be := binary.BigEndian
	b[4] = 1 // WRITE SAME must say how many blocks
	be.PutUint32(b[8:], maxTransferBlocks)
	be.PutUint32(b[20:], maxUnmapBlocks)
	be.PutUint32(b[24:], maxUnmapSegments)
	be.PutUint32(b[28:], unmapGranularity)
	be.PutUint64(b[36:], maxTransferBlocks)
	return b[head:]
}
