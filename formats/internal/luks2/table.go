package luks2

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/sectors"
)

// The JSON of section 3. Numbers of 64 bits are strings there.
type table struct {
	Keyslots map[string]keyslot `json:"keyslots"`
	Segments map[string]segment `json:"segments"`
	Digests  map[string]digest  `json:"digests"`
	Config   struct {
		KeyslotsSize int64        `json:"keyslots_size,string"`
		Requirements requirements `json:"requirements"`
	} `json:"config"`
}

// requirements are what a reader must know of.
type requirements struct {
	Mandatory []string `json:"mandatory"`
}

type segment struct {
	Type       string          `json:"type"`
	Offset     int64           `json:"offset,string"`
	Size       string          `json:"size"`
	Tweak      uint64          `json:"iv_tweak,string"`
	Encryption string          `json:"encryption"`
	SectorSize int             `json:"sector_size"`
	Integrity  json.RawMessage `json:"integrity"`
	Flags      []string        `json:"flags"`
}

type digest struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations int64    `json:"iterations"`
	Salt       []byte   `json:"salt"`
	Digest     []byte   `json:"digest"`
}

type keyslot struct {
	Type     string `json:"type"`
	KeySize  int    `json:"key_size"`
	Priority *int   `json:"priority"`
	AF       struct {
		Type    string `json:"type"`
		Stripes int    `json:"stripes"`
		Hash    string `json:"hash"`
	} `json:"af"`
	Area struct {
		Type       string `json:"type"`
		Offset     int64  `json:"offset,string"`
		Size       int64  `json:"size,string"`
		Encryption string `json:"encryption"`
		KeySize    int    `json:"key_size"`
	} `json:"area"`
	KDF kdf `json:"kdf"`
}

// Dynamic is the size of a segment that reaches to the end of the file.
const Dynamic = -1

// Segment is where the disk is, and how it is encrypted.
type Segment struct {
	sectors.Spec
	Offset     int64  // in the file, bytes
	Size       int64  // bytes, or Dynamic
	Tweak      uint64 // what is added to the numbers of sectors for initial vectors
	SectorSize int64  // bytes
}

// slot is a key slot that can be opened.
type slot struct {
	keyslot
	number int
	spec   sectors.Spec // of the area
}

// parse checks what the JSON says.
func parse(c *copyOf, size int64, detached bool) (*Header, error) {
	if len(c.text) > maxText {
		return nil, tooMuch("LUKS2 metadata is longer than %d bytes", maxText)
	}
	var t table
	if err := json.Unmarshal(c.text, &t); err != nil {
		return nil, &blockdev.Error{Kind: blockdev.ErrCorrupt, Op: "open", Offset: binaryBytes, Text: "LUKS2 metadata cannot be read", Err: err}
	}
	if m := t.Config.Requirements.Mandatory; len(m) > 0 {
		return nil, unsupported("LUKS2 volume requires '%s', which is not supported", strings.Join(m, "', '"))
	}
	h := &Header{UUID: c.uuid, copySize: c.size}
	if n := t.Config.KeyslotsSize; n < 0 || n > size-2*c.size {
		return nil, corrupt("LUKS2 key slots, %d bytes, are not in the file", n)
	}
	areaEnd := 2*c.size + t.Config.KeyslotsSize
	id, err := h.takeSegment(t.Segments, areaEnd, detached)
	if err != nil {
		return nil, err
	}
	if err := h.takeDigest(t.Digests, id); err != nil {
		return nil, err
	}
	keyBytes, err := h.takeSlots(t.Keyslots, areaEnd)
	if err != nil {
		return nil, err
	}
	h.Segment.Spec, err = specOf(t.Segments[id].Encryption, keyBytes)
	return h, err
}

// takeSegment takes the only one, section 3.3. There are several while a volume is being
// encrypted anew.
func (h *Header) takeSegment(all map[string]segment, areaEnd int64, detached bool) (id string, err error) {
	if len(all) != 1 {
		return "", unsupported("LUKS2 volume of %d segments is not supported, only of one", len(all))
	}
	var s segment
	for id, s = range all {
	}
	size, ok := int64(Dynamic), true
	if s.Size != "dynamic" {
		size, err = strconv.ParseInt(s.Size, 10, 64)
		ok = err == nil && size > 0 && size <= blockdev.MaxSize && s.SectorSize > 0 && size%int64(s.SectorSize) == 0
	}
	switch {
	case s.Type != "crypt":
		return "", unsupported("LUKS2 segment of type '%s' is not supported", s.Type)
	case len(s.Integrity) > 0:
		return "", unsupported("LUKS2 segment with integrity protection is not supported")
	case len(s.Flags) > 0:
		return "", unsupported("LUKS2 segment with flag '%s' is not supported", s.Flags[0])
	case s.SectorSize < sectors.Size || s.SectorSize > sectors.MaxSize || s.SectorSize&(s.SectorSize-1) != 0:
		return "", corrupt("LUKS2 segment has sectors of %d bytes", s.SectorSize)
	case !ok:
		return "", corrupt("LUKS2 segment has a size of '%s'", s.Size)
	case s.Offset < 0 || s.Offset > blockdev.MaxSize || s.Offset%sectors.Size != 0 || !detached && s.Offset < areaEnd:
		return "", corrupt("LUKS2 segment begins at offset %d", s.Offset)
	case s.Tweak > math.MaxInt64:
		return "", corrupt("LUKS2 segment has an IV tweak of %d", s.Tweak)
	}
	h.Segment = Segment{Offset: s.Offset, Size: size, Tweak: s.Tweak, SectorSize: int64(s.SectorSize)}
	return id, nil
}

