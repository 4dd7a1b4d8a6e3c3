package qed_test

import (
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/formattest"
	_ "github.com/qmon/qmon/formats/qed"
)

func TestConformance(t *testing.T) {
	for name, o := range map[string]blockdev.Options{
		"default":       {},
		"small":         {"cluster_size": "4k", "table_size": "1"},
		"large cluster": {"cluster_size": "1M", "table_size": "1"},
		"large table":   {"cluster_size": "4k", "table_size": "16"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			formattest.Run(t, formattest.Format{Driver: "qed", CreateOptions: o})
		})
	}
}

func TestCrash(t *testing.T) {
	for _, cluster := range []string{"4k", "64k"} {
		formattest.RunCrash(t, formattest.Format{Driver: "qed", Size: 2<<20 + 512,
			CreateOptions: blockdev.Options{"cluster_size": cluster, "table_size": "1"}}, nil)
	}
}

func TestImagesMadeByQEMU(t *testing.T) { formattest.RunGolden(t, "qed") }

// TestWithQEMU leaves tables of one cluster out: QEMU 7.2 makes them, and refuses them.
func TestWithQEMU(t *testing.T) {
	formattest.RunWithQEMU(t, formattest.Format{Driver: "qed"}, "", "cluster_size=4k", "cluster_size=4k,table_size=2", "cluster_size=2M,table_size=2")
}
