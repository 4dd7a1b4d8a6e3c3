package img

import (
	"slices"
	"strings"
	"testing"
)

// matrixImages has an image of every kind that QEMU writes, among those that formatFixtures
// and virtualMachineFixtures make.
var matrixImages = []string{
	"a.vdi", "d.vdi", "d.vhd", "-f vpc fixed.vhd", "d.hds", "d.qed", "o.qed", "d.qcow", "o.qcow", "c.qcow",
	"d.vhdx", "fixed.vhdx", "d.vmdk", "flat.vmdk", "split.vmdk", "stream.vmdk", "o.vmdk",
}

// matrixCommands are cases that each of them goes through. The image takes the place of the @.
var matrixCommands = []string{
	"info @; info --output=json @; check @; check --output=json @; snapshot -l @; compare @ d.raw; compare -s @ d.raw",
	"map @; map --output=json @",
	"amend -o size=1M @; amend -o foo=1 @",
	"dd if=@ of=n bs=64k count=4 skip=3; compare -f raw n d.raw; convert -O raw @ n; compare -f raw n d.raw;" +
		"convert -c -O qcow2 @ n; compare n d.raw; convert -O qcow2 -l snap @ n",
	"snapshot -c x @; snapshot -a x @; snapshot -d x @; resize --shrink @ 1M; resize --preallocation=falloc @ 9M; resize @ +1M; info @",
	"rebase -b d.raw -F raw @; rebase -u -b d.raw -F raw @; rebase -u -b '' @; info @",
	"check -r leaks @; check -r all @; commit @",
}

func TestParityMatrix(t *testing.T) {
	var cases []string
	for _, image := range matrixImages {
		for _, c := range matrixCommands {
			cases = append(cases, strings.ReplaceAll(c, "@", image))
		}
	}
	runParity(t, slices.Concat(formatFixtures, virtualMachineFixtures), cases, matrixDifferences)
}

// matrixDifferences are those of the cases that differ on purpose.
var matrixDifferences = map[string]string{
	"map d.vhdx; map --output=json d.vhdx":                      whereVHDX,
	"map fixed.vhdx; map --output=json fixed.vhdx":              whereVHDX,
	"check -r leaks o.vmdk; check -r all o.vmdk; commit o.vmdk": "the reason is said: the parent cannot become longer",
}

const whereVHDX = "QEMU does not say where data lies"
