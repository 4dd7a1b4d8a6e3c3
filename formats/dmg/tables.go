package dmg

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

// Offsets of the trailer's fields.
const (
	trailerBytes    = 512
	trailerMagic    = "koly"
	offDataFork     = 24
	offResourceFork = 40 // offset, length
	offPlist        = 216
)

// Offsets of a block table's fields, and of those of its chunks.
const (
	tableMagic     = "mish"
	offFirstSector = 8
	offDataOffset  = 24 // of chunks, in addition
	offChunkCount  = 200
	tableHead      = 204

	chunkBytes      = 40
	offChunkSector  = 8
	offChunkSectors = 16
	offChunkHost    = 24
	offChunkLength  = 32
)

const (
	sectorSize = 512
	// maxChunk bounds what is packed and unpacked at once, as QEMU's limit does. hdiutil
	// makes chunks of 256 KiB to 1 MiB.
	maxChunk = 64 << 20
	// maxTables is how long the property list or the resource fork is: room for a million
	// chunks, some hundred gigabytes of disk.
	maxTables = 64 << 20
	// maxChunks bounds the memory for them to 64 MiB.
	maxChunks = 1 << 20
	// maxSectors is the largest disk, the block layer's.
	maxSectors = blockdev.MaxSize / sectorSize
)

// chunk is a run of sectors that is packed in one way. Offsets and sizes are in bytes.
type chunk struct {
	kind         kind
	start, size  int64 // in the disk
	host, length int64 // in the file
}

// trailer is what matters of it: where things are.
type trailer struct {
	dataFork      uint64
	offset, bytes uint64 // of the tables
	plist         bool   // they are in a property list
}

// readTrailer finds the trailer, which is the last sector of the file: the magic is also
// looked for in the sector before, as some transfers have padded files.
func readTrailer(file blockdev.Node, name string) (trailer, error) {
	size := file.Size()
	n := min(size, 2*trailerBytes-1)
	b := make([]byte, n)
	if n > 0 {
		if _, err := file.ReadAt(b, size-n); err != nil {
			return trailer{}, err
		}
	}
	at := bytes.LastIndex(b, []byte(trailerMagic))
	if at < 0 || len(b)-at < trailerBytes {
		return trailer{}, blockdev.Errorf(blockdev.ErrFormat, "open", name, "Could not locate UDIF trailer in dmg file")
	}
	b = b[at:]
	end := uint64(size-n) + uint64(at) // what the trailer tells of lies before it
	be := binary.BigEndian
	t := trailer{dataFork: be.Uint64(b[offDataFork:]), offset: be.Uint64(b[offResourceFork:]), bytes: be.Uint64(b[offResourceFork+8:])}
	if t.bytes == 0 {
		t.plist = true
		t.offset, t.bytes = be.Uint64(b[offPlist:]), be.Uint64(b[offPlist+8:])
	}
	if t.bytes == 0 || t.offset > end || t.bytes > end-t.offset || t.dataFork > end {
		return t, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, int64(end), "Invalid argument")
	}
	if t.bytes > maxTables {
		return t, blockdev.Errorf(blockdev.ErrLimit, "open", name, "block tables of %d bytes are too large", t.bytes)
	}
	return t, nil
}

// parser collects chunks.
type parser struct {
	file   blockdev.Node
	name   string
	base   uint64 // of the data fork
	chunks []chunk
}

func (p *parser) corrupt(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrCorrupt, "open", p.name, format, args...)
}

// parse reads all block tables.
func (p *parser) parse(t trailer) error {
	b := make([]byte, t.bytes)
	if _, err := p.file.ReadAt(b, int64(t.offset)); err != nil {
		return err
	}
	var err error
	if t.plist {
		err = p.parsePlist(b)
	} else {
		err = p.parseResources(b)
	}
	if err == nil && len(p.chunks) == 0 {
		return p.corrupt("there are no block tables")
	}
	return err
}

