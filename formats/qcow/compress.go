package qcow

import (
	"bytes"

	"github.com/klauspost/compress/flate"

	"github.com/qmon/qmon/blockdev"
)

// windowBytes is how far back compressed data refers at most: QEMU unpacks with no more.
const windowBytes = 4 << 10

// WriteCompressed stores one cluster compressed, or plainly if that is not shorter or the image is
// encrypted. As with QEMU it is written once: a cluster that is in the image already is refused.
func (im *Image) WriteCompressed(p []byte, off int64) error {
	if err := im.CheckWritable("write"); err != nil {
		return err
	}
	n, cs := int64(len(p)), im.BlockSize()
	if err := blockdev.CheckRange("write", im, off, n); err != nil {
		return err
	}
	if off%cs != 0 || n == 0 || n > cs || n < cs && off+n != im.Size() {
		return blockdev.ErrorAt(blockdev.ErrInvalid, "write", im.name, off, "Compressed writes must be of whole clusters")
	}
	if im.header.crypt != cryptNone {
		_, err := im.WriteAt(p, off) // compressed clusters are never encrypted
		return err
	}
	cluster := p
	if n < cs {
		cluster = make([]byte, cs)
		copy(cluster, p)
	}
	packed, err := im.compress(cluster)
	if err != nil {
		return err
	}
	// An entry has no bits for offsets of several PiB.
	if int64(len(packed)) >= cs || im.End() >= 1<<(63-im.header.clusterBits)-cs {
		_, err := im.WriteAt(p, off)
		return err
	}
	return im.WritePacked(packed, off)
}

func (im *Image) compress(cluster []byte) ([]byte, error) {
	var out bytes.Buffer
	w, ok := im.deflaters.Get().(*flate.Writer)
	if ok {
		w.Reset(&out)
	} else {
		var err error
		if w, err = flate.NewWriterWindow(&out, windowBytes); err != nil {
			return nil, err
		}
	}
	defer im.deflaters.Put(w)
	if _, err := w.Write(cluster); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
