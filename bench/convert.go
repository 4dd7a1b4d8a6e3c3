package main

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// convertRows compare qemu-img convert with qmon img convert.
func (b *bench) convertRows() []row {
	raw := filepath.Join(b.dir, "data.raw")
	qcow2 := filepath.Join(b.dir, "data.qcow2")
	sparse := filepath.Join(b.dir, "sparse.raw")
	words := filepath.Join(b.dir, "words.raw")
	out := filepath.Join(b.dir, "out")
	compare := func(name string, setUp func() error, args ...string) row {
		args = append(args, out)
		side := func(program string, prefix ...string) func() (sample, error) {
			return func() (sample, error) {
				if err := setUp(); err != nil {
					return sample{}, err
				}
				if err := os.RemoveAll(out); err != nil {
					return sample{}, err
				}
				return command(program, append(prefix, args...)...)
			}
		}
		return row{name, side(b.qmon, "img", "convert"), side("qemu-img", "convert")}
	}
	images := b.makeImages
	// packed is the words in an image with compressed clusters, which QEMU's tool made.
	packed := func(kind string) (image string, setUp func() error) {
		image = filepath.Join(b.dir, kind+".qcow2")
		return image, func() error {
			return errors.Join(images(), once(image, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type="+kind, words, image))
		}
	}
	zlib, needZlib := packed("zlib")
	zstd, needZstd := packed("zstd")
	return []row{
		compare("convert raw to qcow2", images, "-f", "raw", "-O", "qcow2", raw),
		compare("convert qcow2 to raw", images, "-f", "qcow2", "-O", "raw", qcow2),
		compare("convert qcow2 to qcow2", images, "-f", "qcow2", "-O", "qcow2", qcow2),
		compare("convert sparse 100 GiB to qcow2", images, "-f", "raw", "-O", "qcow2", sparse),
		compare("convert a chain of 5 to raw", b.needChain, "-f", "qcow2", "-O", "raw", b.chainLink(chainLength-1)),
		compare("convert -c zlib", images, "-c", "-f", "raw", "-O", "qcow2", words),
		compare("convert -c zstd", images, "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd", words),
		compare("convert zlib to raw", needZlib, "-f", "qcow2", "-O", "raw", zlib),
		compare("convert zstd to raw", needZstd, "-f", "qcow2", "-O", "raw", zstd),
	}
}

// makeImages makes the images that rows read, once.
func (b *bench) makeImages() error {
	raw, qcow2 := filepath.Join(b.dir, "data.raw"), filepath.Join(b.dir, "data.qcow2")
	if _, err := os.Stat(qcow2); err == nil {
		return nil
	}
	if err := writeData(raw, b.size); err != nil {
		return err
	}
	if err := writeWords(filepath.Join(b.dir, "words.raw"), b.size/4); err != nil {
		return err
	}
	sparse := filepath.Join(b.dir, "sparse.raw")
	if err := os.WriteFile(sparse, []byte("x"), 0o600); err != nil {
		return err
	}
	if err := os.Truncate(sparse, 100<<30); err != nil {
		return err
	}
	_, err := command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
	return err
}

// writeData writes a file of data with holes: three random MiB of every four.
func writeData(name string, size int64) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	chunk := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(chunk)) {
		if off>>20%4 == 3 {
			clear(chunk)
		} else if _, err := random.Read(chunk); err != nil {
			return err
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return w.Flush()
}

// writeWords writes a file of random words, which compresses about as text does.
func writeWords(name string, size int64) (err error) {
	random := rand.New(rand.NewChaCha8([32]byte{2}))
	words := make([]string, 4096)
	for i := range words {
		w := make([]byte, 2+random.IntN(9))
		for k := range w {
			w[k] = byte('a' + random.IntN(26))
		}
		words[i] = string(w) + " "
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	for size > 0 {
		word := words[random.IntN(len(words))]
		n, err := w.WriteString(word[:min(int64(len(word)), size)])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return w.Flush()
}
