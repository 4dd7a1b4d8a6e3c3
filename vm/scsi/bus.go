package scsi

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Bus is the units that a host reaches. It belongs to the machine's goroutine.
type Bus struct{ units []*Unit }

// Add puts a unit at its address.
func (b *Bus) Add(u *Unit) error {
	if b.Unit(u.address.Target, u.address.LUN) != nil {
		return fmt.Errorf("lun already used by '%s'", u.id)
	}
	b.units = append(b.units, u)
	return nil
}

// Units are those on the bus, in the order they were added.
func (b *Bus) Units() []*Unit { return slices.Clone(b.units) }

// Unit is the unit at an address, nil for none.
func (b *Bus) Unit(target, lun int) *Unit {
	for _, u := range b.units {
		if u.address.Target == target && u.address.LUN == lun {
			return u
		}
	}
	return nil
}

// LUNs are the units of a target, in order.
func (b *Bus) LUNs(target int) []int {
	var luns []int
	for _, u := range b.units {
		if u.address.Target == target {
			luns = append(luns, u.address.LUN)
		}
	}
	slices.Sort(luns)
	return luns
}

// FreeTarget is the lowest target without units.
func (b *Bus) FreeTarget() int {
	for n := 0; ; n++ {
		if len(b.LUNs(n)) == 0 {
			return n
		}
	}
}

// Start begins a command to a target that has units: done tells if the answer is there
// already. If it is not, the unit's Finish has to be called after Run.
func (b *Bus) Start(target, lun int, t *Task) (u *Unit, done bool) {
	if t.CDB[0] == opReportLUNs {
		reportLUNs(t, b.LUNs(target))
		return nil, true
	}
	if u = b.Unit(target, lun); u != nil {
		return u, u.Start(t)
	}
	noUnit(t)
	return nil, true
}

// reportLUNs answers REPORT LUNS (SPC-5, 6.33), which all units of a target do alike.
func reportLUNs(t *Task, luns []int) {
	limit := cdb(t.CDB).limit()
	if t.CDB[2] > 2 || limit < 16 {
		t.fail(senseBadField)
		return
	}
	if luns[0] != 0 {
		luns = append([]int{0}, luns...) // there is always a LUN 0
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(8*len(luns)))
	b = append(b, 0, 0, 0, 0)
	for _, n := range luns {
		if n < 256 {
			b = append(b, 0, byte(n)) // peripheral device addressing (SAM-5, 4.7.7.2)
		} else {
			b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(n)) // flat space addressing
		}
		b = append(b, 0, 0, 0, 0, 0, 0)
	}
	t.reply(b, limit)
}

// noUnit answers a command to a LUN that is not there, at a target that is (SPC-5, 6.6.2).
func noUnit(t *Task) {
	switch t.CDB[0] {
	case opInquiry:
		b := make([]byte, inquirySize)
		b[0] = 0x7f // no device here
		t.reply(b, cdb(t.CDB).limit())
	case opRequestSense:
		t.reply(senseNoUnit.Bytes(), cdb(t.CDB).limit())
	default:
		t.fail(senseNoUnit)
	}
}
