package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// imageFormats are converted to and from, beside qcow2: drivers, with options if there are
// several kinds that differ in how they are written.
var imageFormats = []struct{ driver, options string }{
	{"vdi", ""},
	{"vpc", "force_size=on"},
	{"vpc", "subformat=fixed,force_size=on"},
	{"parallels", ""},
	{"qed", ""},
	{"qcow", ""},
	{"vhdx", ""},
	{"vhdx", "subformat=fixed"},
	{"vmdk", ""},
	{"vmdk", "subformat=twoGbMaxExtentSparse"},
	{"vmdk", "subformat=streamOptimized"},
}

// readFormats are converted from only. Their images are made by the formats' own tools; of
// dmg there is none.
var readFormats = []struct {
	driver string
	create func(raw, image string) []string // a command line
}{
	{"cloop", func(raw, image string) []string {
		return []string{"create_compressed_fs", "-q", "-B", "65536", raw, image}
	}},
	{"bochs", func(raw, image string) []string {
		return []string{"bximage", "-q", "-func=convert", "-imgmode=growing", raw, image}
	}},
}

// formatRows compare conversion to and from every format. Both sides read the same image,
// which qemu-img made, or another tool.
func (b *bench) formatRows() []row {
	raw := filepath.Join(b.dir, "formats.raw")
	var rows []row
	for _, f := range imageFormats {
		name := strings.TrimSpace(f.driver + " " + f.options)
		image := filepath.Join(b.dir, "in-"+strings.ReplaceAll(name, " ", "-"))
		to := []string{"-f", "raw", "-O", f.driver}
		if f.options != "" {
			to = append(to, "-o", f.options)
		}
		to = append(to, raw)
		rows = append(rows,
			b.formatRow("convert raw to "+name, b.needRaw(raw), to),
			b.formatRow("convert "+name+" to raw", b.needMade(raw, image, slices.Concat([]string{"qemu-img", "convert"}, to, []string{image})), []string{"-f", f.driver, "-O", "raw", image}))
	}
	rows = append(rows, b.encryptedRows(raw)...)
	for _, f := range readFormats {
		image := filepath.Join(b.dir, "in-"+f.driver)
		rows = append(rows, b.formatRow("convert "+f.driver+" to raw", b.needMade(raw, image, f.create(raw, image)),
			[]string{"-f", f.driver, "-O", "raw", image}))
	}
	return rows
}

// formatRow runs convert with args and a target of its own.
func (b *bench) formatRow(name string, setUp func() error, args []string) row {
	side := func(program string, prefix ...string) func() (sample, error) {
		return func() (sample, error) {
			if err := setUp(); err != nil {
				return sample{}, err
			}
			// An image may have more files than one.
			dir, err := os.MkdirTemp(b.dir, "out")
			if err != nil {
				return sample{}, err
			}
			s, err := command(program, append(append(prefix, args...), filepath.Join(dir, "out"))...)
			return s, errors.Join(err, os.RemoveAll(dir))
		}
	}
	return row{name, side(b.qmon, "img", "convert"), side("qemu-img", "convert")}
}

// needRaw makes the raw disk, once.
func (b *bench) needRaw(raw string) func() error {
	return func() error {
		if _, err := os.Stat(raw); err == nil {
			return nil
		}
		return writeData(raw, b.size)
	}
}

// needMade makes an image from the raw disk with a command line, once.
func (b *bench) needMade(raw, image string, create []string) func() error {
	return func() error {
		if err := b.needRaw(raw)(); err != nil {
			return err
		}
		if _, err := os.Stat(image); err == nil {
			return nil
		}
		_, err := command(create[0], create[1:]...)
		return err
	}
}
