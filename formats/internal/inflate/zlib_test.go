package inflate

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"testing"
)

// FuzzZlib compares with the standard library.
func FuzzZlib(f *testing.F) {
	for _, plain := range [][]byte{nil, text(300), binaryData(900)} {
		packed := zlibbed(plain)
		f.Add(packed)
		f.Add(packed[:len(packed)-1])
		f.Add(append(packed, "behind"...))
		packed[len(packed)/2] ^= 4
		f.Add(packed)
	}
	f.Add([]byte{0x78, 0x9d, 3, 0, 0, 0, 0, 1}) // the header's check
	f.Add([]byte{0x88, 0x1c, 3, 0, 0, 0, 0, 1}) // a window of 64 KiB
	f.Fuzz(func(t *testing.T, packed []byte) {
		if len(packed) > 1 && packed[1]&hasPreset != 0 {
			t.Skip("the library takes the checksum of no dictionary for a dictionary's")
		}
		const size = 5000
		var want []byte
		r, failure := zlib.NewReader(bytes.NewReader(packed))
		if failure == nil {
			want, failure = io.ReadAll(io.LimitReader(r, size+1))
		}
		got := make([]byte, size)
		n, err := Zlib(got, packed)
		if len(want) > size {
			if err != ErrFull || !bytes.Equal(got, want[:size]) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			return
		}
		if (err == nil) != (failure == nil) || !bytes.HasPrefix(got[:n], want) || err == nil && n != len(want) {
			t.Fatalf("%d bytes and %v, want %d and %v", n, err, len(want), failure)
		}
	})
}

// TestZlibErrors shows where an error is said to be.
func TestZlibErrors(t *testing.T) {
	packed := zlibbed([]byte("some text"))
	damaged := bytes.Clone(packed)
	damaged[len(damaged)-1]++
	for _, test := range []struct {
		packed []byte
		want   string
	}{
		{nil, "deflate: the data ends at byte 0"},
		{packed[:1], "deflate: the data ends at byte 1"},
		{packed[:5], "deflate: the data ends at byte 5"},
		{packed[:len(packed)-1], "deflate: the data ends at byte 20"},
		{damaged, "deflate: the checksum is wrong at byte 17"},
		{[]byte{0x78, 0xbb, 0, 0, 0, 1, 3, 0, 0, 1}, "deflate: a preset dictionary is needed at byte 0"},
		{[]byte("no"), "deflate: no zlib header at byte 0"},
		{[]byte{0x78, 0x9c, 7}, "deflate: unknown type of block at byte 3"},
	} {
		n, err := Zlib(make([]byte, 100), test.packed)
		if err == nil || err.Error() != test.want {
			t.Errorf("% x: %d bytes, %v, want %q", test.packed, n, err, test.want)
		}
	}
	if _, err := Zlib(make([]byte, 100), packed[:5]); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v is not io.ErrUnexpectedEOF", err)
	}
}

func zlibbed(plain []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write(plain)
	_ = w.Close()
	return b.Bytes()
}
