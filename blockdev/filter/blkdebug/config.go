package blkdebug

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// A config file, in the form of QEMU's -readconfig:
//
//	# comment
//	[inject-error]
//	event = "l2_load"
//	errno = "28"

// maxConfig is how long a config file may be, in bytes: rules are written by hand.
const maxConfig = 1 << 20

var (
	sectionLine = regexp.MustCompile(`^\[([^\]"\s]+)(?: "[^"]*")?\]$`)
	settingLine = regexp.MustCompile(`^\s*([^\s=]+)\s*=\s*"([^"]*)"`)
)

// readConfig reads the rules of a file.
func readConfig(name string) ([]*rule, error) {
	sections, err := readSections(name)
	if err != nil {
		return nil, err
	}
	var rules []*rule
	for _, s := range sections {
		kind, err := group(s.name)
		if err != nil {
			return nil, err
		}
		r, err := newRule(kind, s.options)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

type section struct {
	name    string
	options blockdev.Options
}

func readSections(name string) ([]section, error) {
	text, err := readLimited(name)
	if err != nil {
		return nil, err
	}
	var out []section
	lines := bufio.NewScanner(strings.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		if m := sectionLine.FindStringSubmatch(line); m != nil {
			out = append(out, section{m[1], blockdev.Options{}})
			continue
		}
		if len(out) == 0 {
			return nil, invalid("no group defined")
		}
		m := settingLine.FindStringSubmatch(line)
		if m == nil {
			return nil, invalid("%s:%d: parse error", name, number)
		}
		out[len(out)-1].options[m[1]] = m[2]
	}
	return out, lines.Err()
}

func readLimited(name string) (string, error) {
	info, err := os.Stat(name)
	var text []byte
	if err == nil && info.Size() > maxConfig {
		return "", blockdev.Errorf(blockdev.ErrLimit, "open", name, "blkdebug config file is longer than %d bytes", maxConfig)
	}
	if err == nil {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return "", &blockdev.Error{Op: "open", File: name, Offset: blockdev.NoOffset, Text: "Could not read blkdebug config file", Err: err}
	}
	return string(text), nil
}
