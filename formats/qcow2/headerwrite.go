package qcow2

import (
	"bytes"
	"encoding/binary"
)

// prepareHeader does what the feature bits ask of those who write.
func (im *Image) prepareHeader() error {
	if im.hdr.incompatible&incompatDirty != 0 && !im.unrepaired {
		if err := im.repairDirty(); err != nil {
			return err
		}
	}
	// Section "Header", autoclear_features: what we do not keep up to date must not be
	// taken for valid after we have written.
	keep, err := im.prepareBitmaps()
	if err != nil {
		return err
	}
	autoclear := uint64(0)
	if keep {
		autoclear = autoclearBitmaps
	}
	if im.external {
		autoclear |= im.hdr.autoclear & autoclearRawData
	}
	if im.hdr.autoclear == autoclear {
		return nil
	}
	return im.setFeatures(offAutoclear, &im.hdr.autoclear, autoclear)
}

// setFeatures stores a feature field in the header, durably.
func (im *Image) setFeatures(off int64, field *uint64, v uint64) error {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	if err := im.changeHeader(off, b[:]); err != nil {
		return err
	}
	*field = v
	return nil
}

// changeHeader writes fields of the header, all in one sector and therefore together, and
// makes them durable. If that fails the old ones are written back: the file must not say
// one thing and this image another. If that fails too nothing else is written before.
func (im *Image) changeHeader(off int64, b []byte) error {
	if err := im.settleHeader(); err != nil {
		return err
	}
	err := im.writeDurably(off, b)
	if err != nil {
		im.doubt = headerSpan{off, off + int64(len(b))}
		// The next commit tries again.
		_ = im.settleHeader()
	}
	return err
}

// headerSpan is a range of bytes of the header, empty if to is 0.
type headerSpan struct{ from, to int64 }

// settleHeader writes the fields back that a failed change left in doubt. mu is held.
func (im *Image) settleHeader() error {
	d := im.doubt
	if d.to == 0 {
		return nil
	}
	if err := im.writeDurably(d.from, im.hdr.encodeFixed()[d.from:d.to]); err != nil {
		return err
	}
	im.doubt = headerSpan{}
	return nil
}

func (im *Image) writeDurably(off int64, b []byte) error {
	if _, err := im.file.WriteAt(b, off); err != nil {
		return err
	}
	return im.file.Flush()
}

// SetUnfinished has the header say that the image is not complete yet, or is now. Version 2
// has no way to say so.
func (im *Image) SetUnfinished(on bool) error {
	if im.version.Load() < 3 {
		return nil
	}
	if err := im.checkWritable("write"); err != nil {
		return err
	}
	return im.exclusive(func() error {
		v := im.hdr.incompatible &^ incompatUnfinished
		if on {
			v |= incompatUnfinished
		}
		return im.setFeatures(offIncompatible, &im.hdr.incompatible, v)
	})
}

// setDirty sets or clears the dirty bit. mu is held, or the image is not in use yet.
func (im *Image) setDirty(on bool) error {
	v := im.hdr.incompatible &^ incompatDirty
	if on {
		v |= incompatDirty
	}
	if v == im.hdr.incompatible {
		return nil
	}
	return im.setFeatures(offIncompatible, &im.hdr.incompatible, v)
}

// rewriteHeader writes h with all its extensions and makes it im's. The first sector, with
// the header, is written last, and the old name is left alone until then where there is
// room for the new one behind it: so a crash leaves either.
func (im *Image) rewriteHeader(h *header) error {
	old := make([]byte, im.clusterSize)
	if err := readPadded(im.file, old, 0); err != nil {
		return err
	}
	b, err := h.encode(im.name, 0)
	if err != nil {
		return err
	}
	extensions := len(b) - len(h.backingName)
	if im.clusterSize > sectorSize {
		if beside, err := h.encode(im.name, len(bytes.TrimRight(old, "\x00"))); err == nil {
			b = beside
		}
	}
	cluster := make([]byte, im.clusterSize)
	copy(cluster, b)
	if len(b) > sectorSize {
		name := max(len(b)-len(h.backingName), sectorSize)
		copy(old[sectorSize:max(extensions, sectorSize)], b[sectorSize:])
		copy(old[name:], b[name:])
		if err := im.writeDurably(sectorSize, old[sectorSize:]); err != nil {
			return err
		}
	}
	if err := im.writeDurably(0, cluster[:sectorSize]); err != nil {
		return err
	}
	im.hdr = h
	im.refersBacking.Store(h.backingName != "")
	if bytes.Equal(cluster[sectorSize:], old[sectorSize:]) {
		return nil
	}
	_, err = im.file.WriteAt(cluster[sectorSize:], sectorSize)
	return err
}
