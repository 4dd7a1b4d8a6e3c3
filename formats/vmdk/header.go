package vmdk

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

// Section "Hosted Sparse Extents": the header of an extent. All fields are little-endian,
// and places and sizes in sectors.
const (
	sparseMagic = "KDMV"

	offVersion   = 4
	offFlags     = 8
	offCapacity  = 12
	offGrainSize = 20
	offDescPlace = 28
	offDescSize  = 36
	offGTEs      = 44
	offRGD       = 48
	offGD        = 56
	offOverhead  = 64
	offUnclean   = 72
	offNewlines  = 73
	offCompress  = 77

	newlines = "\n \r\n" // spoilt by whoever takes an image for a text

	flagNewlines  = 1 << 0
	flagRedundant = 1 << 1
	flagZeroGrain = 1 << 2
	flagCompress  = 1 << 16
	flagMarkers   = 1 << 17

	compressDeflate = 1

	// gdAtEnd in place of the directory says that the footer, a copy of the header in the
	// last but one sector, knows, section "Stream-Optimized Compressed Sparse Extents".
	gdAtEnd = 1<<64 - 1
)

// Section "ESX Server Sparse Extents".
const (
	cowdMagic       = "COWD"
	offCowdCapacity = 12
	offCowdGrain    = 16
	offCowdGD       = 20
	offCowdGDCount  = 24
	cowdGTEs        = 4096
)

// The space-efficient sparse extent is not in VMware's document; these are the fields that
// its readers agree on. Fields are 8 bytes.
const (
	seMagic        = 0xcafebabe
	seVersion      = 0x0000000200000001
	seVolatile     = 0xcafecafe
	offSeVersion   = 8
	offSeCapacity  = 16
	offSeGrain     = 24
	offSeTable     = 32
	offSeVolatile  = 80
	offSeGD        = 128
	offSeGDSize    = 136
	offSeTables    = 144
	offSeGrains    = 192
	offSeReplay    = 24 // in the volatile header
	seGrainSectors = 8
	seTableSectors = 64
)

const (
	// maxGrain is how large a grain may be, in bytes: compressed ones are unpacked in memory.
	// 64 KiB are usual.
	maxGrain = 1 << 21
	// maxTableEntries is how many entries a grain table of a hosted extent may have: always
	// 512 in practice.
	maxTableEntries = 512
	// maxDirectory is how many entries a grain directory may have: 2 TiB in the smallest
	// grains (4 KiB) and usual tables, 4 MiB in memory.
	maxDirectory = 1 << 20
)

// geometry is what the header of a sparse extent of any kind says, in bytes.
type geometry struct {
	capacity   int64
	grain      int64
	perTable   int64 // entries of a grain table
	entrySize  int64 // 4, or 8 of a space-efficient one
	directory  int64 // where the grain directory is
	redundant  int64 // ... and its copy, 0 for none
	dirEntries int64
	descriptor int64
	descSize   int64
	overhead   int64 // all that comes before the first grain, 0 if that is not said
	version    uint32
	zeroGrains bool
	compressed bool
	readOnly   string // why it cannot be written, "" if it can
	// se: where tables and grains of a space-efficient extent begin.
	se                   bool
	tablesBase, grainsAt int64
}

// tableSize is the length of a grain table.
func (g *geometry) tableSize() int64 { return g.perTable * g.entrySize }

// readSparse reads the header of a hosted sparse extent.
func readSparse(file blockdev.Node, name string) (*geometry, error) {
	b := make([]byte, sectorSize)
	if err := readFull(file, b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	footer := le.Uint64(b[offGD:]) == gdAtEnd
	if footer {
		if err := readFooter(file, b, name); err != nil {
			return nil, err
		}
	}
	flags := le.Uint32(b[offFlags:])
	g := &geometry{entrySize: 4, version: le.Uint32(b[offVersion:]), perTable: int64(le.Uint32(b[offGTEs:]))}
	if footer {
		g.readOnly = "VMDK stream is complete and cannot be written"
	}
	if g.version > 3 {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "open", name, "Unsupported VMDK version %d", g.version)
	}
	compressed := le.Uint16(b[offCompress:]) == compressDeflate
	if g.version == 3 && !compressed {
		g.readOnly = "VMDK version 3 must be read only"
	}
	g.compressed = flags&flagCompress != 0 && compressed
	g.zeroGrains = flags&flagZeroGrain != 0
	// What is beyond any file is cut off, for the checks to find it too large.
	place := func(off int) int64 { return int64(min(le.Uint64(b[off:]), blockdev.MaxSize/sectorSize)) * sectorSize }
	g.capacity, g.grain, g.overhead = place(offCapacity), place(offGrainSize), place(offOverhead)
	g.descriptor, g.descSize, g.directory = place(offDescPlace), place(offDescSize), place(offGD)
	if flags&flagRedundant != 0 {
		g.redundant = place(offRGD)
	}
	if g.perTable > maxTableEntries {
		return nil, blockdev.Errorf(blockdev.ErrLimit, "open", name, "L2 table size too big")
	}
	if g.capacity != 0 { // else there is a descriptor of other files, and nothing else
		if err := g.validate(file, name); err != nil {
			return nil, err
		}
	}
	if flags&flagNewlines != 0 && string(b[offNewlines:][:len(newlines)]) != newlines {
		return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, offNewlines, "VMDK header is damaged: its line ends were changed")
	}
	return g, nil
}

