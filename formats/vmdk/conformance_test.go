package vmdk

import (
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/formattest"
)

func TestConformance(t *testing.T) {
	for name, options := range map[string]blockdev.Options{
		"default":      {},
		"zeroed grain": {"zeroed_grain": "on"},
	} {
		t.Run(name, func(t *testing.T) {
			formattest.Run(t, formattest.Format{Driver: "vmdk", CreateOptions: options})
		})
	}
}

func TestACrashLeaksAtWorst(t *testing.T) {
	formattest.RunCrash(t, formattest.Format{Driver: "vmdk"}, nil)
}
