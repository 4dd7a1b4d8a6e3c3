package dmg

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/internal/peer"
)

const testdata = "../../testdata/dmg"

// names are the images of testdata: one for each way to pack, and the old place of tables.
var names = []string{"udro.dmg", "udzo.dmg", "udbz.dmg", "udco.dmg", "ulmo.dmg", "ulfo.dmg", "resource-fork.dmg"}

func TestContents(t *testing.T) { formattest.RunGolden(t, "dmg") }

// TestWithQEMU leaves out what this machine's QEMU may have no modules for.
func TestWithQEMU(t *testing.T) {
	for _, name := range []string{"udro.dmg", "udzo.dmg", "resource-fork.dmg"} {
		t.Run(name, func(t *testing.T) {
			formattest.RunReader(t, formattest.Reader{Driver: "dmg", Image: filepath.Join(testdata, name), OwnMap: true})
		})
	}
}

func TestOtherReadersReadTheSame(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(testdata, name)
			im := openImage(t, load(t, name))
			want := make([]byte, im.Size())
			if _, err := im.ReadAt(want, 0); err != nil {
				t.Fatal(err)
			}
			if got := peer.Run(t, peer.SevenZip(t), "e", "-so", image); got != string(want) {
				t.Errorf("7z reads something else")
			}
			if name == "ulmo.dmg" || name == "ulfo.dmg" {
				return // dmg2img knows neither LZMA nor LZFSE
			}
			out := filepath.Join(t.TempDir(), "disk")
			peer.Run(t, "dmg2img", "-s", image, out)
			if got := load(t, out); !bytes.Equal(got, want) {
				t.Errorf("dmg2img reads something else")
			}
		})
	}
}

func load(t testing.TB, name string) []byte {
	t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(testdata, name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openImage(t testing.TB, b []byte) *Image {
	t.Helper()
	return formattest.Open(t, Open, b)
}

func TestMapTellsWhatIsPacked(t *testing.T) {
	im := openImage(t, load(t, "udro.dmg"))
	for _, c := range []struct {
		off  int64
		kind blockdev.ExtentKind
		n    int64
	}{{100, blockdev.ExtentData, 8092}, {8192, blockdev.ExtentZero, 51200}, {8192 + 51200, blockdev.ExtentData, 24 * 512}} {
		e, err := im.Map(c.off, im.Size()-c.off)
		if err != nil || e.Kind != c.kind || e.Len != c.n {
			t.Errorf("at %d: %+v, %v", c.off, e, err)
		}
	}
}

// table is a block table of one chunk and its end.
type table struct {
	first, count                  uint64
	kind                          kind
	sector, sectors, host, length uint64
	chunks                        uint32
}

// sound is a table of 4 zlib-packed sectors.
var sound = table{count: 4, kind: kindZlib, sectors: 4, length: 8, chunks: 2}

func (c table) encode() []byte {
	be := binary.BigEndian
	b := make([]byte, tableHead+2*chunkBytes)
	copy(b, tableMagic)
	be.PutUint64(b[offFirstSector:], c.first)
	be.PutUint32(b[offChunkCount:], c.chunks)
	for i, v := range []uint64{c.sector, c.sectors, c.host, c.length} {
		be.PutUint64(b[tableHead+offChunkSector+8*i:], v)
	}
	be.PutUint32(b[tableHead:], uint32(c.kind))
	be.PutUint32(b[tableHead+chunkBytes:], uint32(kindEnd))
	return b
}

// imageOf makes an image of tables, after 8 bytes of data.
func imageOf(tables ...table) []byte {
	b := []byte("chunkish")
	for _, c := range tables {
		b = append(b, "<data>\n"+base64.StdEncoding.EncodeToString(c.encode())+"\n</data>"...)
	}
	trailer := make([]byte, trailerBytes)
	copy(trailer, trailerMagic)
	binary.BigEndian.PutUint64(trailer[offPlist:], 8)
	binary.BigEndian.PutUint64(trailer[offPlist+8:], uint64(len(b)-8))
	return append(b, trailer...)
}

// hostileImage is one that must be refused, and what is said of it.
type hostileImage struct {
	name  string
	image []byte
	kind  error
	text  string
}

// hostileImages has the cases of CVE-2014-0145, lengths and counts of chunks, among others.
func hostileImages() []hostileImage {
	with := func(change func(*table)) []byte {
		c := sound
		change(&c)
		return imageOf(c)
	}
	cut := func(from, to string) []byte { return bytes.Replace(imageOf(sound), []byte(from), []byte(to), 1) }
	return []hostileImage{
		{"empty", nil, blockdev.ErrFormat, "Could not locate UDIF trailer in dmg file"},
		{"no trailer", cut("koly", "ylok"), blockdev.ErrFormat, "Could not locate UDIF trailer in dmg file"},
		{"no tables", imageOf(), blockdev.ErrCorrupt, "Invalid argument"},
		{"another magic", with(func(c *table) { c.chunks = 0 }), blockdev.ErrCorrupt, "there are no block tables"},
		{"chunks", with(func(c *table) { c.chunks = 0xffffffff }), blockdev.ErrCorrupt, "block table of 80 bytes cannot have 4294967295 chunks"},
		{"sector count", with(func(c *table) { c.sectors = 1<<17 + 1 }), blockdev.ErrLimit, "sector count 131073 for chunk 0 is larger than max (131072)"},
		{"length", with(func(c *table) { c.length = 64<<20 + 1 }), blockdev.ErrLimit, "length 67108865 for chunk 0 is larger than max (67108864)"},
		{"sector", with(func(c *table) { c.sector = 1 << 60 }), blockdev.ErrLimit, "4 sectors at 1152921504606846976 for chunk 0 are too many"},
		{"zero sectors", with(func(c *table) { c.kind, c.sectors = kindZero, 1<<63 }), blockdev.ErrLimit, "9223372036854775808 sectors at 0 for chunk 0 are too many"},
		{"host", with(func(c *table) { c.host = 1 << 63 }), blockdev.ErrCorrupt, "8 bytes at 0x8000000000000000 for chunk 0 are not in the file"},
		{"raw", with(func(c *table) { c.kind = kindRaw }), blockdev.ErrCorrupt, "4 sectors in 8 bytes for chunk 0"},
		{"twice", imageOf(sound, sound), blockdev.ErrCorrupt, "sector 0 is in two chunks"},
		{"base64", cut("<data>\n", "<data>!"), blockdev.ErrCorrupt, "data in the property list: illegal base64 data at input byte 0"},
		{"cut", cut("</data>", "<xdata>"), blockdev.ErrCorrupt, "property list ends in the middle of a block table"},
	}
}

func TestDamagedTablesAreRefused(t *testing.T) {
	for _, c := range hostileImages() {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(c.image)})
			if !errors.Is(err, c.kind) || blockdev.Message(err) != c.text {
				t.Errorf("%v, want %v with text %q", err, c.kind, c.text)
			}
		})
	}
}

