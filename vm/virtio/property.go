package virtio

import (
	"fmt"
	"strconv"

	"github.com/qmon/qmon/vm"
)

// The helpers below write property values as info qtree shows them.

func number(name string, v uint64) vm.Property {
	return vm.Property{Name: name, Value: fmt.Sprintf("%d (%#x)", v, v)}
}

// size is a number of bytes, given in units of 1024 as well.
func size(name string, v uint64) vm.Property {
	scaled, unit := float64(v), 0
	for scaled >= 1000 && unit < 6 {
		scaled /= 1024
		unit++
	}
	return vm.Property{Name: name, Value: fmt.Sprintf("%d (%.3g %s)", v, scaled,
		[]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}[unit])}
}

func text(name, v string) vm.Property { return vm.Property{Name: name, Value: strconv.Quote(v)} }

func boolean(name string, v bool) vm.Property {
	return vm.Property{Name: name, Value: strconv.FormatBool(v)}
}
