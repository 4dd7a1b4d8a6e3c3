// Package linuxguest finds the Linux for riscv64 that tests and benchmarks boot. build.sh
// makes it from Debian's source packages and keeps it in the user's cache.
package linuxguest

import (
	"crypto/sha256"
	_ "embed" // for what the guest is built from
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// Guest is the files of a built guest.
type Guest struct {
	Image     string // the kernel, as -kernel takes it
	Initramfs string // gzipped cpio: a shell on the console
	Root      string // the same as an ext4 image, to be copied before it is written to
}

//go:embed build.sh
var build []byte

//go:embed kernel.config
var kernelConfig []byte

//go:embed busybox.config
var busyboxConfig []byte

//go:embed init
var initScript []byte

// Find gives the guest that build.sh, as it is now, has built.
func Find() (Guest, error) {
	cache, ok := os.LookupEnv("XDG_CACHE_HOME")
	if !ok || cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Guest{}, err
		}
		cache = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(cache, "qmon", "linux-"+key())
	if _, err := os.Stat(dir); err != nil {
		return Guest{}, fmt.Errorf("%w; internal/linuxguest/build.sh makes it", err)
	}
	return Guest{
		Image:     filepath.Join(dir, "Image"),
		Initramfs: filepath.Join(dir, "initramfs.cpio.gz"),
		Root:      filepath.Join(dir, "root.ext4"),
	}, nil
}

// key names what the guest is built from, as build.sh does.
func key() string {
	h := sha256.New()
	for _, part := range [][]byte{build, kernelConfig, busyboxConfig, initScript} {
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
