package vmdk

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

const (
	sectorSize = 512
	// maxDescriptor is how long a descriptor may be: 20 sectors are usual, and the lines of
	// maxExtents extents fit.
	maxDescriptor = 1 << 20
	// maxExtents is how many extents a disk may have: 8 TiB in pieces of 2 GiB. Each is an
	// open file.
	maxExtents = 4096
	// noParent is the parent CID of a disk without a parent.
	noParent = 0xffffffff
)

// descriptorMagic is how the descriptor begins, in any case and after blank lines.
const descriptorMagic = "# Disk DescriptorFile"

// descriptor is the text that describes a disk, section "The Descriptor File".
type descriptor struct {
	text       string
	cid        uint32
	parentCID  uint32
	createType string
	parent     string // file name of the parent, "" for none
	extents    []extentLine
}

// extentLine is one line of the extent description.
type extentLine struct {
	access  string
	sectors int64
	kind    string
	file    string
	offset  int64 // sectors, of flat extents
}

// parseDescriptor reads the text, which ends at its first zero byte.
func parseDescriptor(b []byte, name string) (*descriptor, error) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	d := &descriptor{text: string(b), parentCID: noParent}
	var haveCID bool
	for line := range strings.Lines(d.text) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.ContainsAny(key, "# ") {
			haveCID = d.setField(strings.TrimSpace(key), unquote(strings.TrimSpace(value))) || haveCID
			continue
		}
		e, ok, err := parseExtentLine(line, name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if d.extents = append(d.extents, e); len(d.extents) > maxExtents {
			return nil, blockdev.Errorf(blockdev.ErrLimit, "open", name, "VMDK descriptor has more than %d extents", maxExtents)
		}
	}
	if !haveCID {
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VMDK descriptor has no CID")
	}
	return d, nil
}

// setField takes a field over, and tells if it was the CID.
func (d *descriptor) setField(key, value string) bool {
	switch key {
	case "CID":
		n, err := strconv.ParseUint(value, 16, 32)
		d.cid = uint32(n)
		return err == nil
	case "parentCID":
		if n, err := strconv.ParseUint(value, 16, 32); err == nil {
			d.parentCID = uint32(n)
		}
	case "createType":
		d.createType = value
	case "parentFileNameHint":
		d.parent = value
	}
	return false
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// accesses are the first words of extent lines.
var accesses = []string{"RW", "RDONLY", "NOACCESS"}

// parseExtentLine reads `RW 4192256 SPARSE "disk-s001.vmdk"`; ok is false for other lines.
func parseExtentLine(line, name string) (e extentLine, ok bool, err error) {
	invalid := blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "Invalid extent line: %s", line)
	head, rest, quoted := strings.Cut(line, `"`)
	w := strings.Fields(head)
	if len(w) == 0 || !contains(accesses, w[0]) {
		return e, false, nil
	}
	if len(w) != 3 {
		return e, false, invalid
	}
	e.access, e.kind = w[0], w[2]
	if e.sectors, err = strconv.ParseInt(w[1], 10, 64); err != nil || e.sectors <= 0 || e.sectors > blockdev.MaxSize/sectorSize {
		return e, false, invalid
	}
	if quoted {
		file, tail, closed := strings.Cut(rest, `"`)
		if !closed || file == "" {
			return e, false, invalid
		}
		e.file = file
		// Flat extents, and they alone, say where in their file they begin.
		t := strings.Fields(tail)
		if (len(t) > 0) != (e.kind == kindFlat) {
			return e, false, invalid
		}
		if len(t) > 0 {
			if e.offset, err = strconv.ParseInt(t[0], 10, 64); err != nil || e.offset < 0 || e.offset > blockdev.MaxSize/sectorSize-e.sectors {
				return e, false, invalid
			}
		}
	}
	if e.kind != kindZero && e.file == "" {
		return e, false, invalid
	}
	return e, true, nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// withCID is the text with another CID. It is no shorter, so that it can be written over
// the old one: a line that said more is filled up with blanks.
func (d *descriptor) withCID(cid uint32) string {
	lines := strings.SplitAfter(d.text, "\n")
	for i, l := range lines {
		if key, _, ok := strings.Cut(l, "="); ok && strings.TrimSpace(key) == "CID" {
			was := strings.TrimRight(l, "\r\n")
			lines[i] = fmt.Sprintf("%-*s", len(was), fmt.Sprintf("CID=%08x", cid)) + l[len(was):]
			break
		}
	}
	return strings.Join(lines, "")
}

// isDescriptor tells if head, the first bytes of a file, begins a descriptor: comments and
// blank lines may come before the version.
func isDescriptor(head []byte) bool {
	if i := bytes.IndexByte(head, 0); i >= 0 {
		head = head[:i]
	}
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
		default:
			v := string(line)
			return v == "version=1" || v == "version=2" || v == "version=3"
		}
	}
	return false
}
