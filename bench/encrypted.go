package main

import (
	"path/filepath"
	"slices"
)

const (
	benchSecret = "secret,id=bench,data=bench"
	// iterTime has little time spent on keys, milliseconds, as the rows are for the data. With
	// much less QEMU cannot measure its time.
	iterTime = "200"
)

// encryptedRows compare conversion to and from encrypted images.
func (b *bench) encryptedRows(raw string) []row {
	var rows []row
	for _, f := range []struct{ name, driver, prefix, options string }{
		{"luks", "luks", "", "key-secret=bench,iter-time=" + iterTime},
		{"qcow2 with luks", "qcow2", "encrypt.", "encrypt.format=luks,encrypt.key-secret=bench,encrypt.iter-time=" + iterTime},
		{"qcow with aes", "qcow", "encrypt.", "encrypt.format=aes,encrypt.key-secret=bench"},
	} {
		image := filepath.Join(b.dir, "encrypted-"+f.driver)
		to := []string{"--object", benchSecret, "-f", "raw", "-O", f.driver, "-o", f.options, raw}
		from := []string{"--object", benchSecret, "--image-opts", "-O", "raw",
			"driver=" + f.driver + "," + f.prefix + "key-secret=bench,file.filename=" + image}
		rows = append(rows,
			b.formatRow("convert raw to "+f.name, b.needRaw(raw), to),
			b.formatRow("convert "+f.name+" to raw", b.needMade(raw, image, slices.Concat([]string{"qemu-img", "convert"}, to, []string{image})), from))
	}
	return rows
}
