package system

import (
	"fmt"
	"io"

	"github.com/qmon/qmon/internal/release"
)

func printVersion(_ *options, _ string, out io.Writer) error {
	fmt.Fprintf(out, "QEMU emulator version %s (behaviour followed by qmon)\nqmon %s\n", release.QEMU, release.Version())
	return errDone
}

func printHelp(o *options, _ string, out io.Writer) error {
	fmt.Fprintf(out, "usage: %s [options] [disk_image]\n\n", o.program)
	for _, def := range optionTable {
		left := "-" + def.name
		if def.params != "" {
			left += " " + def.params
		}
		if len(left) > 23 {
			fmt.Fprintf(out, "%s\n%24s%s\n", left, "", def.help)
			continue
		}
		fmt.Fprintf(out, "%-23s %s\n", left, def.help)
	}
	fmt.Fprintf(out, "\nWithout a machine's firmware and kernel, OpenSBI and U-Boot are taken from where\n"+
		"Debian installs them; without them, and without any option, a built-in guest runs.\n"+
		"Other tools in this program: %s img --help\n", o.program)
	return errDone
}

func setDisplay(o *options, v string, _ io.Writer) error {
	if v != "none" {
		return fmt.Errorf("Parameter 'type' does not accept value '%s'", v)
	}
	o.display = v
	return nil
}
