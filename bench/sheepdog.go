package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// sheepdogSize is how much data goes over a socket: the cluster inside this program holds it
// in memory.
const sheepdogSize = 128 << 20

// sheepdogRows compare conversions into and out of a disk on a Sheepdog cluster with QEMU's
// into and out of a raw file: QEMU has no client any more. The cluster is served from this
// program, and is one real daemon where SHEEP_BIN names it.
func (b *bench) sheepdogRows() []row {
	inside := func() (string, func(), error) {
		g, err := sheeptest.New(sheeptest.Config{}).Listen()
		if err != nil {
			return "", nil, err
		}
		return g.Addr(), g.Kill, nil
	}
	rows := b.sheepdogPair("sheepdog:", inside)
	if !sheeptest.HaveDaemons() {
		return rows
	}
	daemon := func() (string, func(), error) {
		dir, err := os.MkdirTemp(b.dir, "sheep")
		if err != nil {
			return "", nil, err
		}
		d, err := sheeptest.StartDaemons(context.Background(), dir, 1)
		if err != nil {
			return "", nil, err
		}
		return d.Addr(0), func() { d.Stop(); _ = os.RemoveAll(dir) }, nil
	}
	return append(rows, b.sheepdogPair("sheepdog: (sheep)", daemon)...)
}

// sheepdogPair is the rows about one kind of cluster, which start makes: it returns the
// address and how to stop it.
func (b *bench) sheepdogPair(what string, start func() (addr string, stop func(), err error)) []row {
	raw := filepath.Join(b.dir, "sheepdog.raw")
	data := func() error {
		if _, err := os.Stat(raw); err == nil {
			return nil
		}
		return writeData(raw, min(b.size, sheepdogSize))
	}
	convert := func(program []string, from, to string) (sample, error) {
		return command(program[0], append(program[1:], "convert", "-f", "raw", "-O", "raw", from, to)...)
	}
	// onCluster has the data on a disk of a cluster, and measures getting it there, or back.
	onCluster := func(back bool) (s sample, err error) {
		if err := data(); err != nil {
			return s, err
		}
		addr, stop, err := start()
		if err != nil {
			return s, err
		}
		defer stop()
		disk := "sheepdog:" + addr + ":disk"
		s, err = convert([]string{b.qmon, "img"}, raw, disk)
		if err == nil && back {
			s, err = convert([]string{b.qmon, "img"}, disk, raw+".out")
		}
		return s, err
	}
	theirs := func() (sample, error) {
		out := raw + ".out"
		if err := errors.Join(data(), os.RemoveAll(out)); err != nil {
			return sample{}, err
		}
		return convert([]string{"qemu-img"}, raw, out)
	}
	return []row{
		{"convert raw to " + what, func() (sample, error) { return onCluster(false) }, theirs},
		{"convert " + what + " to raw", func() (sample, error) { return onCluster(true) }, theirs},
	}
}
