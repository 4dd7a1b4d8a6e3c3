package protocol

import "encoding/binary"

// Lengths of the fixed parts of chunk payloads, in bytes ("Structured reply types").
const (
	DataHeaderSize = 8  // the offset, before the data
	HolePayload    = 12 // offset, length
)

// DecodeHole reads the payload of a hole chunk.
func DecodeHole(b []byte) (off, n uint64, err error) {
	if len(b) != HolePayload {
		return 0, 0, Violation("hole chunk of %d bytes", len(b))
	}
	n = uint64(binary.BigEndian.Uint32(b[8:]))
	if n == 0 {
		return 0, 0, Violation("hole chunk of length 0")
	}
	return binary.BigEndian.Uint64(b), n, nil
}

// AppendHole adds the payload of a hole chunk to b.
func AppendHole(b []byte, off uint64, n uint32) []byte {
	b = binary.BigEndian.AppendUint64(b, off)
	return binary.BigEndian.AppendUint32(b, n)
}

// AppendError adds the payload of an error chunk to b; the message is cut to what fits.
func AppendError(b []byte, e Errno, message string) []byte {
	message = message[:min(len(message), MaxString)]
	b = binary.BigEndian.AppendUint32(b, uint32(e))
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	return append(b, message...)
}

// errorHeader is the length of an error's number and message length.
const errorHeader = 6

// DecodeError reads the payload of any error chunk. An error of 0 is none, so EIO is taken
// for it; what follows the message depends on the kind and is not looked at, as the
// specification wants of clients that do not know it.
func DecodeError(b []byte) (*RemoteError, error) {
	if len(b) < errorHeader {
		return nil, Violation("error chunk of %d bytes", len(b))
	}
	e := Errno(binary.BigEndian.Uint32(b))
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n > len(b)-errorHeader || n > MaxString {
		return nil, Violation("error chunk with a message of %d bytes", n)
	}
	if e == 0 {
		e = EIO
	}
	return &RemoteError{Errno: e, Message: string(b[errorHeader : errorHeader+n])}, nil
}

// Extent is a run of bytes with one state in a metadata context.
type Extent struct {
	Length uint64 // bytes
	Flags  uint64
}

// BlockStatusLen is the length of the payload of a block status with n extents.
func BlockStatusLen(n int, wide bool) int {
	if wide {
		return 8 + 16*n
	}
	return 4 + 8*n
}

// AppendBlockStatus adds the payload of a block status chunk to b: wide for
// ChunkBlockStatusExt. Without wide lengths and flags must fit 32 bits.
func AppendBlockStatus(b []byte, context uint32, extents []Extent, wide bool) []byte {
	b = binary.BigEndian.AppendUint32(b, context)
	if wide {
		b = binary.BigEndian.AppendUint32(b, uint32(len(extents)))
	}
	for _, e := range extents {
		if wide {
			b = binary.BigEndian.AppendUint64(b, e.Length)
			b = binary.BigEndian.AppendUint64(b, e.Flags)
		} else {
			b = binary.BigEndian.AppendUint32(b, uint32(e.Length))
			b = binary.BigEndian.AppendUint32(b, uint32(e.Flags))
		}
	}
	return b
}

// DecodeBlockStatus reads the payload of a block status chunk; every extent it returns has
// a length, and their sum does not overflow.
func DecodeBlockStatus(b []byte, wide bool) (context uint32, extents []Extent, err error) {
	head, each := 4, 8
	if wide {
		head, each = 8, 16
	}
	if len(b) < head+each || (len(b)-head)%each != 0 {
		return 0, nil, Violation("block status chunk of %d bytes", len(b))
	}
	n := (len(b) - head) / each
	if n > MaxExtents {
		return 0, nil, Violation("block status of %d extents", n)
	}
	if wide && binary.BigEndian.Uint32(b[4:]) != uint32(n) {
		return 0, nil, Violation("block status of %d extents in %d bytes", binary.BigEndian.Uint32(b[4:]), len(b))
	}
	context = binary.BigEndian.Uint32(b)
	extents = make([]Extent, 0, n)
	sum := uint64(0)
	for b = b[head:]; len(b) > 0; b = b[each:] {
		e := Extent{uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))}
		if wide {
			e = Extent{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
		}
		sum += e.Length
		if e.Length == 0 || e.Length > 1<<62 || sum > 1<<62 {
			return 0, nil, Violation("block status with an extent of %d bytes", e.Length)
		}
		extents = append(extents, e)
	}
	return context, extents, nil
}

// AppendStatusQuery adds the payload of a block status request that selects contexts: the
// length of the range and the contexts' IDs.
func AppendStatusQuery(b []byte, length uint64, contexts []uint32) []byte {
	b = binary.BigEndian.AppendUint64(b, length)
	for _, id := range contexts {
		b = binary.BigEndian.AppendUint32(b, id)
	}
	return b
}

// StatusQueryLimit is the longest payload of a block status request.
const StatusQueryLimit = 8 + 4*MaxContexts

// DecodeStatusQuery reads what AppendStatusQuery writes.
func DecodeStatusQuery(b []byte) (length uint64, contexts []uint32, err error) {
	if len(b) < 8 || len(b)%4 != 0 || len(b) > StatusQueryLimit {
		return 0, nil, Violation("block status request of %d bytes", len(b))
	}
	length = binary.BigEndian.Uint64(b)
	for b = b[8:]; len(b) > 0; b = b[4:] {
		contexts = append(contexts, binary.BigEndian.Uint32(b))
	}
	return length, contexts, nil
}