// parsePlist takes all data elements that begin as a block table does: no others do.
func (p *parser) parsePlist(b []byte) error {
	for {
		_, rest, ok := bytes.Cut(b, []byte("<data>"))
		if !ok {
			return nil
		}
		text, rest, ok := bytes.Cut(rest, []byte("</data>"))
		if !ok {
			return p.corrupt("property list ends in the middle of a block table")
		}
		b = rest
		text = bytes.Join(bytes.Fields(text), nil)
		table := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Decode(table, text)
		if err != nil {
			return p.corrupt("data in the property list: %v", err)
		}
		if err := p.parseTable(table[:n]); err != nil {
			return err
		}
	}
}

// parseResources takes the resources that begin as a block table does. A resource fork
// begins with the place of its data, where each resource is behind its length.
func (p *parser) parseResources(b []byte) error {
	if len(b) < 16 {
		return p.corrupt("resource fork of %d bytes", len(b))
	}
	be := binary.BigEndian
	start, length := uint64(be.Uint32(b)), uint64(be.Uint32(b[8:]))
	if start+length > uint64(len(b)) {
		return p.corrupt("resources, %d bytes at %d, are not in the resource fork", length, start)
	}
	b = b[start : start+length]
	for len(b) >= 4 {
		n := uint64(be.Uint32(b))
		if b = b[4:]; n > uint64(len(b)) {
			return p.corrupt("resource of %d bytes in %d", n, len(b))
		}
		if err := p.parseTable(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// parseTable parses a block table, if it is one.
func (p *parser) parseTable(b []byte) error {
	if len(b) < tableHead || string(b[:4]) != tableMagic {
		return nil
	}
	be := binary.BigEndian
	first, base := be.Uint64(b[offFirstSector:]), p.base+be.Uint64(b[offDataOffset:])
	count := uint64(be.Uint32(b[offChunkCount:]))
	b = b[tableHead:]
	if count > uint64(len(b))/chunkBytes {
		return p.corrupt("block table of %d bytes cannot have %d chunks", len(b), count)
	}
	if len(p.chunks)+int(count) > maxChunks {
		return blockdev.Errorf(blockdev.ErrLimit, "open", p.name, "more than %d chunks", maxChunks)
	}
	for i := range count {
		if err := p.addChunk(i, b[i*chunkBytes:], first, base); err != nil {
			return err
		}
	}
	return nil
}

// addChunk adds chunk i of a table, which b describes. first and base are those of its table.
func (p *parser) addChunk(i uint64, b []byte, first, base uint64) error {
	be := binary.BigEndian
	k := kind(be.Uint32(b))
	sector, count := first+be.Uint64(b[offChunkSector:]), be.Uint64(b[offChunkSectors:])
	host, length := base+be.Uint64(b[offChunkHost:]), be.Uint64(b[offChunkLength:])
	if k == kindComment || k == kindEnd || count == 0 {
		return nil
	}
	if k == kindZero || k == kindIgnore {
		host, length = 0, 0 // whatever they say, nothing is read
	} else if count > maxChunk/sectorSize && k != kindRaw {
		return blockdev.Errorf(blockdev.ErrLimit, "open", p.name, "sector count %d for chunk %d is larger than max (%d)", count, i, maxChunk/sectorSize)
	} else if length > maxChunk && k != kindRaw {
		return blockdev.Errorf(blockdev.ErrLimit, "open", p.name, "length %d for chunk %d is larger than max (%d)", length, i, maxChunk)
	}
	switch {
	case sector > maxSectors || count > maxSectors-sector:
		return blockdev.Errorf(blockdev.ErrLimit, "open", p.name, "%d sectors at %d for chunk %d are too many", count, sector, i)
	case host > blockdev.MaxSize || length > blockdev.MaxSize-host:
		return p.corrupt("%d bytes at 0x%x for chunk %d are not in the file", length, host, i)
	case k == kindRaw && length != count*sectorSize:
		return p.corrupt("%d sectors in %d bytes for chunk %d", count, length, i)
	}
	p.chunks = append(p.chunks, chunk{kind: k, start: int64(sector) * sectorSize, size: int64(count) * sectorSize,
		host: int64(host), length: int64(length)})
	return nil
}
