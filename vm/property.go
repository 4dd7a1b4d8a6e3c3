package vm

import (
	"fmt"
	"strconv"
)

// The functions below make properties with values as info qtree shows them.

// Number is a property that counts something.
func Number(name string, v uint64) Property {
	return Property{Name: name, Value: fmt.Sprintf("%d (%#x)", v, v)}
}

// Bytes is a number of bytes, given in units of 1024 as well.
func Bytes(name string, v uint64) Property {
	scaled, unit := float64(v), 0
	for scaled >= 1000 && unit < 6 {
		scaled /= 1024
		unit++
	}
	return Property{Name: name, Value: fmt.Sprintf("%d (%.3g %s)", v, scaled,
		[]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}[unit])}
}

// Text is a property of words.
func Text(name, v string) Property { return Property{Name: name, Value: strconv.Quote(v)} }

// Boolean is a property that is so or not.
func Boolean(name string, v bool) Property {
	return Property{Name: name, Value: strconv.FormatBool(v)}
}
