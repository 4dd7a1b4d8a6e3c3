// Package linuxguest finds the Linux for riscv64 that tests and benchmarks boot, and a kernel
// of Debian's for amd64. build.sh makes the one from Debian's source packages, debian.sh
// unpacks the other; both stay in the user's cache.
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
	dir, err := cached("linux-"+key(), "build.sh")
	if err != nil {
		return Guest{}, err
	}
	return Guest{
		Image:     filepath.Join(dir, "Image"),
		Initramfs: filepath.Join(dir, "initramfs.cpio.gz"),
		Root:      filepath.Join(dir, "root.ext4"),
	}, nil
}

// Debian is files of Debian's kernel for amd64.
type Debian struct {
	Kernel string // as -kernel takes it
	NBD    string // its module nbd
}

// FindDebian gives the kernel that debian.sh has unpacked.
func FindDebian() (Debian, error) {
	dir, err := cached("debian-amd64", "debian.sh")
	if err != nil {
		return Debian{}, err
	}
	return Debian{Kernel: filepath.Join(dir, "vmlinuz"), NBD: filepath.Join(dir, "nbd.ko")}, nil
}

// cached is a directory in the user's cache that script makes.
func cached(name, script string) (string, error) {
	cache, ok := os.LookupEnv("XDG_CACHE_HOME")
	if !ok || cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(cache, "qmon", name)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%w; internal/linuxguest/%s makes it", err, script)
	}
	return dir, nil
}

// key names what the guest is built from, as build.sh does.
func key() string {
	h := sha256.New()
	for _, part := range [][]byte{build, kernelConfig, busyboxConfig, initScript} {
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
