package vvfat

import (
	"encoding/binary"
	"strings"
	"time"
)

// Attributes of a directory entry (fatgen: FAT 32 Byte Directory Entry Structure).
const (
	attrVolume  = 0x08
	attrFolder  = 0x10
	attrArchive = 0x20
	attrLong    = 0x0F // a piece of a long name
	attrMask    = 0x3F
)

const (
	// deletedMark and deletedEscape: a first byte of E5 marks a free entry; a name that
	// begins with that character has 05 there.
	deletedMark   = 0xE5
	deletedEscape = 0x05
	// lastLong marks the piece of a long name that comes first and holds its end.
	lastLong = 0x40
	// unitsPerLong is how many UTF-16 units one piece holds, at longOffsets.
	unitsPerLong = 13
	// maxFolderBytes is the largest directory (fatgen: 65536 entries).
	maxFolderBytes = 65536 * direntSize
)

// longOffsets is where the units of a piece of a long name are.
var longOffsets = [unitsPerLong]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// dirent is one file as a directory has it.
type dirent struct {
	long  string // "" if the short name says it all
	short shortName
	attr  byte
	first uint32
	size  uint32
	time  fatTime
}

// fatTime is a date, in the high half, and a time, in FAT's form: local time, seconds by two.
type fatTime uint32

// The years that FAT's dates reach.
const firstYear, lastYear = 1980, 2107

func newFATTime(t time.Time) fatTime {
	t = t.Local()
	switch {
	case t.Year() < firstYear:
		t = time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.Local)
	case t.Year() > lastYear:
		t = time.Date(lastYear, 12, 31, 23, 59, 58, 0, time.Local)
	}
	date := (t.Year()-firstYear)<<9 | int(t.Month())<<5 | t.Day()
	clock := t.Hour()<<11 | t.Minute()<<5 | t.Second()/2
	return fatTime(uint32(date)<<16 | uint32(clock))
}

// Time is the host's time; ok is false if the date is none.
func (f fatTime) Time() (t time.Time, ok bool) {
	date, clock := int(f>>16), int(f&0xFFFF)
	month, day := date>>5&15, date&31
	if month < 1 || month > 12 || day < 1 {
		return time.Time{}, false
	}
	return time.Date(firstYear+date>>9, time.Month(month), day, clock>>11, clock>>5&63, clock&31*2, 0, time.Local), true
}

// slots is how many entries a name takes.
func slots(long string) int {
	if long == "" {
		return 1
	}
	return 1 + ceilDiv(len(longUnits(long)), unitsPerLong)
}

// append adds the entry's bytes to p: the pieces of the long name, last first, then the
// short one.
func (d dirent) append(p []byte) []byte {
	if d.long != "" {
		p = appendLong(p, longUnits(d.long), d.short.checksum())
	}
	e := make([]byte, direntSize)
	le := binary.LittleEndian
	copy(e, d.short[:])
	if e[0] == deletedMark {
		e[0] = deletedEscape
	}
	e[11] = d.attr
	clock, date := uint16(d.time), uint16(d.time>>16)
	le.PutUint16(e[14:], clock)
	le.PutUint16(e[16:], date)
	le.PutUint16(e[18:], date)
	le.PutUint16(e[20:], uint16(d.first>>16))
	le.PutUint16(e[22:], clock)
	le.PutUint16(e[24:], date)
	le.PutUint16(e[26:], uint16(d.first))
	le.PutUint32(e[28:], d.size)
	return append(p, e...)
}

func appendLong(p []byte, units []uint16, sum byte) []byte {
	pieces := ceilDiv(len(units), unitsPerLong)
	for i := pieces; i >= 1; i-- {
		e := make([]byte, direntSize)
		e[0], e[11], e[13] = byte(i), attrLong, sum
		if i == pieces {
			e[0] |= lastLong
		}
		for k, at := range longOffsets {
			unit, pos := uint16(0xFFFF), (i-1)*unitsPerLong+k
			switch {
			case pos < len(units):
				unit = units[pos]
			case pos == len(units):
				unit = 0
			}
			binary.LittleEndian.PutUint16(e[at:], unit)
		}
		p = append(p, e...)
	}
	return p
}

// checksum ties the pieces of a long name to the short one (fatgen: ChkSum).
func (s shortName) checksum() (sum byte) {
	for _, c := range s {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// Windows NT's marks of short names in lower case, in the byte that fatgen reserves for it.
const lowerBase, lowerExt = 0x08, 0x10

// text is the short name as people write it; bytes past ASCII are of code page 437.
func (s shortName) text(marks byte) string {
	decode := func(part []byte, lower bool) string {
		var b strings.Builder
		for _, c := range part {
			if c < 0x80 {
				b.WriteByte(c)
			} else {
				b.WriteRune(codePage437[c-0x80])
			}
		}
		text := strings.TrimRight(b.String(), " ")
		if lower {
			text = strings.ToLower(text)
		}
		return text
	}
	name := decode(s[:8], marks&lowerBase != 0)
	if ext := decode(s[8:], marks&lowerExt != 0); ext != "" {
		name += "." + ext
	}
	return name
}

// codePage437 is the upper half of the code page that PCs begin with.
var codePage437 = []rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐" +
	"└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0")
