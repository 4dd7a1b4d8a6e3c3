package dmg

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"

	"github.com/qmon/qmon/formats/internal/lzfse"
	"github.com/qmon/qmon/formats/internal/readonly"
)

// kind is how a chunk is packed.
type kind uint32

const (
	kindZero    kind = 0 // nothing is stored
	kindRaw     kind = 1
	kindIgnore  kind = 2 // free space of a file system, read as zeroes
	kindComment kind = 0x7ffffffe
	kindADC     kind = 0x80000004
	kindZlib    kind = 0x80000005
	kindBzip2   kind = 0x80000006
	kindLZFSE   kind = 0x80000007
	kindLZMA    kind = 0x80000008
	kindEnd     kind = 0xffffffff
)

func (k kind) String() string {
	switch k {
	case kindADC:
		return "ADC"
	case kindZlib:
		return "zlib"
	case kindBzip2:
		return "bzip2"
	case kindLZFSE:
		return "LZFSE"
	case kindLZMA:
		return "LZMA"
	}
	return fmt.Sprintf("type 0x%x", uint32(k))
}

// decoders fill out from packed data, which must have exactly that many bytes.
var decoders = map[kind]func(out, packed []byte) error{
	kindADC:  unpackADC,
	kindZlib: readonly.Inflate,
	kindBzip2: func(out, packed []byte) error {
		return readonly.Fill(out, bzip2.NewReader(bytes.NewReader(packed)))
	},
	kindLZFSE: lzfse.Unpack,
	kindLZMA:  unpackXZ,
}

var errADC = errors.New("invalid ADC data")

// unpackADC unpacks Apple Data Compression. The high bits of a byte tell of what it begins:
//
//	1nnnnnnn                      n+1 bytes as they are
//	01nnnnnn dddddddd dddddddd    n+4 bytes from d+1 bytes back
//	00nnnndd dddddddd             n+3 bytes from d+1 bytes back
func unpackADC(out, packed []byte) error {
	at := 0
	for at < len(out) {
		if len(packed) == 0 {
			return errADC
		}
		code := int(packed[0])
		size := 1 // of the code
		n, back := code&0x7f+1, 0
		switch {
		case code&0x80 != 0:
		case code&0x40 != 0:
			size, n = 3, code&0x3f+4
		default:
			size, n = 2, code>>2+3
		}
		if len(packed) < size {
			return errADC
		}
		switch size {
		case 3:
			back = int(packed[1])<<8 + int(packed[2]) + 1
		case 2:
			back = code&3<<8 + int(packed[1]) + 1
		}
		packed = packed[size:]
		if n > len(out)-at || back > at || back == 0 && n > len(packed) {
			return errADC
		}
		if back == 0 {
			copy(out[at:], packed[:n])
			packed = packed[n:]
		}
		for i := at; back > 0 && i < at+n; i++ { // the source may overlap what is written
			out[i] = out[i-back]
		}
		at += n
	}
	return nil
}
