package qcow2

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSetExtension(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds []uint32 // before, with the kind as data
		data  []byte   // to set for kind 1
		want  []uint32 // after
	}{
		{"added in front", []uint32{2, 3}, []byte{9}, []uint32{1, 2, 3}},
		{"replaced where it is", []uint32{2, 1, 3}, []byte{9}, []uint32{2, 1, 3}},
		{"all of the kind replaced", []uint32{2, 1, 1, 3, 1}, []byte{9}, []uint32{2, 1, 3}},
		{"removed", []uint32{1, 2, 1}, nil, []uint32{2}},
		{"removed, not there", []uint32{2}, nil, []uint32{2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &header{}
			for _, k := range c.kinds {
				h.extensions = append(h.extensions, extension{k, []byte{byte(k)}})
			}
			h.setExtension(1, c.data)
			var got []uint32
			for _, e := range h.extensions {
				got = append(got, e.kind)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.data, h.extensionData(1)); diff != "" {
				t.Errorf("data (-want +got)\n%s", diff)
			}
		})
	}
}

// TestLastExtensionCounts shows what QEMU makes of an image with two of a kind.
func TestLastExtensionCounts(t *testing.T) {
	h := &header{extensions: []extension{{extBackingFormat, []byte("qcow2")}, {extBackingFormat, []byte("raw")}}}
	if got := h.backingFormat(); got != "raw" {
		t.Errorf("backing format %q, want raw", got)
	}
}

func TestFeatureNames(t *testing.T) {
	padded := append([]byte("\x00\x3fTest feature"), make([]byte, featureEntrySize-14)...)
	for _, c := range []struct {
		name  string
		table []byte
		mask  uint64
		want  string
	}{
		{"no table", nil, 1 << 63, "Unknown incompatible feature: 8000000000000000"},
		{"a whole entry", padded, 1 << 63, "Test feature"},
		{"an entry that stops behind its name", padded[:14], 1 << 63, "Test feature"},
		{"another bit too", padded[:14], 3 << 62, "Test feature, Unknown incompatible feature: 4000000000000000"},
	} {
		h := &header{extensions: []extension{{extFeatureNames, c.table}}}
		if got := h.featureNames(c.mask); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
