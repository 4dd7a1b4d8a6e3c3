package vhdx

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

// replay does what the log says, and empties it. It returns false if the log was empty.
func replay(file blockdev.Node, name string, h *headers) (bool, error) {
	if h.current.log.isZero() {
		return false, nil
	}
	l, err := openLog(file, name, h.current)
	if err != nil {
		return false, err
	}
	entries, err := l.active()
	if err != nil {
		return false, err
	}
	if len(entries) > 0 {
		if err := l.prepare(entries[len(entries)-1]); err != nil {
			return false, err
		}
	}
	for _, e := range entries {
		if err := l.apply(e); err != nil {
			return false, err
		}
	}
	if err := file.Flush(); err != nil {
		return false, err
	}
	return true, h.update(file, func(h *header) { h.log = guid{} })
}

// openLog checks where the log is.
func openLog(file blockdev.Node, name string, h *header) (*logReader, error) {
	l := &logReader{file: file, name: name, at: span{h.logOffset, h.logLength}, id: h.log, budget: logPasses * h.logLength}
	switch {
	case l.at.len > maxLogLength:
		return nil, blockdev.Errorf(blockdev.ErrLimit, "open", name, "VHDX log is longer than %d bytes", maxLogLength)
	case l.at.end() > file.Size():
		return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, l.at.off, "VHDX log lies behind the end of the file")
	}
	return l, nil
}

// prepare makes the file as long as the newest entry says.
func (l *logReader) prepare(head *logEntry) error {
	size := l.file.Size()
	switch {
	case head.flushed > size:
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", l.name, l.at.off+head.off,
			"VHDX file is %d bytes long, its log says it was %d", size, head.flushed)
	case head.last > maxFileSize:
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", l.name, l.at.off+head.off, "VHDX log wants a file of %d bytes", head.last)
	case head.last > size:
		return grow(l.file, head.last)
	}
	return nil
}

// apply writes what the descriptors of one entry say.
func (l *logReader) apply(e *logEntry) error {
	e, b, err := l.entry(e.off)
	if err != nil {
		return err
	}
	if e == nil {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", l.name, l.at.off, "VHDX log changed while it was read")
	}
	sectors := b[e.descriptorsEnd():]
	for i := range e.count {
		d := b[entryHeaderSize+i*descriptorSize:][:descriptorSize]
		place := binary.LittleEndian.Uint64(d[offDescPlace:])
		length := uint64(logSector)
		if string(d[:4]) == zeroDescriptor {
			length = binary.LittleEndian.Uint64(d[offDescLead:])
		}
		if err := l.checkPlace(place, length); err != nil {
			return err
		}
		if string(d[:4]) == zeroDescriptor {
			err = blockdev.WriteZeroes(l.file, int64(place), int64(length), 0)
		} else {
			page := sectors[:logSector]
			copy(page, d[offDescLead:][:leadingBytes])
			copy(page[logSector-trailingBytes:], d[offDescTrail:][:trailingBytes])
			_, err = l.file.WriteAt(page, int64(place))
			sectors = sectors[logSector:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPlace refuses to replay over the headers or the log, or outside of the file.
func (l *logReader) checkPlace(off, n uint64) error {
	size := uint64(l.file.Size())
	if off%logSector != 0 || n%logSector != 0 || off < region1Offset || off > size || n > size-off ||
		l.at.overlaps(span{int64(off), int64(n)}) {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", l.name, l.at.off, "VHDX log changes %d bytes at %#x", n, off)
	}
	return nil
}

// grow makes a file longer; what is new reads as zeroes.
func grow(file blockdev.Node, size int64) error {
	if _, ok := file.(blockdev.Resizer); ok {
		return blockdev.Resize(file, size, blockdev.ResizeOptions{})
	}
	_, err := file.WriteAt([]byte{0}, size-1)
	return err
}
