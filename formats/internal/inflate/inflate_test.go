package inflate

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	kflate "github.com/klauspost/compress/flate"
)

// deflate compresses b as the standard library does.
func deflate(tb testing.TB, level int, b []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// text are n bytes of random words.
func text(n int) []byte {
	random := rand.New(rand.NewChaCha8([32]byte{1}))
	words := make([]string, 4096)
	for i := range words {
		w := make([]byte, 2+random.IntN(9))
		for k := range w {
			w[k] = byte('a' + random.IntN(26))
		}
		words[i] = string(w)
	}
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[random.IntN(len(words))] + " ")
	}
	return []byte(b.String()[:n])
}

// binaryData are n bytes like those of programs and tables: short runs, copies from a little
// before, some noise.
func binaryData(n int) []byte {
	random := rand.New(rand.NewChaCha8([32]byte{2}))
	b := make([]byte, 0, n+64)
	for len(b) < n {
		switch k := random.IntN(8); {
		case k < 3 && len(b) > 64:
			from := len(b) - 1 - random.IntN(min(len(b)-1, 4000))
			b = append(b, b[from:min(from+4+random.IntN(24), len(b))]...)
		case k < 5:
			b = append(b, bytes.Repeat([]byte{byte(random.IntN(3))}, 1+random.IntN(12))...)
		default:
			for range 1 + random.IntN(6) {
				b = append(b, byte(random.NormFloat64()*20+100))
			}
		}
	}
	return b[:n]
}

// TestRaw shows that streams of every kind of block come out as they went in, also into
// outputs that are too small, and that what follows a stream is left alone.
func TestRaw(t *testing.T) {
	noise := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(noise)
	inputs := map[string][]byte{
		"nothing": nil, "one byte": {7}, "zeros": make([]byte, 70_000), "text": text(150_000),
		"binary": binaryData(150_000), "noise": noise, "period 3": bytes.Repeat([]byte("abc"), 9000),
		"period 7": bytes.Repeat([]byte("abcdefg"), 9000), "period 9": bytes.Repeat([]byte("abcdefghi"), 9000),
	}
	for name, plain := range inputs {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, 6, flate.BestCompression} {
			packed := deflate(t, level, plain)
			src := append(packed[:len(packed):len(packed)], "garbage behind the stream"...)
			got := bytes.Repeat([]byte{0xee}, len(plain)+300)
			n, used, err := Raw(got, src)
			if err != nil || n != len(plain) || used != len(packed) || !bytes.Equal(got[:n], plain) {
				t.Errorf("%s, level %d: %d bytes of %d from %d of %d: %v", name, level, n, len(plain), used, len(packed), err)
			}
			for _, size := range []int{0, 1, 2, 257, 4096, len(plain) - 1, len(plain)} {
				if size < 0 || size > len(plain) {
					continue
				}
				// What lies behind the output is not touched.
				room := bytes.Repeat([]byte{0xee}, size+16)
				n, _, err := Raw(room[:size], src)
				if want := map[bool]error{true: nil, false: ErrFull}[size == len(plain)]; err != want || n != size || !bytes.Equal(room[:n], plain[:size]) {
					t.Errorf("%s, level %d, into %d bytes: %d, %v", name, level, size, n, err)
				}
				if !bytes.Equal(room[size:], bytes.Repeat([]byte{0xee}, 16)) {
					t.Errorf("%s, level %d, into %d bytes: written behind them", name, level, size)
				}
			}
		}
	}
}

// TestTruncated shows that a stream that ends too early gives what is there, and the error.
func TestTruncated(t *testing.T) {
	plain := binaryData(3000)
	packed := deflate(t, 6, plain)
	got := make([]byte, len(plain)+1)
	for size := range packed {
		n, _, err := Raw(got, packed[:size])
		if e, ok := err.(*Error); !ok || e.Err != io.ErrUnexpectedEOF || e.Offset != size || !bytes.Equal(got[:n], plain[:n]) {
			t.Fatalf("%d of %d bytes: %d bytes, %v", size, len(packed), n, err)
		}
	}
}

// TestDamage shows which error each kind of damage gives.
func TestDamage(t *testing.T) {
	for _, test := range []struct{ name, packed, want string }{
		{"third type of block", "\x07", "deflate: unknown type of block at byte 1"},
		{"stored length", "\x01\x01\x00\x00\x00x", "deflate: the length of a stored block does not match its complement at byte 1"},
		{"287 literals", "\xf5\xff\xff\xff", "deflate: too many symbols in a code at byte 3"},
		{"no code of code lengths", "\x05\x00\x00\x00\x00\x00\x00\x00", "deflate: unknown code of a code length at byte 4"},
		{"distance before the beginning", "\x4b\x04\x12\x00", "deflate: impossible distance at byte 3"},
	} {
		_, _, err := Raw(make([]byte, 1000), []byte(test.packed))
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// FuzzRaw compares with the standard library: the same bytes, or an error where it has one.
func FuzzRaw(f *testing.F) {
	for _, b := range [][]byte{text(600), binaryData(2000), make([]byte, 300), []byte("abcabcabc")} {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 9} {
			f.Add(deflate(f, level, b), uint16(len(b)))
			f.Add(deflate(f, level, b), uint16(4000))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte, size uint16) {
		want, failure := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), int64(size)+1))
		room := bytes.Repeat([]byte{0xee}, int(size)+16)
		// The input ends at the end of its memory.
		n, used, err := Raw(room[:size], append(make([]byte, 0, len(packed)), packed...))
		if used > len(packed) {
			t.Fatalf("used %d bytes of %d", used, len(packed))
		}
		if !bytes.Equal(room[size:], bytes.Repeat([]byte{0xee}, 16)) {
			t.Fatal("written behind the output")
		}
		if full := len(want) > int(size); full {
			if err != ErrFull || n != int(size) || !bytes.Equal(room[:n], want[:size]) {
				t.Fatalf("%d bytes of %d, %v", n, size, err)
			}
			return
		}
		// Where the input ends too early the library may leave out the last literals: it
		// does not use bits that are too few for the end of the block.
		short := failure == io.ErrUnexpectedEOF && bytes.HasPrefix(room[:n], want)
		if (err == nil) != (failure == nil) || !bytes.Equal(room[:n], want) && !short {
			t.Fatalf("%d bytes and %v, want %d and %v", n, err, len(want), failure)
		}
	})
}

// BenchmarkRaw compares with the library that is used elsewhere for streams, on clusters of
// 64 KiB packed as convert -c packs them.
func BenchmarkRaw(b *testing.B) {
	for name, plain := range map[string][]byte{"text": text(64 << 10), "binary": binaryData(64 << 10)} {
		var out bytes.Buffer
		w, err := kflate.NewWriterWindow(&out, 4<<10)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = w.Write(plain)
		_ = w.Close()
		packed, got := out.Bytes(), make([]byte, len(plain))
		b.Run(name+"/inflate", func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				if n, _, err := Raw(got, packed); err != nil || n != len(got) {
					b.Fatal(n, err)
				}
			}
		})
		b.Run(name+"/klauspost", func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			src := bytes.NewReader(packed)
			r := kflate.NewReader(src)
			for b.Loop() {
				src.Reset(packed)
				_ = r.(kflate.Resetter).Reset(src, nil)
				if _, err := io.ReadFull(r, got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