func TestWhatCannotBeUnpackedIsNotRead(t *testing.T) {
	for k, want := range map[kind]error{
		kindLZFSE: blockdev.ErrCorrupt, 0x80000009: blockdev.ErrNotSupported,
		kindZlib: blockdev.ErrCorrupt, kindADC: blockdev.ErrCorrupt, kindBzip2: blockdev.ErrCorrupt, kindLZMA: blockdev.ErrCorrupt,
	} {
		c := sound
		c.kind = k
		if _, err := openImage(t, imageOf(c)).ReadAt(make([]byte, 1), 0); !errors.Is(err, want) {
			t.Errorf("%v: %v", k, err)
		}
	}
	c := sound
	c.host = 1 << 40
	if _, err := openImage(t, imageOf(c)).ReadAt(make([]byte, 1), 0); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("chunk that is not in the file: %v", err)
	}
}

func TestUnpackADC(t *testing.T) {
	for name, c := range map[string]struct{ packed, want string }{
		"literals":            {"\x82abc", "abc"},
		"two bytes":           {"\x80a\x04\x00", "aaaaa"},
		"three bytes":         {"\x81ab\x40\x00\x01", "ababab"},
		"too far":             {"\x80a\x00\x01", ""},
		"literals cut":        {"\x83abc", ""},
		"match cut":           {"\x80a\x40\x00", ""},
		"longer than the end": {"\x80a\x3c\x00", ""},
		"nothing":             {"", ""},
	} {
		out := make([]byte, max(len(c.want), 3))
		err := unpackADC(out, []byte(c.packed))
		if c.want == "" && err == nil || c.want != "" && (err != nil || string(out) != c.want) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// TestXZChecksum changes what is behind the packed data.
func TestXZChecksum(t *testing.T) {
	b := load(t, "ulmo.dmg")
	im := openImage(t, b)
	c := im.chunks[0]
	// Section 2.1.2 of the format: the footer, 12 bytes, gives the size of the index.
	footer := b[c.host+c.length-12:]
	index := int64(binary.LittleEndian.Uint32(footer[4:])+1) * 4
	b[c.host+c.length-12-index-1] ^= 1
	_, err := openImage(t, b).ReadAt(make([]byte, 1), 0)
	if !errors.Is(err, errChecksum) {
		t.Error(err)
	}
}

func FuzzImage(f *testing.F) {
	seeds := [][]byte{imageOf(sound)}
	for _, name := range names {
		seeds = append(seeds, load(f, name))
	}
	for _, c := range hostileImages() {
		seeds = append(seeds, c.image)
	}
	formattest.Fuzz(f, "dmg", nil, seeds...)
}

// FuzzUnpack gives chunks as they are to each decoder.
func FuzzUnpack(f *testing.F) {
	for _, name := range names {
		b := load(f, name)
		for _, c := range openImage(f, b).chunks {
			f.Add(uint32(c.kind), b[c.host:c.host+c.length])
		}
	}
	f.Fuzz(func(_ *testing.T, k uint32, packed []byte) {
		if decode, ok := decoders[kind(k)]; ok {
			_ = decode(make([]byte, 4096), packed) // it comes back
		}
	})
}
