package luks1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/sectors"
)

// SectorSize is the unit of encryption, in bytes.
const SectorSize = sectors.Size

// Offsets of the header's fields, section 3.1 "Partition header".
const (
	magic         = "LUKS\xba\xbe"
	offVersion    = 6
	offCipher     = 8
	offMode       = 40
	offHash       = 72
	offPayload    = 104 // sectors
	offKeyBytes   = 108
	offDigest     = 112
	offDigestSalt = 132
	offDigestIter = 164
	offUUID       = 168
	offSlots      = 208
	nameBytes     = 32
	uuidBytes     = 40

	// HeaderBytes is the size of the header.
	HeaderBytes = 592
)

// Offsets of a key slot's fields, section 3.2.
const (
	slotBytes      = 48
	offSlotIter    = 4
	offSlotSalt    = 8
	offSlotOffset  = 40 // sectors
	offSlotStripes = 44
	slotActive     = 0x00ac71f3
	slotInactive   = 0x0000dead
)

const (
	slotCount   = 8
	digestBytes = 20
	saltBytes   = 32
	stripes     = 4000
	// minIterations is the specification's and QEMU's.
	minIterations = 1000
	// maxIterations bounds how long a hostile header keeps us busy: a minute or so.
	// cryptsetup's default of two seconds comes to some millions.
	maxIterations = 1 << 27
)

// Header is the header of a volume. Offsets are in bytes.
type Header struct {
	sectors.Spec
	KeySize    int // of the master key, bytes
	Hash       string
	Payload    int64
	UUID       string
	Iterations uint32 // of the digest
	Slots      [slotCount]Slot

	digest [digestBytes]byte
	salt   [saltBytes]byte
}

// Slot is a key slot.
type Slot struct {
	Active     bool
	Iterations uint32
	Offset     int64
	Stripes    uint32

	salt [saltBytes]byte
}

// Probe tells if head begins a volume of version 1.
func Probe(head []byte) bool {
	return len(head) >= offCipher && string(head[:offVersion]) == magic && binary.BigEndian.Uint16(head[offVersion:]) == 1
}

// Parse reads a header of HeaderBytes. Errors name the file. A detached header lies apart
// from the payload, which then begins anywhere.
func Parse(b []byte, name string, detached bool) (*Header, error) {
	refuse := func(kind error, format string, args ...any) (*Header, error) {
		return nil, blockdev.Errorf(kind, "open", name, format, args...)
	}
	be := binary.BigEndian
	if len(b) < HeaderBytes || string(b[:offVersion]) != magic {
		return refuse(blockdev.ErrFormat, "Volume is not in LUKS format")
	}
	if v := be.Uint16(b[offVersion:]); v != 1 {
		return refuse(blockdev.ErrNotSupported, "LUKS version %d is not supported", v)
	}
	for _, f := range []struct {
		off  int
		what string
	}{{offCipher, "cipher name"}, {offMode, "cipher mode"}, {offHash, "hash spec"}} {
		if bytes.IndexByte(b[f.off:f.off+nameBytes], 0) < 0 {
			return refuse(blockdev.ErrCorrupt, "LUKS header %s is not NUL terminated", f.what)
		}
	}
	h := &Header{
		Hash: text(b[offHash:], nameBytes), UUID: text(b[offUUID:], uuidBytes),
		Payload: int64(be.Uint32(b[offPayload:])) * SectorSize, Iterations: be.Uint32(b[offDigestIter:]),
	}
	h.KeySize = int(be.Uint32(b[offKeyBytes:]))
	copy(h.digest[:], b[offDigest:])
	copy(h.salt[:], b[offDigestSalt:])
	for i := range h.Slots {
		s := b[offSlots+i*slotBytes:]
		h.Slots[i] = Slot{
			Active: be.Uint32(s) == slotActive, Iterations: be.Uint32(s[offSlotIter:]),
			Offset: int64(be.Uint32(s[offSlotOffset:])) * SectorSize, Stripes: be.Uint32(s[offSlotStripes:]),
		}
		copy(h.Slots[i].salt[:], s[offSlotSalt:])
		if state := be.Uint32(s); state != slotActive && state != slotInactive {
			return refuse(blockdev.ErrCorrupt, "Keyslot %d state (active/disable) is corrupted", i)
		}
	}
	if err := h.parseSpec(text(b[offCipher:], nameBytes), text(b[offMode:], nameBytes), name); err != nil {
		return nil, err
	}
	return h, h.check(name, detached)
}

