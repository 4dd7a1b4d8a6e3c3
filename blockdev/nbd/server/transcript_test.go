package server_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

// wire puts numbers and text behind each other as proto.md draws them. It knows nothing of
// package protocol, which is what the transcripts are to test.
func wire(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		default:
			panic(p)
		}
	}
	return b
}

const (
	replyMagic = uint64(0x3e889045565a9)
	errorBit   = uint32(1 << 31)
)

// option is what a client sends.
func option(number uint32, data ...any) []byte {
	d := wire(data...)
	return wire("IHAVEOPT", number, uint32(len(d)), d)
}

// answer is one reply of a server.
func answer(number, kind uint32, data ...any) []byte {
	d := wire(data...)
	return wire(replyMagic, number, kind, uint32(len(d)), d)
}

// name is a string with its length before it.
func name(s string) []byte { return wire(uint32(len(s)), s) }

// line is what one end says.
type line struct {
	client bool
	bytes  []byte
}

func says(b ...[]byte) line  { return line{true, bytes.Join(b, nil)} }
func hears(b ...[]byte) line { return line{false, bytes.Join(b, nil)} }

// Transmission flags of the export: flags, flush, FUA, trim, zeroes, several connections,
// cache, fast zeroes; chunks that are not fragmented; block status with payload.
const (
	flagsSimple     = uint16(0xd6d)
	flagsStructured = flagsSimple | 1<<7
	flagsExtended   = flagsStructured | 1<<12
)

// request and extended are requests as the two kinds of headers have them.
func request(flags, command uint16, cookie, off uint64, length uint32) []byte {
	return wire(uint32(0x25609513), flags, command, cookie, off, length)
}

func extended(flags, command uint16, cookie, off, length uint64) []byte {
	return wire(uint32(0x21e41c71), flags, command, cookie, off, length)
}

// structuredChunk and extendedChunk are the last chunk of an answer.
func structuredChunk(kind uint16, cookie uint64, data ...any) []byte {
	d := wire(data...)
	return wire(uint32(0x668e33ef), uint16(1), kind, cookie, uint32(len(d)), d)
}

func extendedChunk(kind uint16, cookie, off uint64, data ...any) []byte {
	d := wire(data...)
	return wire(uint32(0x6e8a278c), uint16(1), kind, cookie, off, uint64(len(d)), d)
}

var (
	greeting   = hears(wire("NBDMAGIC", "IHAVEOPT", uint16(3)))
	noZeroes   = says(wire(uint32(3)))
	goOption   = says(option(7, name("exp"), uint16(0)))
	structured = []line{says(option(8)), hears(answer(8, 1))}
	headers    = []line{says(option(11)), hears(answer(11, 1))}
	blockSizes = []any{uint16(3), uint32(1), uint32(4096), uint32(32 << 20)}
)

// entered is what OPT_GO is answered with.
func entered(flags uint16) line {
	return hears(answer(7, 3, blockSizes...), answer(7, 3, uint16(0), uint64(1<<20), flags), answer(7, 1))
}

func conversation(parts ...any) []line {
	out := []line{greeting, noZeroes}
	for _, p := range parts {
		switch p := p.(type) {
		case line:
			out = append(out, p)
		case []line:
			out = append(out, p...)
		}
	}
	return out
}