// takeDigest finds the one that the segment's key is known by, section 3.4.
func (h *Header) takeDigest(all map[string]digest, segment string) error {
	for _, d := range all {
		if !slices.Contains(d.Segments, segment) {
			continue
		}
		switch _, known := sectors.Hashes[d.Hash]; {
		case d.Type != kdfPBKDF2:
			return unsupported("LUKS2 digest of type '%s' is not supported", d.Type)
		case !known:
			return unsupported("Hash algorithm '%s' not supported", d.Hash)
		case d.Iterations < 1 || d.Iterations > maxIterations:
			return tooMuch("LUKS2 digest asks for %d iterations, not 1 to %d", d.Iterations, maxIterations)
		case len(d.Digest) < minDigest || len(d.Digest) > checksumSize:
			return corrupt("LUKS2 digest has %d bytes", len(d.Digest))
		}
		h.digest = d
		return nil
	}
	return corrupt("LUKS2 segment has no digest")
}

// Priorities of key slots: those to ignore are never tried unasked.
const (
	priorityIgnore = 0
	priorityNormal = 1
)

func (k *keyslot) priority() int {
	if k.Priority == nil {
		return priorityNormal
	}
	return *k.Priority
}

// takeSlots takes those that hold the segment's key, in the order to try them. It tells how
// long the key is.
func (h *Header) takeSlots(all map[string]keyslot, areaEnd int64) (keyBytes int, err error) {
	if len(h.digest.Keyslots) == 0 {
		return 0, corrupt("LUKS2 volume has no key slots")
	}
	for _, id := range h.digest.Keyslots {
		k, ok := all[id]
		n, err := strconv.Atoi(id)
		switch {
		case !ok || err != nil || n < 0 || n >= maxSlots:
			return 0, corrupt("LUKS2 digest is for key slot '%s', which is not there", id)
		case keyBytes != 0 && k.KeySize != keyBytes:
			return 0, corrupt("LUKS2 key slots have keys of %d and of %d bytes", keyBytes, k.KeySize)
		case slices.ContainsFunc(h.slots, func(s slot) bool { return s.number == n }):
			return 0, corrupt("LUKS2 digest names key slot %d twice", n)
		}
		keyBytes = k.KeySize
		if k.priority() == priorityIgnore {
			continue
		}
		s := slot{keyslot: k, number: n}
		if err := s.check(2*h.copySize, areaEnd); err != nil {
			return 0, err
		}
		h.slots = append(h.slots, s)
	}
	slices.SortFunc(h.slots, func(a, b slot) int {
		return cmp.Or(cmp.Compare(b.priority(), a.priority()), cmp.Compare(a.number, b.number))
	})
	return keyBytes, nil
}

// specOf is "aes-xts-plain64" with a key of that many bytes.
func specOf(encryption string, keyBytes int) (sectors.Spec, error) {
	cipher, mode, _ := strings.Cut(encryption, "-")
	s, err := sectors.Of(cipher, mode, keyBytes)
	if err != nil {
		return s, err
	}
	return s, s.Check()
}

// check refuses a slot that cannot be opened, section 3.2.
func (s *slot) check(areaStart, areaEnd int64) (err error) {
	k := &s.keyslot
	need := (int64(k.KeySize)*int64(k.AF.Stripes) + sectors.Size - 1) / sectors.Size * sectors.Size
	_, known := sectors.Hashes[k.AF.Hash]
	switch {
	case k.Type != "luks2":
		return unsupported("LUKS2 key slot %d of type '%s' is not supported", s.number, k.Type)
	case k.AF.Type != "luks1" || !known:
		return unsupported("LUKS2 key slot %d, split by '%s' with '%s', is not supported", s.number, k.AF.Type, k.AF.Hash)
	case k.Area.Type != "raw":
		return unsupported("LUKS2 key slot %d with an area of type '%s' is not supported", s.number, k.Area.Type)
	case k.KeySize < 1 || k.KeySize > maxKey || k.AF.Stripes < 1 || k.AF.Stripes > maxStripes:
		return corrupt("LUKS2 key slot %d has a key of %d bytes in %d stripes", s.number, k.KeySize, k.AF.Stripes)
	case k.Area.Offset < areaStart || k.Area.Offset > areaEnd || k.Area.Size < need || k.Area.Size > areaEnd-k.Area.Offset:
		return corrupt("LUKS2 key slot %d, %d bytes at offset %d, is not in the area of key slots", s.number, k.Area.Size, k.Area.Offset)
	}
	if s.spec, err = specOf(k.Area.Encryption, k.Area.KeySize); err != nil {
		return err
	}
	return k.KDF.check(s.number)
}
