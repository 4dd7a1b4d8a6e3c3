package qcow_test

import (
	"strings"
	"testing"

	"github.com/qmon/qmon/formats/formattest"
	_ "github.com/qmon/qmon/formats/qcow"
	"github.com/qmon/qmon/internal/peer"
)

func TestConformance(t *testing.T) { formattest.Run(t, formattest.Format{Driver: "qcow"}) }

func TestCrash(t *testing.T) {
	formattest.RunCrash(t, formattest.Format{Driver: "qcow", Size: 2<<20 + 512}, nil)
}

func TestImagesMadeByQEMU(t *testing.T) { formattest.RunGolden(t, "qcow") }

func TestWithQEMU(t *testing.T) { formattest.RunWithQEMU(t, formattest.Format{Driver: "qcow"}, "") }

// TestQcowInfoAgrees lets libqcow look at an image.
func TestQcowInfoAgrees(t *testing.T) {
	out := peer.Run(t, "qcowinfo", "../../testdata/qcow/qemu-img.qcow")
	if !strings.Contains(out, "204800 bytes") || !strings.Contains(out, "Format version\t\t: 1") {
		t.Errorf("qcowinfo:\n%s", out)
	}
}
