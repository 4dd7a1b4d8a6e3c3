package lzfse

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// block puts an LZVN block and the end around instructions.
func block(raw int, instructions string) string {
	n := len(instructions)
	return "bvxn" + string([]byte{byte(raw), byte(raw >> 8), 0, 0, byte(n), byte(n >> 8), 0, 0}) + instructions + "bvx$"
}

const lzvnEnd = "\x06\x00\x00\x00\x00\x00\x00\x00"

func TestUnpack(t *testing.T) {
	for name, c := range map[string]struct{ packed, want string }{
		"nothing":            {"bvx$", ""},
		"as it is":           {"bvx-\x03\x00\x00\x00abcbvx$", "abc"},
		"two blocks":         {"bvx-\x03\x00\x00\x00abc" + block(3, "\x00\x03"+lzvnEnd), "abcabc"},
		"literals":           {block(3, "\xe3abc"+lzvnEnd), "abc"},
		"many literals":      {block(16, "\xe0\x000123456789abcdef"+lzvnEnd), "0123456789abcdef"},
		"literals and match": {block(7, "\xc8\x03abc"+lzvnEnd), "abcabca"},
		"distance as before": {block(10, "\xc0\x03abc\x46d"+lzvnEnd), "abcabcdbcd"},
		"large distance":     {block(6, "\xc7\x03\x00abc"+lzvnEnd), "abcabc"},
		"middle distance":    {block(8, "\xb8\x0e\x00abc"+lzvnEnd), "abcabcab"},
		"match":              {block(8, "\xc0\x03abc\xf2"+lzvnEnd), "abcabcab"},
		"long match":         {block(22, "\xc0\x03abc\xf0\x00"+lzvnEnd), strings.Repeat("abc", 8)[:22]},
		"nothing to do":      {block(3, "\x0e\xe3abc\x16"+lzvnEnd), "abc"},

		"no instruction":    {block(3, "\x70abc"+lzvnEnd), ""},
		"no end":            {block(3, "\xe3abc"), ""},
		"too far back":      {block(7, "\xc8\x04abc"+lzvnEnd), ""},
		"no distance yet":   {block(4, "\xe1a\xf3"+lzvnEnd), ""},
		"literals cut":      {block(4, "\xefabc"), ""},
		"longer than said":  {block(2, "\xe3abc"+lzvnEnd), ""},
		"shorter than said": {block(4, "\xe3abc"+lzvnEnd), ""},
		"another magic":     {"bvx1\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		"header cut":        {"bvx2\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		"sizes all ones":    {"bvx2" + strings.Repeat("\xff", 40), ""},
		"raw size all ones": {"bvx-\xff\xff\xff\xffabcbvx$", ""},
		"half a magic":      {"bv", ""},
	} {
		if name == "nothing" {
			if err := Unpack(nil, []byte(c.packed)); err != nil {
				t.Error(err)
			}
			continue
		}
		out := make([]byte, max(len(c.want), 3))
		err := Unpack(out, []byte(c.packed))
		if c.want == "" && err == nil || c.want != "" && (err != nil || string(out) != c.want) {
			t.Errorf("%s: %q, %v, want %q", name, out, err, c.want)
		}
	}
}

// codedSize is what the first chunk of ulfo.dmg unpacks to.
const codedSize = 256*512 + 4096

// TestDamageComesBack changes coded data, the only kind that the table above has none of: an
// error is fine, and so is another text, but nothing else.
func TestDamageComesBack(t *testing.T) {
	file, err := os.ReadFile("../../../testdata/dmg/ulfo.dmg")
	if err != nil {
		t.Fatal(err)
	}
	coded := file[:bytes.Index(file, []byte("bvx$"))+4]
	if err := Unpack(make([]byte, codedSize), coded); err != nil || string(coded[:4]) != "bvx2" {
		t.Fatalf("%q: %v", coded[:4], err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		b := bytes.Clone(coded)
		for range 1 + r.IntN(3) {
			b[r.IntN(len(b))] = byte(r.IntN(256))
		}
		_ = Unpack(make([]byte, codedSize), b)
	}
	for n := range coded {
		if err := Unpack(make([]byte, codedSize), coded[:n]); err == nil && n < len(coded)-4 {
			t.Errorf("the first %d bytes are enough", n)
		}
	}
}
