package luks2

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
)

const password = "correct horse battery staple"

// golden is a volume that cryptsetup made: testdata/luks/make.sh says how.
func golden(t testing.TB) []byte { return peer.Gunzip(t, "../../../testdata/luks/luks2.luks.gz") }

const copySize = 16 << 10

// sign makes the checksum of the copy at a place right.
func sign(b []byte, at int) {
	c := b[at : at+copySize]
	clear(c[offChecksum : offChecksum+checksumSize])
	sum := sha256.Sum256(c)
	copy(c[offChecksum:], sum[:])
}

// withText replaces the JSON of the first copy, and makes that the newer one.
func withText(b []byte, text string) {
	area := b[binaryBytes:copySize]
	clear(area)
	copy(area, text)
	binary.BigEndian.PutUint64(b[offSequence:], 1000)
	sign(b, 0)
}

func text(b []byte) string { return cString(b[binaryBytes:], copySize-binaryBytes) }

func read(b []byte) (*Header, error) { return Read(bytes.NewReader(b), int64(len(b)), "test", false) }

// TestCopies damages one copy or both.
func TestCopies(t *testing.T) {
	second := func(off int, v string) func([]byte) {
		return func(b []byte) { copy(b[copySize+off:], v) }
	}
	first := func(off int, v string) func([]byte) { return func(b []byte) { copy(b[off:], v) } }
	for _, c := range []struct {
		name string
		do   []func([]byte)
		want string
	}{
		{"none", nil, ""},
		{"first magic", []func([]byte){first(0, "X")}, ""},
		{"first size", []func([]byte){first(offSize, "\xff")}, ""},
		{"first text", []func([]byte){first(binaryBytes, "X")}, ""},
		{"first all", []func([]byte){func(b []byte) { clear(b[:copySize]) }}, ""},
		{"second text", []func([]byte){second(binaryBytes, "X")}, ""},
		{"second size", []func([]byte){second(offSize, "\xff")}, ""},
		{"both", []func([]byte){first(binaryBytes, "X"), second(binaryBytes, "X")}, "Checksum of the LUKS2 header at offset 0 is wrong"},
		{"size odd", []func([]byte){first(offSize, "\x00\x00\x00\x00\x00\x00\x50"), second(0, "X")}, "LUKS2 header at offset 0 claims 20480 bytes"},
		{"size huge", []func([]byte){first(offSize, "\xff"), second(0, "X")}, "LUKS2 header at offset 0 claims 18374686479671640064 bytes"},
		{"offset", []func([]byte){first(offPlace, "\x01"), second(0, "X")}, "LUKS2 header at offset 0 is for offset 72057594037927936"},
		{"hash", []func([]byte){first(offHash, "foo\x00"), second(0, "X")}, "Hash algorithm 'foo' not supported"},
		{"hash endless", []func([]byte){first(offHash, strings.Repeat("a", 32)), second(0, "X")}, "Hash algorithm '" + strings.Repeat("a", 32) + "' not supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := golden(t)
			for _, do := range c.do {
				do(b)
			}
			if !Found(bytes.NewReader(b), int64(len(b))) && c.want == "" {
				t.Error("it is not found")
			}
			h, err := read(b)
			if blockdev.Message(err) != c.want {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if err != nil {
				return
			}
			if _, err := h.Unlock(t.Context(), []byte(password), bytes.NewReader(b), "test"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTheNewerCopyCounts: the second one is newer, and says something else.
func TestTheNewerCopyCounts(t *testing.T) {
	b := golden(t)
	copy(b[copySize+offUUID:], "another")
	b[copySize+offSequence] = 1
	sign(b, copySize)
	if h, err := read(b); err != nil || !strings.HasPrefix(h.UUID, "another") {
		t.Errorf("%+v, %v", h, err)
	}
}

// damages replace a piece of the JSON.
var damages = []struct{ name, old, new, want string }{
	{"no JSON", "{", "", "LUKS2 metadata cannot be read"},
	{"requirement", `"config":{`, `"config":{"requirements":{"mandatory":["foo","bar"]},`, "LUKS2 volume requires 'foo', 'bar', which is not supported"},
	{"area of key slots huge", `"keyslots_size":"491520"`, `"keyslots_size":"9223372036854775807"`, "LUKS2 key slots, 9223372036854775807 bytes, are not in the file"},
	{"area of key slots negative", `"keyslots_size":"491520"`, `"keyslots_size":"-1"`, "LUKS2 key slots, -1 bytes, are not in the file"},
	{"two segments", `"segments":{`, `"segments":{"1":{"type":"linear","offset":"0","size":"512"},`, "LUKS2 volume of 2 segments is not supported, only of one"},
	{"segment's type", `"type":"crypt"`, `"type":"linear"`, "LUKS2 segment of type 'linear' is not supported"},
	{"integrity", `"type":"crypt"`, `"type":"crypt","integrity":{"type":"hmac(sha256)"}`, "LUKS2 segment with integrity protection is not supported"},
	{"flag", `"type":"crypt"`, `"type":"crypt","flags":["backup-final"]`, "LUKS2 segment with flag 'backup-final' is not supported"},
	{"sector 0", `"sector_size":4096`, `"sector_size":0`, "LUKS2 segment has sectors of 0 bytes"},
	{"sector odd", `"sector_size":4096`, `"sector_size":1536`, "LUKS2 segment has sectors of 1536 bytes"},
	{"sector huge", `"sector_size":4096`, `"sector_size":8192`, "LUKS2 segment has sectors of 8192 bytes"},
	{"segment's size", `"size":"dynamic"`, `"size":"4097"`, "LUKS2 segment has a size of '4097'"},
	{"segment's size negative", `"size":"dynamic"`, `"size":"-4096"`, "LUKS2 segment has a size of '-4096'"},
	{"segment's size no number", `"size":"dynamic"`, `"size":"all"`, "LUKS2 segment has a size of 'all'"},
	{"segment's offset", `"offset":"524288"`, `"offset":"4096"`, "LUKS2 segment begins at offset 4096"},
	{"segment's offset odd", `"offset":"524288"`, `"offset":"524289"`, "LUKS2 segment begins at offset 524289"},
	{"segment's offset huge", `"offset":"524288"`, `"offset":"9223372036854775807"`, "LUKS2 segment begins at offset 9223372036854775807"},
	{"tweak", `"iv_tweak":"0"`, `"iv_tweak":"-1"`, "LUKS2 metadata cannot be read"},
	{"tweak huge", `"iv_tweak":"0"`, `"iv_tweak":"18446744073709551615"`, "LUKS2 segment has an IV tweak of 18446744073709551615"},
	{"no digest", `"segments":["0"]`, `"segments":["7"]`, "LUKS2 segment has no digest"},
	{"digest's type", `"type":"pbkdf2"`, `"type":"foo"`, "LUKS2 digest of type 'foo' is not supported"},
	{"digest's hash", `"hash":"sha256","iterations"`, `"hash":"foo","iterations"`, "Hash algorithm 'foo' not supported"},
	{"digest's iterations", `"iterations":1000`, `"iterations":1000000000`, "LUKS2 digest asks for 1000000000 iterations, not 1 to 134217728"},
	{"no key slots", `"keyslots":["0"]`, `"keyslots":[]`, "LUKS2 volume has no key slots"},
	{"missing key slot", `"keyslots":["0"]`, `"keyslots":["3"]`, "LUKS2 digest is for key slot '3', which is not there"},
	{"key slot twice", `"keyslots":["0"]`, `"keyslots":["0","0"]`, "LUKS2 digest names key slot 0 twice"},
	{"key slot's type", `"type":"luks2"`, `"type":"reencrypt"`, "LUKS2 key slot 0 of type 'reencrypt' is not supported"},
	{"splitter", `"type":"luks1"`, `"type":"foo"`, "LUKS2 key slot 0, split by 'foo' with 'sha256', is not supported"},
	{"stripes", `"stripes":4000`, `"stripes":400000000`, "LUKS2 key slot 0 has a key of 32 bytes in 400000000 stripes"},
	{"stripes none", `"stripes":4000`, `"stripes":0`, "LUKS2 key slot 0 has a key of 32 bytes in 0 stripes"},
	{"area's type", `"type":"raw"`, `"type":"foo"`, "LUKS2 key slot 0 with an area of type 'foo' is not supported"},
	{"area's offset", `"offset":"32768"`, `"offset":"0"`, "LUKS2 key slot 0, 131072 bytes at offset 0, is not in the area of key slots"},
	{"area's offset huge", `"offset":"32768"`, `"offset":"9223372036854775807"`, "LUKS2 key slot 0, 131072 bytes at offset 9223372036854775807, is not in the area of key slots"},
	{"area's size", `"size":"131072"`, `"size":"127999"`, "LUKS2 key slot 0, 127999 bytes at offset 32768, is not in the area of key slots"},
	{"area's size huge", `"size":"131072"`, `"size":"9223372036854775807"`, "LUKS2 key slot 0, 9223372036854775807 bytes at offset 32768, is not in the area of key slots"},
	{"cipher", `"encryption":"aes-xts-plain64"`, `"encryption":"foo-xts-plain64"`, "Algorithm 'foo' with key size 16 bytes not supported"},
	{"cipher empty", `"encryption":"aes-xts-plain64"`, `"encryption":""`, "Unexpected cipher mode string format ''"},
	{"key derivation", `"type":"argon2id"`, `"type":"foo"`, "LUKS2 key slot 0 with key derivation 'foo' is not supported"},
	{"memory", `"memory":32`, `"memory":4194304`, "LUKS2 key slot 0 asks for 4194304 KiB of memory, not 1 to 1048576"},
	{"memory none", `"memory":32`, `"memory":0`, "LUKS2 key slot 0 asks for 0 KiB of memory, not 1 to 1048576"},
	{"passes", `"time":4`, `"time":4294967295`, "LUKS2 key slot 0 asks for 4294967295 passes over 32 KiB, together more than 67108864"},
	{"passes none", `"time":4`, `"time":0`, "LUKS2 key slot 0 asks for 0 passes over 32 KiB, together more than 67108864"},
	{"lanes", `"cpus":1`, `"cpus":1000`, "LUKS2 key slot 0 asks for 1000 lanes, not 1 to 64"},
}

func TestDamagedTablesAreRefused(t *testing.T) {
	sound := golden(t)
	if _, err := read(sound); err != nil {
		t.Fatal(err)
	}
	for _, c := range damages {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(sound)
			if !strings.Contains(text(b), c.old) {
				t.Fatalf("no %s in %s", c.old, text(b))
			}
			withText(b, strings.Replace(text(b), c.old, c.new, 1))
			if _, err := read(b); !strings.HasPrefix(blockdev.Message(err), c.want) || err == nil {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestLongTextIsRefused: of an area of 4 MiB only a part may be JSON.
func TestLongTextIsRefused(t *testing.T) {
	c := &copyOf{size: maxCopy, text: bytes.Repeat([]byte(" "), maxText+1)}
	if _, err := parse(c, 1<<40, false); blockdev.Message(err) != fmt.Sprintf("LUKS2 metadata is longer than %d bytes", maxText) {
		t.Error(err)
	}
}

// FuzzHeader reads any JSON and any start of the binary header, with right checksums. Slots
// are not opened: deriving keys would take all the time.
func FuzzHeader(f *testing.F) {
	sound := golden(f)
	f.Add(sound[:binaryBytes], text(sound))
	for _, d := range damages {
		f.Add(sound[:600], strings.Replace(text(sound), d.old, d.new, 1))
	}
	f.Fuzz(func(_ *testing.T, head []byte, json string) {
		b := bytes.Clone(sound)
		copy(b[:binaryBytes], head)
		withText(b, json)
		_ = Found(bytes.NewReader(b), int64(len(b)))
		if h, err := read(b); err == nil {
			_ = h.Fields()
		}
	})
}
