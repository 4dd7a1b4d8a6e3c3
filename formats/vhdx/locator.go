package vhdx

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/parent"
)

// Section 2.6.2.6: the parent locator.
const (
	locatorHeaderSize = 20
	locatorEntrySize  = 12
	offLocatorCount   = 18
	// maxLocator bounds what is read of one, bytes: lengths in it have 16 bits, and a few
	// paths are all that it holds.
	maxLocator = 256 * kib
)

// locatorVHDX is the type of a locator whose parent is a VHDX, section 2.6.2.6.1.
var locatorVHDX = mustGUID("B04AEFB7-D19E-4A81-B789-25B8E9445913")

// locator says which image is the parent, and where it may be.
type locator struct {
	linkages []guid // the parent's DataWriteGuid is one of these
	name     string // of its file, "" if no key has one
}

// decodeLocator reads a parent locator. Its values are UTF-16, little-endian.
func decodeLocator(b []byte, name string) (*locator, error) {
	corrupt := func() error {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VHDX parent locator is damaged")
	}
	if len(b) < locatorHeaderSize {
		return nil, corrupt()
	}
	if guid(b) != locatorVHDX {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "open", name, "VHDX parent of an unknown type")
	}
	n := int(binary.LittleEndian.Uint16(b[offLocatorCount:]))
	if n > (len(b)-locatorHeaderSize)/locatorEntrySize {
		return nil, corrupt()
	}
	values := map[string]string{}
	for i := range n {
		e := b[locatorHeaderSize+i*locatorEntrySize:]
		le := binary.LittleEndian
		key, ok1 := utf16At(b, le.Uint32(e), le.Uint16(e[8:]))
		value, ok2 := utf16At(b, le.Uint32(e[4:]), le.Uint16(e[10:]))
		if !ok1 || !ok2 {
			return nil, corrupt()
		}
		values[key] = value
	}
	l := &locator{name: parent.WindowsName(values["relative_path"], values["absolute_win32_path"], values["volume_path"])}
	for _, key := range []string{"parent_linkage", "parent_linkage2"} {
		if id, ok := parseGUID(strings.Trim(values[key], "{}")); ok {
			l.linkages = append(l.linkages, id)
		}
	}
	if len(l.linkages) == 0 {
		return nil, corrupt()
	}
	return l, nil
}

// utf16At decodes n bytes at off.
func utf16At(b []byte, off uint32, n uint16) (string, bool) {
	if uint64(off)+uint64(n) > uint64(len(b)) || n%2 != 0 {
		return "", false
	}
	u := make([]uint16, n/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[int(off)+2*i:])
	}
	return string(utf16.Decode(u)), true
}
