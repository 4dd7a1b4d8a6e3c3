package img

import (
	"strings"
	"testing"
)

// matrixImages has an image of every kind that QEMU writes, among those that formatFixtures
// and virtualMachineFixtures make.
var matrixImages = []string{
	"a.vdi", "d.vhd", "-f vpc fixed.vhd", "d.hds", "d.qed", "o.qed", "d.qcow", "o.qcow",
	"d.vhdx", "fixed.vhdx", "d.vmdk", "flat.vmdk", "split.vmdk", "stream.vmdk", "o.vmdk",
}

// matrixCommands are run on every one of them. The image takes the place of the @.
var matrixCommands = []string{
	"measure -O raw @", "measure -O qcow2 @", "measure --output=json -O qcow2 @",
	"snapshot -c x @", "snapshot -a x @", "snapshot -d x @", "snapshot -l @",
	"resize @ +1M; info @", "resize --shrink @ 1M", "resize --preallocation=falloc @ 9M",
	"amend -o size=1M @", "amend -o foo=1 @", "rebase -u -b d.raw -F raw @", "rebase -u -b '' @", "rebase -b d.raw -F raw @",
	"commit @", "commit -d @", "check @", "check -r all @", "check --output=json @", "bitmap --add @ b",
	"info @", "info --output=json @", "map @", "map --output=json @", "compare @ d.raw", "compare -s @ d.raw",
	"dd if=@ of=n bs=64k count=4 skip=3; compare -f raw n d.raw",
	"convert -O raw @ n; compare -f raw n d.raw", "convert -c -O qcow2 @ n; compare n d.raw",
	"convert -O qcow2 -l snap @ n",
}

func TestParityMatrix(t *testing.T) {
	var cases []string
	for _, image := range matrixImages {
		for _, c := range matrixCommands {
			cases = append(cases, strings.ReplaceAll(c, "@", image))
		}
	}
	runParity(t, append(formatFixtures, virtualMachineFixtures...), cases, matrixDifferences)
}

var matrixDifferences = map[string]string{}
