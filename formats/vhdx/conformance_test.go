package vhdx

import (
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/formattest"
)

func TestConformance(t *testing.T) {
	for name, options := range map[string]blockdev.Options{
		"default":    {},
		"dynamic 1M": {"block_size": "1M", "block_state_zero": "off"},
		"fixed":      {"subformat": "fixed", "block_size": "1M"},
		"long log":   {"block_size": "2M", "log_size": "3M"},
	} {
		t.Run(name, func(t *testing.T) {
			formattest.Run(t, formattest.Format{Driver: "vhdx", CreateOptions: options})
		})
	}
}
