package system

import (
	"strings"
	"testing"
)

func TestDefaultConsoles(t *testing.T) {
	for line, want := range map[string]string{
		"":                                   "mon:stdio|",
		"-nographic":                         "mon:stdio|",
		"-nographic -serial null":            "null|stdio",
		"-nographic -monitor null":           "stdio|null",
		"-nographic -monitor stdio":          "stdio|stdio", // refused when it is opened, as in QEMU
		"-nographic -serial mon:stdio":       "mon:stdio|",
		"-monitor stdio":                     "null|stdio",
		"-serial stdio":                      "stdio|null",
		"-display none":                      "null|null",
		"-display none -serial stdio":        "stdio|null",
		"-nographic -nodefaults":             "|",
		"-chardev stdio,id=c -mon c":         "null|",
		"-nodefaults -serial mon:stdio":      "mon:stdio|",
		"-display none -monitor unix:/tmp/m": "null|unix:/tmp/m",
	} {
		o, err := parse("qmon", strings.Fields(line), nil)
		if err != nil {
			t.Fatal(err)
		}
		defaultConsoles(o)
		if got := strings.Join(o.serials, ",") + "|" + strings.Join(o.monitors, ","); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}
