package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// imageRows compare the other commands of qemu-img with those of qmon img.
func (b *bench) imageRows() []row {
	return append(b.randomRows(),
		b.repeated("info, 20 times", 20, b.needChain, "info", "--backing-chain", b.chainLink(chainLength-1)),
		b.repeated("map of a chain of 5", 1, b.needChain, "map", "--output=json", b.chainLink(chainLength-1)),
		b.repeated("check of a million clusters", 1, b.needMillion, "check", b.million()),
		b.snapshotRow("snapshot -c beside 100 snapshots", "-c", "-d"),
		b.snapshotRow("snapshot -d beside 100 snapshots", "-d", "-c"),
	)
}

// repeated is a row about a command of the image tool that is run several times in each
// sample, because it is short.
func (b *bench) repeated(name string, times int, setUp func() error, args ...string) row {
	side := func(argv ...string) func() (sample, error) {
		return func() (sample, error) {
			if err := setUp(); err != nil {
				return sample{}, err
			}
			var sum sample
			for range times {
				s, err := command(argv[0], append(argv[1:], args...)...)
				if err != nil {
					return sample{}, err
				}
				sum.wall += s.wall
				sum.cpu += s.cpu
				sum.memory = max(sum.memory, s.memory)
			}
			return sum, nil
		}
	}
	return row{name, side(b.qmon, "img"), side("qemu-img")}
}

// randomRows are about requests of 4 KiB all over an image without holes. The command has no
// random offsets: a large odd number of blocks from one to the next comes by every block.
func (b *bench) randomRows() []row {
	words := filepath.Join(b.dir, "words.raw")
	var rows []row
	for _, format := range []string{"raw", "qcow2"} {
		image := filepath.Join(b.dir, "random."+format)
		setUp := func() error {
			return errors.Join(b.makeImages(), once(image, "qemu-img", "convert", "-f", "raw", "-O", format, words, image))
		}
		for _, kind := range []string{"read", "write"} {
			for _, depth := range []string{"1", "64"} {
				args := []string{"bench", "-f", format, "-c", "40000", "-s", "4096", "-S", strconv.Itoa(10007 * 4096), "-d", depth}
				if kind == "write" {
					args = append(args, "-w", "--pattern=7")
				}
				rows = append(rows, b.repeated(fmt.Sprintf("bench %s 4k depth %s %s", kind, depth, format), 1, setUp, append(args, image)...))
			}
		}
	}
	return rows
}

// chainLength is how many images the chain has.
const chainLength = 5

// chainLink is the name of an image of the chain; 0 is the one below all others.
func (b *bench) chainLink(i int) string {
	return filepath.Join(b.dir, fmt.Sprintf("chain%d.qcow2", i))
}

// needChain makes the chain, once: each image has every fifth cluster of those below.
func (b *bench) needChain() error {
	if err := b.makeImages(); err != nil {
		return err
	}
	if err := once(b.chainLink(0), "qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", filepath.Join(b.dir, "data.qcow2"), b.chainLink(0)); err != nil {
		return err
	}
	for i := 1; i < chainLength; i++ {
		name := b.chainLink(i)
		if _, err := os.Stat(name); err == nil {
			continue
		}
		if _, err := command("qemu-img", "create", "-f", "qcow2", "-b", b.chainLink(i-1), "-F", "qcow2", name); err != nil {
			return err
		}
		const cluster = 64 << 10
		args := []string{"-f", "qcow2"}
		for off := int64(i) * cluster; off < b.size; off += chainLength * cluster {
			args = append(args, "-c", fmt.Sprintf("write -q -P %d %d %d", i, off, cluster))
		}
		if _, err := command("qemu-io", append(args, name)...); err != nil {
			return err
		}
	}
	return nil
}

// million is the name of an image that has a million clusters.
func (b *bench) million() string { return filepath.Join(b.dir, "million.qcow2") }

func (b *bench) needMillion() error {
	return once(b.million(), "qemu-img", "create", "-f", "qcow2", "-o", "preallocation=metadata", b.million(), "64G")
}

// snapshotRow measures one action on a snapshot of an image that has 100 others. The opposite
// action, by QEMU's tool, comes before or after it and is not measured.
func (b *bench) snapshotRow(name, action, opposite string) row {
	image := filepath.Join(b.dir, "snapshots.qcow2")
	side := func(argv ...string) func() (sample, error) {
		return func() (s sample, err error) {
			if err := b.needSnapshots(image); err != nil {
				return s, err
			}
			undo := func() error { _, err := command("qemu-img", "snapshot", opposite, "one", image); return err }
			if action == "-d" {
				err = undo()
			}
			if err == nil {
				s, err = command(argv[0], append(argv[1:], "snapshot", action, "one", image)...)
			}
			if err == nil && action == "-c" {
				err = undo()
			}
			return s, err
		}
	}
	return row{name, side(b.qmon, "img"), side("qemu-img")}
}

// needSnapshots makes an image with 100 snapshots, once.
func (b *bench) needSnapshots(image string) error {
	if _, err := os.Stat(image); err == nil {
		return nil
	}
	if err := b.makeImages(); err != nil {
		return err
	}
	if _, err := command("qemu-img", "convert", "-O", "qcow2", filepath.Join(b.dir, "data.qcow2"), image); err != nil {
		return err
	}
	for i := range 100 {
		if _, err := command("qemu-img", "snapshot", "-c", "s"+strconv.Itoa(i), image); err != nil {
			return err
		}
	}
	return nil
}

// once runs a command line unless the file that it makes is there.
func once(file string, argv ...string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%q: %w\n%s", argv, err, out)
	}
	return nil
}
