package qcow2_test

import (
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/formattest"
	_ "github.com/qmon/qmon/formats/qcow2"
)

func TestEncryptedImagesMadeByQEMU(t *testing.T) {
	formattest.RunGoldenIn(t, "qcow2", "encrypted", blockdev.Values{"encrypt.key-secret": "qcow2-test"})
}

func TestConformance(t *testing.T) {
	for name, o := range map[string]blockdev.Options{
		"default":         {},
		"version 2":       {"compat": "v2"},
		"small clusters":  {"cluster_size": "512", "refcount_bits": "64"},
		"large clusters":  {"cluster_size": "2M", "refcount_bits": "8"},
		"lazy refcounts":  {"lazy_refcounts": "on", "cluster_size": "4k"},
		"narrow refcount": {"refcount_bits": "4", "cluster_size": "1k"},
		"subclusters":     {"extended_l2": "on", "cluster_size": "16k"},
		"password AES":    {"encrypt.format": "aes", "encrypt.key-secret": "qcow2-test", "cluster_size": "4k"},
		"LUKS":            {"encrypt.format": "luks", "encrypt.key-secret": "qcow2-test", "encrypt.iter-time": "0"},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "lazy refcounts" {
				t.Skip("one is enough for the race detector")
			}
			t.Parallel()
			formattest.Run(t, formattest.Format{Driver: "qcow2", CreateOptions: o, OpenOptions: blockdev.Options{"encrypt.key-secret": "qcow2-test"}})
		})
	}
}
