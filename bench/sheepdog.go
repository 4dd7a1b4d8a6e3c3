package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// sheepdogSize is how much data goes over a socket: the cluster holds it in memory.
const sheepdogSize = 128 << 20

// sheepdogRows compare a conversion into a disk on a Sheepdog cluster, served from this
// program, with QEMU's into a raw file: QEMU has no client any more.
func (b *bench) sheepdogRows() []row {
	raw := filepath.Join(b.dir, "sheepdog.raw")
	data := func() error {
		if _, err := os.Stat(raw); err == nil {
			return nil
		}
		return writeData(raw, min(b.size, sheepdogSize))
	}
	ours := func() (s sample, err error) {
		if err := data(); err != nil {
			return s, err
		}
		g, err := sheeptest.New(sheeptest.Config{}).Listen()
		if err != nil {
			return s, err
		}
		defer g.Kill()
		return command(b.qmon, "img", "convert", "-f", "raw", "-O", "raw", raw, "sheepdog:"+g.Addr()+":disk")
	}
	theirs := func() (sample, error) {
		out := raw + ".out"
		if err := errors.Join(data(), os.RemoveAll(out)); err != nil {
			return sample{}, err
		}
		return command("qemu-img", "convert", "-f", "raw", "-O", "raw", raw, out)
	}
	return []row{{"convert raw to sheepdog: (QEMU: raw)", ours, theirs}}
}
