// Package traceopt reads what -T of QEMU's tools says:
//
//	[enable=]PATTERN    events, with * for any text
//	events=FILE         a pattern in every line; those with # are comments
//	file=FILE           where traces go
//
// There are no trace events here, which who names one is told, as with a QEMU that lacks it.
package traceopt

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/qemuopts"
)

// maxEvents bounds the file of patterns, in bytes: QEMU has some thousand events.
const maxEvents = 1 << 20

// Parse returns what to warn of.
func Parse(s string) (warnings []string, err error) {
	given := map[string]string{}
	for _, p := range qemuopts.Parse(s, "enable") {
		if p.Key != "enable" && p.Key != "events" && p.Key != "file" {
			return nil, fmt.Errorf("Invalid parameter '%s'", p.Key)
		}
		given[p.Key] = p.Value // the last one counts
	}
	if pattern, ok := given["enable"]; ok {
		warnings = missing(warnings, "", pattern)
	}
	name, ok := given["events"]
	if !ok {
		return warnings, nil
	}
	patterns, err := read(name)
	for i, pattern := range patterns {
		if pattern != "" && pattern[0] != '#' {
			warnings = missing(warnings, fmt.Sprintf("%s:%d: ", name, i+1), pattern)
		}
	}
	return warnings, err
}

func read(name string) (patterns []string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", name, blockdev.Message(err))
	}
	defer func() { _ = f.Close() }()                     // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxEvents+1)) // a device has no size to ask for
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %s", name, blockdev.Message(err))
	case len(b) > maxEvents:
		return nil, fmt.Errorf("%s: File too large", name)
	}
	return strings.Split(string(b), "\n"), nil
}

// missing says that there is no such event, unless the pattern is one for any number.
func missing(warnings []string, place, pattern string) []string {
	event, off := strings.CutPrefix(pattern, "-")
	if off && event == "" {
		event = pattern
	}
	if strings.Contains(event, "*") || event == "help" || event == "?" {
		return warnings
	}
	return append(warnings, fmt.Sprintf("%swarning: trace event '%s' does not exist", place, event))
}
