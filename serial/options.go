package serial

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/qmon/qmon/internal/qemuopts"
)

// splitOptions reads a -chardev string. The first option, if it has no "=", is the value of
// first.
func splitOptions(s, first string) qemuopts.List {
	list := qemuopts.Parse(s, first)
	for i, o := range list {
		switch o.Short { // whose "no" belongs to the name
		case "delay":
			list[i].Key, list[i].Value = "nodelay", "off"
		case "nodelay":
			list[i].Key, list[i].Value = "nodelay", "on"
		}
	}
	return list
}

// chardevOptions are all the keys that a -chardev may have, whatever its backend.
var chardevOptions = []string{
	"id", "backend", "path", "host", "port", "localaddr", "localport", "to", "ipv4", "ipv6",
	"wait", "server", "nodelay", "delay", "reconnect", "telnet", "tn3270", "tls-creds",
	"tls-authz", "websocket", "width", "height", "cols", "rows", "mux", "signal", "name",
	"debug", "size", "chardev", "append", "logfile", "logappend", "mouse", "clipboard",
	"fd", "abstract", "tight",
}

// optionSet is a list of options being read into a Config. The first error stays.
type optionSet struct {
	opts qemuopts.List
	err  error
}

func (s *optionSet) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// checkKeys refuses options that no character device has.
func (s *optionSet) checkKeys() {
	for _, o := range s.opts {
		if !slices.Contains(chardevOptions, o.Key) {
			s.fail("Invalid parameter '%s'", o.Key)
			return
		}
	}
}

// get returns the last value of a key.
func (s *optionSet) get(key string) (string, bool) { return s.opts.Get(key) }

func (s *optionSet) str(key string) string {
	v, _ := s.get(key)
	return v
}

func (s *optionSet) toggle(key string, def bool) bool {
	v, given := s.get(key)
	switch {
	case !given:
		return def
	case v != "on" && v != "off":
		s.fail("Parameter '%s' expects 'on' or 'off'", key)
	}
	return v == "on"
}

func (s *optionSet) number(key string) int64 {
	v, given := s.get(key)
	if !given {
		return 0
	}
	n, err := strconv.ParseInt(v, 0, 64)
	if err != nil {
		s.fail("Parameter '%s' expects a number", key)
	}
	return n
}

// sizeUnits are the suffixes of sizes, by powers of 1024.
const sizeUnits = "kMGTPE"

func (s *optionSet) size(key string, def int64) int64 {
	v, given := s.get(key)
	if !given {
		return def
	}
	digits := strings.TrimRight(v, "bB"+sizeUnits+strings.ToUpper(sizeUnits))
	shift := 0
	if suffix := v[len(digits):]; suffix != "" {
		unit := strings.IndexByte(strings.ToLower(sizeUnits), strings.ToLower(suffix)[0])
		shift = 10 * (unit + 1)
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || len(v)-len(digits) > 1 || bits.Len64(n)+shift > 63 {
		s.fail("Parameter '%s' expects a non-negative number below 2^64\n"+
			"Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"+
			"and exabytes, respectively.", key)
		return def
	}
	return int64(n) << shift
}

// warnings names the deprecated spellings among the options, in QEMU's words.
func (s *optionSet) warnings() []string {
	var w []string
	for _, o := range s.opts {
		if o.Short != "" {
			w = append(w, fmt.Sprintf("short-form boolean option '%s' deprecated\nPlease use %s=%s instead",
				o.Short, o.Key, o.Value))
		}
	}
	return w
}
