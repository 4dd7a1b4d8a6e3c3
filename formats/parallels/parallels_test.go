package parallels_test

import (
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/formattest"
	_ "github.com/qmon/qmon/formats/parallels"
)

func TestConformance(t *testing.T) {
	for name, o := range map[string]blockdev.Options{
		"default":        {},
		"small clusters": {"cluster_size": "512"},
		"odd clusters":   {"cluster_size": "64512"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			formattest.Run(t, formattest.Format{Driver: "parallels", CreateOptions: o})
		})
	}
}

// TestCrash accepts that an image in use at the time of the crash was not closed.
func TestCrash(t *testing.T) {
	for _, cluster := range []string{"1M", "4k"} {
		f := formattest.Format{Driver: "parallels", Size: 2<<20 + 512, CreateOptions: blockdev.Options{"cluster_size": cluster}}
		formattest.RunCrash(t, f, func(f blockdev.Finding) bool {
			return strings.Contains(f.Text, "not closed correctly")
		})
	}
}

func TestImagesMadeByQEMU(t *testing.T) { formattest.RunGolden(t, "parallels") }

func TestWithQEMU(t *testing.T) {
	formattest.RunWithQEMU(t, formattest.Format{Driver: "parallels"}, "", "cluster_size=64k", "cluster_size=63k", "cluster_size=512")
}
