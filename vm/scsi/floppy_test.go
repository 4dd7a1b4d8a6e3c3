package scsi_test

import (
	"encoding/hex"
	"testing"

	"github.com/qmon/qmon/vm/scsi"
)

// TestFloppyGeometry: the flexible disk page (SBC-4, annex; SFF-8070i) tells rate, heads, sectors
// and cylinders of the usual formats.
func TestFloppyGeometry(t *testing.T) {
	for size, want := range map[int]string{
		360 << 10:  "00fa020902000028",
		720 << 10:  "00fa020902000050",
		1200 << 10: "01f4020f02000050",
		1440 << 10: "01f4021202000050",
		2880 << 10: "03e8022402000050",
	} {
		b := newBench(t, scsi.Floppy, size)
		b.do(&scsi.Task{CDB: make([]byte, 16)}) // takes the attention
		page := make([]byte, 64)
		b.do(&scsi.Task{CDB: append(unhex(t, "1a080500ff00"), make([]byte, 10)...), In: [][]byte{page}})
		if got := hex.EncodeToString(page[4+2 : 4+2+8]); page[4] != 5 || got != want {
			t.Errorf("%d KiB: page %d, %s, want %s", size>>10, page[4], got, want)
		}
		capacities := make([]byte, 12)
		b.do(&scsi.Task{CDB: append(unhex(t, "23000000000000000c00"), make([]byte, 6)...), In: [][]byte{capacities}})
		sectors := int(capacities[4])<<24 | int(capacities[5])<<16 | int(capacities[6])<<8 | int(capacities[7])
		if sectors != size/512 || capacities[8] != 2 {
			t.Errorf("%d KiB: capacities %x", size>>10, capacities)
		}
	}
}
