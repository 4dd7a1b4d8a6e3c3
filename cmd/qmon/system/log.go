package system

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/qmon/qmon/vm"
)

// setLogItems is the setter of -d.
func setLogItems(o *options, v string, out io.Writer) error {
	if v == "help" || v == "?" {
		fmt.Fprintln(out, "Log items (comma separated):")
		for _, i := range vm.LogItems {
			fmt.Fprintf(out, "%-15s %s\n", i.Name, i.Help)
		}
		return errDone
	}
	if (&vm.Log{}).Enable(strings.Split(v, ",")) != nil {
		return errors.New("unknown log item; -d help lists them")
	}
	o.logItems = v
	return nil
}

// startLog applies -d and -D.
func startLog(o *options, log *vm.Log) error {
	if o.logFile != "" {
		if err := log.SetFile(o.logFile); err != nil {
			return err
		}
	}
	if o.logItems == "" {
		return nil
	}
	return log.Enable(strings.Split(o.logItems, ","))
}
