package vhdx

import (
	"encoding/binary"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// Section 2.3.1: log entries. An entry is a header, descriptors behind it, and behind
// their last sector a data sector for each descriptor that is no zero descriptor.
const (
	logSector       = 4 * kib
	entrySignature  = "loge"
	offEntryLength  = 8
	offEntryTail    = 12
	offEntrySeq     = 16
	offEntryCount   = 24
	offEntryLog     = 32
	offEntryFlushed = 48
	offEntryLast    = 56
	entryHeaderSize = 64

	descriptorSize = 32
	dataDescriptor = "desc"
	zeroDescriptor = "zero"
	offDescTrail   = 4
	offDescLead    = 8
	offDescPlace   = 16
	offDescSeq     = 24

	sectorSignature = "data"
	leadingBytes    = 8 // of a data sector's contents are in its descriptor: its first
	trailingBytes   = 4 // ... and its last
)

// logEntry is the header of a valid entry.
type logEntry struct {
	off    int64 // in the log
	length int64
	tail   int64 // where the oldest entry begins that must be replayed with this one
	seq    uint64
	count  int64 // descriptors
	// flushed is how long the file was, durably, when the entry was written, and last how
	// long it must be when it is replayed.
	flushed, last int64
}

// descriptorsEnd is where the data sectors begin.
func (e *logEntry) descriptorsEnd() int64 { return descriptorSectors(e.count) * logSector }

func descriptorSectors(count int64) int64 {
	return (entryHeaderSize + count*descriptorSize + logSector - 1) / logSector
}

// logPage is a page of the file as it is to be.
type logPage struct {
	off  int64
	data []byte
}

// encodeEntry makes an entry for pages, which are logSector long each and so aligned.
func encodeEntry(e logEntry, log guid, pages []logPage) []byte {
	e.count = int64(len(pages))
	e.length = e.descriptorsEnd() + e.count*logSector
	b := make([]byte, e.length)
	le := binary.LittleEndian
	copy(b, entrySignature)
	le.PutUint32(b[offEntryLength:], uint32(e.length))
	le.PutUint32(b[offEntryTail:], uint32(e.tail))
	le.PutUint64(b[offEntrySeq:], e.seq)
	le.PutUint32(b[offEntryCount:], uint32(e.count))
	copy(b[offEntryLog:], log[:])
	le.PutUint64(b[offEntryFlushed:], uint64(e.flushed))
	le.PutUint64(b[offEntryLast:], uint64(e.last))
	for i, p := range pages {
		d := b[entryHeaderSize+i*descriptorSize:]
		copy(d, dataDescriptor)
		copy(d[offDescTrail:][:trailingBytes], p.data[logSector-trailingBytes:])
		copy(d[offDescLead:][:leadingBytes], p.data)
		le.PutUint64(d[offDescPlace:], uint64(p.off))
		le.PutUint64(d[offDescSeq:], e.seq)

		s := b[e.descriptorsEnd()+int64(i)*logSector:][:logSector]
		copy(s[leadingBytes:], p.data[leadingBytes:logSector-trailingBytes])
		copy(s, sectorSignature)
		le.PutUint32(s[4:], uint32(e.seq>>32))
		le.PutUint32(s[logSector-trailingBytes:], uint32(e.seq))
	}
	seal(b)
	return b
}

// entrySize is how long an entry for n pages is.
func entrySize(n int64) int64 { return (descriptorSectors(n) + n) * logSector }

// logReader looks for entries in a log, which is a ring.
type logReader struct {
	file blockdev.Node
	name string
	at   span
	id   guid
	// budget is how many bytes of entries may still be read: a log of overlapping, invalid
	// entries could otherwise keep us busy for as long as its length squared.
	budget int64
}

// logPasses is the budget in lengths of the log: a log as it should be needs three.
const logPasses = 64

// read reads n bytes at off of the ring.
func (l *logReader) read(off, n int64) ([]byte, error) {
	b := make([]byte, n)
	off %= l.at.len
	k := min(n, l.at.len-off)
	if _, err := l.file.ReadAt(b[:k], l.at.off+off); err != nil {
		return nil, err
	}
	if k < n {
		if _, err := l.file.ReadAt(b[k:], l.at.off); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// entry reads and checks the entry at off, section 2.3.1; nil if there is none.
func (l *logReader) entry(off int64) (*logEntry, []byte, error) {
	b, err := l.read(off, entryHeaderSize)
	if err != nil {
		return nil, nil, err
	}
	le := binary.LittleEndian
	e := &logEntry{
		off:     off % l.at.len,
		length:  int64(le.Uint32(b[offEntryLength:])),
		tail:    int64(le.Uint32(b[offEntryTail:])),
		seq:     le.Uint64(b[offEntrySeq:]),
		count:   int64(le.Uint32(b[offEntryCount:])),
		flushed: int64(min(le.Uint64(b[offEntryFlushed:]), maxFileSize+1)),
		last:    int64(min(le.Uint64(b[offEntryLast:]), maxFileSize+1)),
	}
	if string(b[:4]) != entrySignature || guid(b[offEntryLog:]) != l.id || e.seq == 0 ||
		e.length%logSector != 0 || e.length > l.at.len || e.length < e.descriptorsEnd() ||
		e.tail%logSector != 0 || e.tail >= l.at.len {
		return nil, nil, nil
	}
	if l.budget -= e.length; l.budget < 0 {
		return nil, nil, blockdev.ErrorAt(blockdev.ErrLimit, "open", l.name, l.at.off, "VHDX log has too many invalid entries")
	}
	b, err = l.read(off, e.length)
	if err != nil || !sealed(b, entrySignature) || !e.validBody(b) {
		return nil, nil, err
	}
	return e, b, nil
}

// validBody checks the descriptors and that there is a data sector for each that needs it.
func (e *logEntry) validBody(b []byte) bool {
	le := binary.LittleEndian
	sectors := b[e.descriptorsEnd():]
	for i := range e.count {
		d := b[entryHeaderSize+i*descriptorSize:]
		if le.Uint64(d[offDescSeq:]) != e.seq {
			return false
		}
		switch string(d[:4]) {
		case zeroDescriptor:
		case dataDescriptor:
			if len(sectors) < logSector || string(sectors[:4]) != sectorSignature ||
				le.Uint32(sectors[4:]) != uint32(e.seq>>32) ||
				le.Uint32(sectors[logSector-trailingBytes:]) != uint32(e.seq) {
				return false
			}
			sectors = sectors[logSector:]
		default:
			return false
		}
	}
	return true
}

// sequence lists the entries from off on that follow each other, section 2.3.2.
func (l *logReader) sequence(off int64) ([]*logEntry, error) {
	var list []*logEntry
	for at := off; at < off+l.at.len; {
		e, _, err := l.entry(at)
		if err != nil {
			return nil, err
		}
		if e == nil || len(list) > 0 && e.seq != list[len(list)-1].seq+1 {
			break
		}
		list = append(list, e)
		at += e.length
	}
	return list, nil
}

// active finds what must be replayed: the sequence with the newest head, from the entry
// that this head says is its tail, section 2.3.3.
func (l *logReader) active() ([]*logEntry, error) {
	var best []*logEntry
	for off := int64(0); off < l.at.len; {
		list, err := l.sequence(off)
		if err != nil {
			return nil, err
		}
		off += logSector
		if len(list) == 0 {
			continue
		}
		head := list[len(list)-1]
		tail := slices.IndexFunc(list, func(e *logEntry) bool { return e.off == head.tail })
		if tail >= 0 && (best == nil || head.seq > best[len(best)-1].seq) {
			best = list[tail:]
		}
		if head.off < list[0].off {
			break // around the end of the ring
		}
		off = head.off + head.length
	}
	return best, nil
}
