package vmstate

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// The description that QEMU 7.2 wrote for its riscv virt machine has nothing in it that
// ours lacks, and comes out again as it went in.
func TestDescriptionOfRealMachine(t *testing.T) {
	text, err := os.ReadFile("testdata/vmdesc-virt-7.2.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var d Description
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(text, &a) != nil || json.Unmarshal(again, &b) != nil {
		t.Fatal("not JSON")
	}
	want, _ := json.Marshal(a)
	got, _ := json.Marshal(b)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	lengths := map[string]int64{"timer": 24, "cpu_common": 8, "fw_cfg": 6 + 1 + 1 + 10 + 4 + 8, "globalstate": 104}
	for _, s := range d.Devices {
		if want, ok := lengths[s.ID]; ok && s.length() != want {
			t.Errorf("%s: %d bytes, want %d", s.ID, s.length(), want)
		}
	}
}
