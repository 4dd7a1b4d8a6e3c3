package vdi_test

import (
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/formattest"
	_ "github.com/qmon/qmon/formats/vdi"
)

func TestConformance(t *testing.T) {
	for name, o := range map[string]blockdev.Options{"dynamic": {}, "static": {"static": "on"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			formattest.Run(t, formattest.Format{Driver: "vdi", CreateOptions: o})
		})
	}
}

// TestCrash accepts a count of blocks that is too large: it is written before the map, so
// that nobody takes a block twice.
func TestCrash(t *testing.T) {
	formattest.RunCrash(t, formattest.Format{Driver: "vdi"}, func(f blockdev.Finding) bool {
		return strings.Contains(f.Text, "allocated blocks mismatch")
	})
}

func TestWithQEMU(t *testing.T) {
	formattest.RunWithQEMU(t, formattest.Format{Driver: "vdi"}, "", "static=on", "static=on,preallocation=full")
}

func TestImagesMadeByQEMU(t *testing.T) { formattest.RunGolden(t, "vdi") }
