package vmdk

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/internal/peer"
)

func TestWithQEMU(t *testing.T) {
	formattest.RunWithQEMU(t, formattest.Format{Driver: "vmdk"},
		"", "zeroed_grain=on", "adapter_type=lsilogic,compat6=on",
		"subformat=monolithicFlat", "subformat=twoGbMaxExtentSparse", "subformat=twoGbMaxExtentFlat")
}

func TestToolsSayAsQEMUs(t *testing.T) {
	peer.Need(t, "vmdkinfo")
	peer.SevenZip(t)
	formattest.RunTools(t, formattest.Tools{
		Driver: "vmdk",
		Options: []string{"", "zeroed_grain=on,adapter_type=buslogic", "hwversion=7,toolsversion=9",
			"subformat=monolithicFlat", "subformat=twoGbMaxExtentSparse", "subformat=twoGbMaxExtentFlat,compat6=on",
			"subformat=streamOptimized"},
		Other: readByOthers,
	})
}

// createType is what vmdkinfo says for each kind of image.
var createType = regexp.MustCompile(`Disk type:\s*(.*)`)

// readByOthers lets libvmdk and 7-Zip read an image of ours.
func readByOthers(t *testing.T, image string, want []byte) {
	t.Helper()
	info := createType.FindStringSubmatch(peer.Run(t, "vmdkinfo", image))
	if info == nil {
		t.Fatal("vmdkinfo does not know the image")
	}
	if strings.HasPrefix(info[1], "Stream") {
		return // 7-Zip wants a footer, QEMU's images have none either
	}
	got, err := exec.Command(peer.SevenZip(t), "e", "-so", "-tvmdk", image).Output()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("7z extracts something else: %v, %d bytes", err, len(got))
	}
}
