package virt

import (
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

const ubootPrompt = "\n=> "

// debianBoot is OpenSBI and U-Boot as Debian installs them.
func debianBoot(t *testing.T) Boot {
	t.Helper()
	return Boot{
		Firmware: readImage(t, peer.NeedFile(t, firmwarePaths...)),
		Kernel:   readImage(t, peer.NeedFile(t, kernelPaths...)),
	}
}

func readImage(t *testing.T, path string) *Image {
	t.Helper()
	image, err := ReadImage(path)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestUBootReachesItsPrompt(t *testing.T) {
	_, c := start(t, Config{Boot: debianBoot(t)})
	c.expect(t, "autoboot")
	c.input(" ")
	c.expect(t, ubootPrompt)
	if got := c.command(t, "bdinfo", ubootPrompt); !strings.Contains(got, "0x0000000080000000") {
		t.Errorf("bdinfo does not show the RAM:\n%s", got)
	}
}
