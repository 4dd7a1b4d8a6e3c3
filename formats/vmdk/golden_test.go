package vmdk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// golden are images that QEMU made: testdata/vmdk/make.sh says how.
const golden = "../../testdata/vmdk"

func TestImagesMadeByQEMUReadTheSame(t *testing.T) {
	list, err := os.ReadFile(filepath.Join(golden, "contents.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		w := strings.Fields(line)
		t.Run(w[1], func(t *testing.T) {
			v := openFile(t, filepath.Join(golden, w[1]), false)
			defer unref(t, v)
			sum := sha256.Sum256(contents(t, v.Node))
			if got := hex.EncodeToString(sum[:]); got != w[0] {
				t.Errorf("checksum %s, want %s", got, w[0])
			}
		})
	}
}

// TestASplitDisk reads over the end of the first extent.
func TestASplitDisk(t *testing.T) {
	v := openFile(t, filepath.Join(golden, "split.vmdk"), false)
	defer unref(t, v)
	p := make([]byte, 3*createGrain)
	if _, err := v.Node.ReadAt(p, splitSize-2*createGrain); err != nil {
		t.Fatal(err)
	}
	want := append(make([]byte, createGrain), bytes.Repeat([]byte{5}, 2*createGrain)...)
	if v.Node.Size() != 2560<<20 || !bytes.Equal(p, want) {
		t.Errorf("%d bytes, not what was written", v.Node.Size())
	}
}

func TestNamesDoNotForgeTheDescriptor(t *testing.T) {
	o := createOptions{Tools: "1\"\nRW 1 FLAT \"/etc/passwd\" 0"}
	if err := o.normalize(blockdev.CreateRequest{Filename: "a.vmdk"}); err == nil {
		t.Error("a line end in an option was taken")
	}
	o = createOptions{}
	if err := o.normalize(blockdev.CreateRequest{Filename: "a\".vmdk"}); err == nil {
		t.Error("a quote in the name was taken")
	}
}
