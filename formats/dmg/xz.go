package dmg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"hash/crc64"

	"github.com/ulikunitz/xz/lzma"

	"github.com/qmon/qmon/formats/internal/readonly"
)

// LZMA chunks are .xz files of one block with the filter LZMA2. Their headers are read
// here and not by the library's xz package, which would allocate a dictionary of the size
// that they ask for, up to 4 GiB: no dictionary needs to be larger than the chunk.
// Sections are those of "The .xz File Format" (tukaani.org/xz/xz-file-format.txt).

const (
	xzMagic      = "\xfd7zXZ\x00"
	xzHeader     = 12 // section 2.1.1
	filterLZMA2  = 0x21
	xzCheckCRC32 = 1
	xzCheckCRC64 = 4
)

var errXZ = errors.New("not an .xz file of one LZMA2 block")

// unpackXZ fills out from an .xz file, and verifies its checksum.
func unpackXZ(out, packed []byte) error {
	if len(packed) < xzHeader+2 || string(packed[:len(xzMagic)]) != xzMagic {
		return errXZ
	}
	check := packed[7] & 0x0f
	block := packed[xzHeader:]
	size := (int(block[0]) + 1) * 4 // section 3.1.1; 0 would be the index of an empty file
	if block[0] == 0 || size > len(block) || !isLZMA2(block[:size]) {
		return errXZ
	}
	src := bytes.NewReader(block[size:])
	r, err := lzma.Reader2Config{DictCap: max(len(out), lzma.MinDictCap)}.NewReader2(src)
	if err != nil {
		return err
	}
	if err := readonly.Fill(out, r); err != nil {
		return err
	}
	used := len(block) - src.Len()
	return verifyXZ(out, check, block[min((used+3)&^3, len(block)):]) // section 3.3: padded to 4 bytes
}

// isLZMA2 tells if a block header (section 3.1) has this filter alone.
func isLZMA2(header []byte) bool {
	flags := header[1]
	if flags&^0xc0 != 0 { // one filter, nothing unknown
		return false
	}
	rest := header[2:]
	for _, sizes := range []byte{0x40, 0x80} { // packed and unpacked size
		if flags&sizes != 0 {
			_, n := binary.Uvarint(rest)
			if n <= 0 {
				return false
			}
			rest = rest[n:]
		}
	}
	return len(rest) > 0 && rest[0] == filterLZMA2
}

var errChecksum = errors.New("checksum does not match")

// verifyXZ compares the check behind the block. Kinds of check that no tool of Apple
// writes are not looked at.
func verifyXZ(out []byte, kind byte, check []byte) error {
	switch {
	case kind == xzCheckCRC32 && len(check) >= 4:
		if binary.LittleEndian.Uint32(check) != crc32.ChecksumIEEE(out) {
			return errChecksum
		}
	case kind == xzCheckCRC64 && len(check) >= 8:
		if binary.LittleEndian.Uint64(check) != crc64.Checksum(out, crc64.MakeTable(crc64.ECMA)) {
			return errChecksum
		}
	case kind == xzCheckCRC32, kind == xzCheckCRC64:
		return errXZ
	}
	return nil
}