// transcripts are whole conversations, byte for byte. The export "exp" is a MiB long, with a
// hole from 64 KiB on, and has the dirty bitmap "b", of which the first 64 KiB are dirty.
var transcripts = map[string][]line{
	"EXPORT_NAME": conversation(says(option(1, "exp")), hears(wire(uint64(1<<20), flagsSimple))),
	"EXPORT_NAME with its padding": {greeting, says(wire(uint32(1))), says(option(1, "exp")),
		hears(wire(uint64(1<<20), flagsSimple, make([]byte, 124)))},
	"ABORT":    conversation(says(option(2)), hears(answer(2, 1))),
	"LIST":     conversation(says(option(3)), hears(answer(3, 2, name("exp"), "for tests"), answer(3, 1))),
	"STARTTLS": conversation(says(option(5)), hears(answer(5, errorBit+2, "TLS not configured"))),
	"INFO": conversation(says(option(6, name("exp"), uint16(3), uint16(1), uint16(2), uint16(3))),
		hears(answer(6, 3, uint16(1), "exp"), answer(6, 3, uint16(2), "for tests"), answer(6, 3, blockSizes...),
			answer(6, 3, uint16(0), uint64(1<<20), flagsSimple), answer(6, 1))),
	"INFO of another": conversation(says(option(6, name("no"), uint16(0))), hears(answer(6, errorBit+6, "export 'no' not present"))),
	"GO, and simple replies": conversation(goOption, entered(flagsSimple),
		says(request(0, 0, 7, 65536, 4)), hears(wire(uint32(0x67446698), uint32(0), uint64(7), "\x00\x00\x00\x00")),
		says(request(0, 1, 8, 1<<20, 1), []byte{1}), hears(wire(uint32(0x67446698), uint32(28), uint64(8))),
		says(request(0, 3, 9, 0, 0)), hears(wire(uint32(0x67446698), uint32(0), uint64(9))), says(request(0, 2, 0, 0, 0))),
	"STRUCTURED_REPLY": conversation(structured, goOption, entered(flagsStructured),
		says(request(0, 0, 7, 0, 4)), hears(structuredChunk(1, 7, uint64(0), "data")),
		says(request(0, 0, 7, 65536, 65536)), hears(structuredChunk(2, 7, uint64(65536), uint32(65536))),
		says(request(0, 0, 7, 1<<20, 1)), hears(structuredChunk(1<<15+1, 7, uint32(22), uint16(18), "operation past EOF")),
		says(request(1, 6, 8, 0, 4)), hears(structuredChunk(0, 8))),
	"LIST_META_CONTEXT": conversation(structured, says(option(9, name("exp"), uint32(1), name("qemu:"))),
		hears(answer(9, 4, uint32(0), "qemu:allocation-depth"), answer(9, 4, uint32(0), "qemu:dirty-bitmap:b"), answer(9, 1))),
	"SET_META_CONTEXT": conversation(structured,
		says(option(10, name("exp"), uint32(2), name("base:allocation"), name("qemu:dirty-bitmap:b"))),
		hears(answer(10, 4, uint32(0), "base:allocation"), answer(10, 4, uint32(2), "qemu:dirty-bitmap:b"), answer(10, 1)),
		goOption, entered(flagsStructured),
		says(request(8, 7, 5, 0, 1<<20)), // REQ_ONE
		hears(wire(uint32(0x668e33ef), uint16(0), uint16(5), uint64(5), uint32(12), uint32(0), uint32(65536), uint32(0)),
			structuredChunk(5, 5, uint32(2), uint32(65536), uint32(1)))),
	"EXTENDED_HEADERS": conversation(headers,
		says(option(8)), hears(answer(8, errorBit+10, "extended headers already negotiated")),
		says(option(10, name("exp"), uint32(1), name("base:allocation"))), hears(answer(10, 4, uint32(0), "base:allocation"), answer(10, 1)),
		goOption, entered(flagsExtended),
		says(extended(0, 0, 7, 0, 4)), hears(extendedChunk(1, 7, 0, uint64(0), "data")),
		says(extended(1<<5, 1, 8, 2, 2), []byte("to")), hears(extendedChunk(0, 8, 2)),
		says(extended(0, 7, 9, 0, 1<<20)),
		hears(extendedChunk(6, 9, 0, uint32(0), uint32(2), uint64(65536), uint64(0), uint64(1<<20-65536), uint64(3))),
		says(extended(1<<5, 7, 10, 65536, 12), wire(uint64(4096), uint32(0))),
		hears(extendedChunk(6, 10, 65536, uint32(0), uint32(1), uint64(4096), uint64(3)))),
	"an option that is not known": conversation(says(option(99, "x")), hears(answer(99, errorBit+1, "Unsupported option <unknown 0x63>"))),
}

func TestTranscripts(t *testing.T) {
	for title, lines := range transcripts {
		t.Run(title, func(t *testing.T) {
			disk := emptyDisk(1 << 20)
			if _, err := disk.WriteAt(append([]byte("data"), make([]byte, 65532)...), 0); err != nil {
				t.Fatal(err)
			}
			dirty, err := blockdev.NewDirtyBitmap(disk.Size(), 65536)
			if err != nil {
				t.Fatal(err)
			}
			dirty.Set(0, 1)
			s, path := serve(t, emptyDisk(512), server.Options{})
			if err := s.Remove("exp", false); err != nil {
				t.Fatal(err)
			}
			e := server.Export{
				Name: "exp", Description: "for tests", Backend: server.FromNode(disk), Size: disk.Size(),
				AllocationDepth: true, Bitmaps: []server.Bitmap{{Name: "b", Dirty: dirty}},
			}
			if err := s.Add(e); err != nil {
				t.Fatal(err)
			}
			c := dial(t, path)
			for i, l := range lines {
				if l.client {
					c.write(l.bytes)
					continue
				}
				if got := c.read(len(l.bytes)); !bytes.Equal(got, l.bytes) {
					t.Fatalf("line %d is\n%x, not\n%x", i, got, l.bytes)
				}
			}
			if title == "ABORT" {
				if n, err := io.Copy(io.Discard, c.nc); n > 0 || err != nil {
					t.Errorf("%d bytes more, %v", n, err)
				}
			}
		})
	}
}
