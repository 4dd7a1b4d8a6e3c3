package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Header extension types, section "Header extensions".
const (
	extEnd           = 0x00000000
	extBackingFormat = 0xe2792aca
	extFeatureNames  = 0x6803f857
	extBitmaps       = 0x23852875
	extCrypto        = 0x0537be77
	extDataFile      = 0x44415441
	extHeaderSize    = 8
)

// extension is one header extension; those of unknown type are kept as they are.
type extension struct {
	kind uint32
	data []byte
}

// decodeExtensions reads the extensions in cluster[start:end].
func decodeExtensions(cluster []byte, start, end int64, name string) ([]extension, error) {
	var out []extension
	for off := start; off < end; {
		if off+extHeaderSize > end {
			return nil, headerError(name, off, "Header extension too large")
		}
		kind := binary.BigEndian.Uint32(cluster[off:])
		size := int64(binary.BigEndian.Uint32(cluster[off+4:]))
		if size > end-off-extHeaderSize {
			return nil, headerError(name, off+4, "Header extension too large")
		}
		if kind == extEnd {
			break
		}
		data := cluster[off+extHeaderSize : off+extHeaderSize+size]
		out = append(out, extension{kind, append([]byte(nil), data...)})
		off += extHeaderSize + (size+7)&^7
	}
	return out, nil
}

// appendExtensions appends the encoded extensions and the end marker to b, padded to 8
// bytes each. The feature name table, which only serves error messages, is left out if the
// result would be longer than limit; without it ok tells if the rest fits.
func appendExtensions(b []byte, list []extension, limit int) (_ []byte, ok bool) {
	total := len(b) + extHeaderSize
	for _, e := range list {
		total += extHeaderSize + (len(e.data)+7)&^7
	}
	for _, e := range list {
		if e.kind == extFeatureNames && total > limit {
			total -= extHeaderSize + (len(e.data)+7)&^7
			continue
		}
		b = binary.BigEndian.AppendUint32(b, e.kind)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.data)))
		b = append(b, e.data...)
		b = append(b, make([]byte, -len(e.data)&7)...)
	}
	return append(b, make([]byte, extHeaderSize)...), total <= limit
}

// extensionData finds an extension; nil if there is none. Of several of a kind, which no
// writer should leave, the last counts, as with QEMU.
func (h *header) extensionData(kind uint32) []byte {
	for _, e := range slices.Backward(h.extensions) {
		if e.kind == kind {
			return e.data
		}
	}
	return nil
}

// setExtension replaces, adds (in front, where QEMU writes its own) or, with nil data,
// removes all extensions of a kind.
func (h *header) setExtension(kind uint32, data []byte) {
	ofKind := func(e extension) bool { return e.kind == kind }
	at := max(0, slices.IndexFunc(h.extensions, ofKind))
	h.extensions = slices.DeleteFunc(slices.Clone(h.extensions), ofKind)
	if data != nil {
		h.extensions = slices.Insert(h.extensions, at, extension{kind, data})
	}
}

// backingFormat is the recorded format of the backing file, "" if none.
func (h *header) backingFormat() string { return string(h.extensionData(extBackingFormat)) }

// dataFile is the recorded name of the external data file, "" if none.
func (h *header) dataFile() string { return string(h.extensionData(extDataFile)) }

// Feature bitmaps, section "Feature name table".
const (
	featureIncompatible = 0
	featureCompatible   = 1
	featureAutoclear    = 2
	featureEntrySize    = 48
)

// featureTable is the feature name table that new images get, the same as QEMU's.
func featureTable() []byte {
	var b []byte
	for _, f := range []struct {
		kind, bit byte
		name      string
	}{
		{featureIncompatible, 0, "dirty bit"},
		{featureIncompatible, 1, "corrupt bit"},
		{featureIncompatible, 2, "external data file"},
		{featureIncompatible, 3, "compression type"},
		{featureIncompatible, 4, "extended L2 entries"},
		{featureCompatible, 0, "lazy refcounts"},
		{featureAutoclear, 0, "bitmaps"},
		{featureAutoclear, 1, "raw external data"},
	} {
		entry := make([]byte, featureEntrySize)
		entry[0], entry[1] = f.kind, f.bit
		copy(entry[2:], f.name)
		b = append(b, entry...)
	}
	return b
}

// featureNames names the given incompatible features from the image's own table; those
// not in it are given as a mask.
func (h *header) featureNames(mask uint64) string {
	var names []string
	// The last entry may stop behind its name.
	table := append(slices.Clone(h.extensionData(extFeatureNames)), make([]byte, featureEntrySize-1)...)
	for ; len(table) >= featureEntrySize; table = table[featureEntrySize:] {
		bit := uint64(1) << (table[1] & 63)
		if table[0] != featureIncompatible || mask&bit == 0 {
			continue
		}
		name, _, _ := bytes.Cut(table[2:featureEntrySize], []byte{0})
		names = append(names, string(name))
		mask &^= bit
	}
	if mask != 0 {
		names = append(names, fmt.Sprintf("Unknown incompatible feature: %x", mask))
	}
	return strings.Join(names, ", ")
}