func text(b []byte, n int) string {
	s, _, _ := strings.Cut(string(b[:n]), "\x00")
	return s
}

// parseSpec parses cipher name and mode, "xts-plain64" or "cbc-essiv:sha256", section 6.
func (h *Header) parseSpec(cipher, mode, name string) (err error) {
	h.Spec, err = sectors.Of(cipher, mode, h.KeySize)
	return inFile(err, name)
}

// inFile names the file in an error about a spec.
func inFile(err error, name string) error {
	var e *blockdev.Error
	if errors.As(err, &e) {
		e.File = name
	}
	return err
}

// check refuses what cannot be right, or is not supported.
func (h *Header) check(name string, detached bool) error {
	refuse := func(kind error, format string, args ...any) error {
		return blockdev.Errorf(kind, "open", name, format, args...)
	}
	if err := h.checkNames(); err != nil {
		return inFile(err, name)
	}
	if h.Iterations == 0 {
		return refuse(blockdev.ErrCorrupt, "LUKS key iteration count is zero")
	}
	if h.Iterations > maxIterations {
		return refuse(blockdev.ErrLimit, "LUKS key asks for %d iterations, more than %d", h.Iterations, maxIterations)
	}
	if h.Payload < HeaderBytes && !detached {
		return refuse(blockdev.ErrCorrupt, "LUKS payload is overlapping with the header")
	}
	return h.checkSlots(detached, refuse)
}

// checkNames tells which algorithm is unknown.
func (h *Header) checkNames() error {
	if _, ok := sectors.Hashes[h.Hash]; !ok {
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", "", "Hash algorithm '%s' not supported", h.Hash)
	}
	return h.Check()
}

// checkSlots refuses slots that are not where slots can be.
func (h *Header) checkSlots(detached bool, refuse func(error, string, ...any) error) error {
	size := h.materialBytes()
	for i, s := range h.Slots {
		switch {
		case s.Active && s.Iterations == 0:
			return refuse(blockdev.ErrCorrupt, "Keyslot %d iteration count is zero", i)
		case s.Active && s.Iterations > maxIterations:
			return refuse(blockdev.ErrLimit, "Keyslot %d asks for %d iterations, more than %d", i, s.Iterations, maxIterations)
		case s.Stripes != stripes:
			return refuse(blockdev.ErrCorrupt, "Keyslot %d is corrupted (stripes %d != %d)", i, s.Stripes, stripes)
		case s.Offset < HeaderBytes:
			return refuse(blockdev.ErrCorrupt, "Keyslot %d is overlapping with the LUKS header", i)
		case !detached && s.Offset+size > h.Payload:
			return refuse(blockdev.ErrCorrupt, "Keyslot %d is overlapping with the encrypted payload", i)
		}
		for j, o := range h.Slots[:i] {
			if s.Offset < o.Offset+size && o.Offset < s.Offset+size {
				return refuse(blockdev.ErrCorrupt, "Keyslots %d and %d are overlapping in the header", j, i)
			}
		}
	}
	return nil
}

// materialBytes is how much of the file a slot takes.
func (h *Header) materialBytes() int64 {
	return (int64(h.KeySize)*stripes + SectorSize - 1) / SectorSize * SectorSize
}

// Encode is the reverse of Parse.
func (h *Header) Encode() []byte {
	b := make([]byte, HeaderBytes)
	be := binary.BigEndian
	copy(b, magic)
	be.PutUint16(b[offVersion:], 1)
	cipher, mode := h.DMCrypt()
	copy(b[offCipher:], cipher)
	copy(b[offMode:], mode)
	copy(b[offHash:], h.Hash)
	be.PutUint32(b[offPayload:], uint32(h.Payload/SectorSize))
	be.PutUint32(b[offKeyBytes:], uint32(h.KeySize))
	copy(b[offDigest:], h.digest[:])
	copy(b[offDigestSalt:], h.salt[:])
	be.PutUint32(b[offDigestIter:], h.Iterations)
	copy(b[offUUID:], h.UUID)
	for i, s := range h.Slots {
		at := b[offSlots+i*slotBytes:]
		be.PutUint32(at, slotInactive)
		if s.Active {
			be.PutUint32(at, slotActive)
		}
		be.PutUint32(at[offSlotIter:], s.Iterations)
		copy(at[offSlotSalt:], s.salt[:])
		be.PutUint32(at[offSlotOffset:], uint32(s.Offset/SectorSize))
		be.PutUint32(at[offSlotStripes:], s.Stripes)
	}
	return b
}
