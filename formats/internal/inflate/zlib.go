package inflate

import (
	"encoding/binary"
	"hash/adler32"
)

// What surrounds the data of a zlib stream, RFC 1950.
const (
	zlibHeader  = 2
	zlibTrailer = 4 // the Adler-32 checksum of the plain data
	methodMask  = 0x0f
	methodFlate = 8
	maxWindow   = 7 // the power of two in the first byte, less 8: 32 KiB
	hasPreset   = 0x20
)

// Zlib is [Raw] for a zlib stream, whose checksum is verified if the stream ends within dst.
func Zlib(dst, src []byte) (n int, err error) {
	if len(src) < zlibHeader {
		return 0, truncated(len(src))
	}
	head := binary.BigEndian.Uint16(src)
	switch method := head >> 8; {
	case method&methodMask != methodFlate || method>>4 > maxWindow || head%31 != 0:
		return 0, &Error{Text: "no zlib header"}
	case head&hasPreset != 0:
		return 0, &Error{Text: "a preset dictionary is needed"}
	}
	n, used, err := Raw(dst, src[zlibHeader:])
	if fault, ok := err.(*Error); ok {
		fault.Offset += zlibHeader
	}
	if err != nil {
		return n, err
	}
	end := zlibHeader + used
	if len(src)-end < zlibTrailer {
		return n, truncated(len(src))
	}
	if adler32.Checksum(dst[:n]) != binary.BigEndian.Uint32(src[end:]) {
		return n, &Error{Offset: end, Text: "the checksum is wrong"}
	}
	return n, nil
}