// readFooter reads the footer over the header.
func readFooter(file blockdev.Node, b []byte, name string) error {
	at := file.Size()/sectorSize*sectorSize - 2*sectorSize
	if at < sectorSize {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VMDK has no footer")
	}
	foot := make([]byte, sectorSize)
	if err := readFull(file, foot, at); err != nil {
		return err
	}
	if string(foot[:4]) != sparseMagic || binary.LittleEndian.Uint64(foot[offGD:]) == gdAtEnd {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, at, "VMDK footer is damaged")
	}
	copy(b, foot)
	return nil
}

// validate checks sizes, before anything is allocated by them.
func (g *geometry) validate(file blockdev.Node, name string) error {
	truncated := func(need int64) error {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, file.Size(), "File truncated, expecting at least %d bytes", need)
	}
	switch {
	case g.perTable == 0 || g.grain == 0:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "L1 entry size is invalid")
	case g.overhead > file.Size():
		return truncated(g.overhead)
	case g.grain > maxGrain || g.grain&(g.grain-1) != 0:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "Invalid granularity, image may be corrupt")
	}
	need := (g.capacity-1)/(g.grain*g.perTable) + 1
	if g.dirEntries == 0 {
		g.dirEntries = need
	}
	switch {
	case g.dirEntries > maxDirectory:
		return blockdev.Errorf(blockdev.ErrLimit, "open", name, "L1 size too big")
	case g.dirEntries < need:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VMDK grain directory of %d entries is too small", g.dirEntries)
	}
	for _, at := range []int64{g.directory, g.redundant} {
		if at > file.Size()-g.dirEntries*g.entrySize {
			return truncated(at + g.dirEntries*g.entrySize)
		}
	}
	return nil
}

// readCowd reads the header of an ESX sparse extent.
func readCowd(file blockdev.Node, name string) (*geometry, error) {
	b := make([]byte, sectorSize)
	if err := readFull(file, b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	g := &geometry{
		capacity:   int64(le.Uint32(b[offCowdCapacity:])) * sectorSize,
		grain:      int64(le.Uint32(b[offCowdGrain:])) * sectorSize,
		directory:  int64(le.Uint32(b[offCowdGD:])) * sectorSize,
		dirEntries: int64(le.Uint32(b[offCowdGDCount:])),
		perTable:   cowdGTEs, entrySize: 4, version: 1,
	}
	if g.capacity == 0 {
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VMDK extent is empty")
	}
	return g, g.validate(file, name)
}

// readSE reads the headers of a space-efficient sparse extent.
func readSE(file blockdev.Node, name string) (*geometry, error) {
	b := make([]byte, sectorSize)
	if err := readFull(file, b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	field := func(off int) int64 { return int64(min(le.Uint64(b[off:]), blockdev.MaxSize/sectorSize)) }
	if le.Uint64(b) != seMagic || le.Uint64(b[offSeVersion:]) != seVersion {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "open", name, "unsupported seSparse version %#x", le.Uint64(b[offSeVersion:]))
	}
	if field(offSeGrain) != seGrainSectors || field(offSeTable) != seTableSectors {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "open", name,
			"unsupported seSparse grain of %d or table of %d sectors", field(offSeGrain), field(offSeTable))
	}
	g := &geometry{
		capacity: field(offSeCapacity) * sectorSize, grain: seGrainSectors * sectorSize,
		perTable: seTableSectors * sectorSize / 8, entrySize: 8, version: 2, se: true,
		directory:  field(offSeGD) * sectorSize,
		dirEntries: field(offSeGDSize) * sectorSize / 8,
		tablesBase: field(offSeTables) * sectorSize, grainsAt: field(offSeGrains) * sectorSize,
		readOnly: "No write support for seSparse images available",
	}
	v := make([]byte, sectorSize)
	if err := readFull(file, v, field(offSeVolatile)*sectorSize); err != nil {
		return nil, err
	}
	switch {
	case le.Uint64(v) != seVolatile:
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "invalid seSparse volatile header")
	case le.Uint64(v[offSeReplay:]) != 0:
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "open", name, "seSparse image has a journal to be replayed")
	case g.capacity == 0 || g.dirEntries == 0:
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "seSparse extent is empty")
	}
	return g, g.validate(file, name)
}

// readFull reads; what is past the end of the file is corruption.
func readFull(file blockdev.Node, b []byte, off int64) error {
	if off < 0 || off > file.Size()-int64(len(b)) {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", "", off, "VMDK file is truncated")
	}
	_, err := file.ReadAt(b, off)
	return err
}
