package blockdev_test

import (
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// TestNumbersAreThoseOfC takes the forms that QEMU takes.
func TestNumbersAreThoseOfC(t *testing.T) {
	table := blockdev.OptionTable{{Name: "u", Type: blockdev.OptInt}, {Name: "s", Type: blockdev.OptSigned}}
	for text, want := range map[string]int64{"16": 16, "+16": 16, "0x1b": 27, "0X0B": 11, "010": 8} {
		v, err := table.Parse(blockdev.Options{"u": text, "s": text})
		if err != nil || v["u"] != want || v["s"] != want {
			t.Errorf("%s: %v, %v", text, v, err)
		}
	}
	for _, text := range []string{"0b1", "0B1", "0o7", "-0O7", "1_6", "0x1_0", "ten", ""} {
		for _, name := range []string{"u", "s"} {
			_, err := table.Parse(blockdev.Options{name: text})
			if want := "Parameter '" + name + "' expects a number"; blockdev.Message(err) != want {
				t.Errorf("%q: %v, not %s", text, err, want)
			}
		}
	}
}
