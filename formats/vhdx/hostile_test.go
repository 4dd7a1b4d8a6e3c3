package vhdx

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os/exec"
	"runtime"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/internal/peer"
)

// damaged is an image of 4 MiB whose fields a test sets; its checksums stay right.
type damaged []byte

func (d damaged) seal() {
	for _, s := range []span{{header1Offset, headerSize}, {header2Offset, headerSize}, {region1Offset, regionTableSize}, {region2Offset, regionTableSize}} {
		seal(d[s.off:s.end()])
	}
}

// each sets a field in both copies of a structure.
func (d damaged) header(off int64, v []byte) {
	copy(d[header1Offset+off:], v)
	copy(d[header2Offset+off:], v)
}
func (d damaged) region(off int64, v []byte) {
	copy(d[region1Offset+off:], v)
	copy(d[region2Offset+off:], v)
}

// Where the small image has its metadata, and the items in it.
const (
	smallBAT   = 2 * mib
	smallMeta  = 3 * mib
	smallItems = smallMeta + metadataTableSize
)

func le16(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// The cases of CVE-2014-0148, block and sector size, are among these.
var hostileImages = []struct {
	name   string
	damage func(d damaged)
	kind   error
	ours   bool // QEMU opens it
}{
	{"identifier", func(d damaged) { d[0] = 0 }, blockdev.ErrFormat, false},
	{"both headers", func(d damaged) { d.header(0, []byte("xxxx")) }, blockdev.ErrCorrupt, false},
	{"version", func(d damaged) { d.header(offVersion, le16(2)) }, blockdev.ErrNotSupported, false},
	{"log version", func(d damaged) { d.header(offLogVersion, le16(1)) }, blockdev.ErrNotSupported, false},
	{"log offset 0", func(d damaged) { d.header(offLogOffset, le64(0)) }, blockdev.ErrCorrupt, false},
	{"log offset unaligned", func(d damaged) { d.header(offLogOffset, le64(mib+512)) }, blockdev.ErrCorrupt, true},
	{"log offset negative", func(d damaged) { d.header(offLogOffset, le64(1<<63)) }, blockdev.ErrCorrupt, true},
	{"log offset huge", func(d damaged) { d.header(offLogOffset, le64(1<<63-mib)) }, blockdev.ErrCorrupt, true},
	{"log length 0", func(d damaged) { d.header(offLogLength, le32(0)) }, blockdev.ErrCorrupt, true},
	{"log over the regions", func(d damaged) { d.header(offLogLength, le32(3*mib)) }, blockdev.ErrCorrupt, false},
	{"log over a header", func(d damaged) { d.header(offLogOffset, le64(header1Offset)) }, blockdev.ErrCorrupt, false},
	{"dirty log behind the file", func(d damaged) { d.header(offLogGUID, []byte{1}); d.header(offLogOffset, le64(1<<40)) }, blockdev.ErrCorrupt, true},
	{"dirty log too long", func(d damaged) { d.header(offLogGUID, []byte{1}); d.header(offLogLength, le32(4095*mib)) }, blockdev.ErrLimit, true},
	{"region tables", func(d damaged) { d.region(0, []byte("xxxx")) }, blockdev.ErrCorrupt, false},
	{"region count", func(d damaged) { d.region(offRegionCount, le32(2048)) }, blockdev.ErrCorrupt, false},
	{"region count huge", func(d damaged) { d.region(offRegionCount, le32(1<<32-1)) }, blockdev.ErrCorrupt, false},
	{"no regions", func(d damaged) { d.region(offRegionCount, le32(0)) }, blockdev.ErrCorrupt, false},
	{"unknown region", func(d damaged) { d.region(offRegionFirst, []byte{1, 2, 3}) }, blockdev.ErrNotSupported, false},
	{"region twice", func(d damaged) { d.region(offRegionFirst+regionEntrySize, regionBAT[:]) }, blockdev.ErrCorrupt, false},
	{"region at 0", func(d damaged) { d.region(offRegionFirst+16, le64(0)) }, blockdev.ErrCorrupt, false},
	{"region negative", func(d damaged) { d.region(offRegionFirst+16, le64(1<<64-mib)) }, blockdev.ErrCorrupt, false},
	{"region behind the file", func(d damaged) { d.region(offRegionFirst+24, le32(4095*mib)) }, blockdev.ErrCorrupt, false},
	{"region empty", func(d damaged) { d.region(offRegionFirst+24, le32(0)) }, blockdev.ErrCorrupt, false},
	{"regions overlap", func(d damaged) { d.region(offRegionFirst+16, le64(smallMeta)) }, blockdev.ErrCorrupt, false},
	{"metadata signature", func(d damaged) { d[smallMeta] = 0 }, blockdev.ErrCorrupt, false},
	{"metadata count", func(d damaged) { copy(d[smallMeta+offItemCount:], le16(2048)) }, blockdev.ErrCorrupt, false},
	{"metadata missing", func(d damaged) { copy(d[smallMeta+offItemCount:], le16(1)) }, blockdev.ErrCorrupt, false},
	{"metadata twice", func(d damaged) { copy(d[smallMeta+offItemFirst+itemEntrySize:], itemFileParameters[:]) }, blockdev.ErrCorrupt, false},
	{"metadata unknown", func(d damaged) { d[smallMeta+offItemFirst+2*itemEntrySize]++ }, blockdev.ErrNotSupported, false},
	{"metadata item outside", func(d damaged) { copy(d[smallMeta+offItemFirst+16:], le32(1<<32-1)) }, blockdev.ErrCorrupt, false},
	{"metadata item in the table", func(d damaged) { copy(d[smallMeta+offItemFirst+16:], le32(0)) }, blockdev.ErrCorrupt, false},
	{"metadata item too short", func(d damaged) { copy(d[smallMeta+offItemFirst+20:], le32(1)) }, blockdev.ErrCorrupt, true},
	{"block size 0", func(d damaged) { copy(d[smallItems:], le32(0)) }, blockdev.ErrCorrupt, false},
	{"block size small", func(d damaged) { copy(d[smallItems:], le32(4096)) }, blockdev.ErrCorrupt, false},
	{"block size odd", func(d damaged) { copy(d[smallItems:], le32(3*mib)) }, blockdev.ErrCorrupt, false},
	{"block size huge", func(d damaged) { copy(d[smallItems:], le32(1<<31)) }, blockdev.ErrCorrupt, false},
	{"parent without a locator", func(d damaged) { d[smallItems+4] |= paramHasParent }, blockdev.ErrCorrupt, false},
	{"disk size", func(d damaged) { copy(d[smallItems+8:], le64(64*tib+512)) }, blockdev.ErrLimit, false},
	{"disk size negative", func(d damaged) { copy(d[smallItems+8:], le64(1<<63)) }, blockdev.ErrLimit, false},
	{"disk size odd", func(d damaged) { copy(d[smallItems+8:], le64(1000)) }, blockdev.ErrCorrupt, true},
	{"disk size over the table", func(d damaged) { copy(d[smallItems+8:], le64(tib)) }, blockdev.ErrCorrupt, false},
	{"sector size", func(d damaged) { copy(d[smallItems+32:], le32(1024)) }, blockdev.ErrCorrupt, false},
	{"sector size 0", func(d damaged) { copy(d[smallItems+32:], le32(0)) }, blockdev.ErrCorrupt, false},
}

func smallImage(t testing.TB) damaged {
	m := &blocktest.Memory{}
	createIn(t, m, 4*mib, blockdev.Options{"block_size": "1M"})
	return m.Bytes()
}

// maxHostileBytes is what refusing an image may allocate: less than any table it claims.
const maxHostileBytes = 2 * mib

func TestHostileImagesAreRefused(t *testing.T) {
	base := smallImage(t)
	for _, h := range hostileImages {
		t.Run(h.name, func(t *testing.T) {
			d := bytes.Clone(base)
			h.damage(d)
			damaged(d).seal()
			file := blocktest.NewMemory(d)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := tryOpen(file, writable)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, h.kind) {
				t.Errorf("%v, want %v", err, h.kind)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > maxHostileBytes {
				t.Errorf("%d bytes allocated", n)
			}
			if h.ours {
				return
			}
			peer.Need(t, "qemu-img")
			if out, err := exec.Command("qemu-img", "info", "-f", "vhdx", save(t, d)).CombinedOutput(); err == nil {
				t.Errorf("QEMU opens it: %s", out)
			}
		})
	}
}

// TestBlocksThatLieWrong: what claims to be guest data must not be metadata, and what is
// not in the file must not be made up.
func TestBlocksThatLieWrong(t *testing.T) {
	for name, entry := range map[string]uint64{
		"header":          blockPresent,
		"log":             mib | blockPresent,
		"BAT":             smallBAT | blockPresent,
		"metadata":        smallMeta | blockPresent,
		"behind the file": 5*mib | blockPresent,
		"far away":        1<<63 | blockPresent,
		"partly present":  4*mib | 7,
		"state 4":         4*mib | 4,
	} {
		t.Run(name, func(t *testing.T) {
			d := append(smallImage(t), make([]byte, mib)...)
			binary.LittleEndian.PutUint64(d[smallBAT+8:], entry)
			im := open(t, blocktest.NewMemory(d), writable)
			if _, err := im.ReadAt(make([]byte, 512), mib); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("read: %v", err)
			}
			if _, err := im.WriteAt(make([]byte, 512), mib); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("write: %v", err)
			}
			if _, err := im.ReadAt(make([]byte, 512), 0); err != nil {
				t.Errorf("the block before: %v", err)
			}
			res, err := im.Check(context.Background(), blockdev.CheckOptions{})
			if err != nil || res.Corruptions != 1 {
				t.Errorf("check: %+v, %v", res, err)
			}
		})
	}
	d := append(smallImage(t), make([]byte, mib)...)
	for i := range 2 {
		binary.LittleEndian.PutUint64(d[smallBAT+8*i:], 4*mib|blockPresent)
	}
	if res, err := open(t, blocktest.NewMemory(d), writable).Check(context.Background(), blockdev.CheckOptions{}); err != nil || res.Corruptions != 1 {
		t.Errorf("two blocks at one place: %+v, %v", res, err)
	}
}

// hostileLog puts an entry into the log of an image and names it in the header.
func hostileLog(d damaged, change func(entry []byte)) {
	id := guid{1}
	page := logPage{smallBAT, make([]byte, logSector)}
	b := encodeEntry(logEntry{seq: 7, flushed: int64(len(d)), last: int64(len(d))}, id, []logPage{page})
	change(b)
	seal(b)
	copy(d[mib:], b)
	d.header(offLogGUID, id[:])
	d.seal()
}

func TestHostileLogs(t *testing.T) {
	place := entryHeaderSize + offDescPlace
	for name, c := range map[string]struct {
		change func(b []byte)
		kind   error // nil: nothing to replay
	}{
		"as it should be":     {func([]byte) {}, nil},
		"truncated file":      {func(b []byte) { copy(b[offEntryFlushed:], le64(5*mib)) }, blockdev.ErrCorrupt},
		"flushed huge":        {func(b []byte) { copy(b[offEntryFlushed:], le64(1<<63)) }, blockdev.ErrCorrupt},
		"file huge":           {func(b []byte) { copy(b[offEntryLast:], le64(1<<62)) }, blockdev.ErrCorrupt},
		"place in the header": {func(b []byte) { copy(b[place:], le64(header1Offset)) }, blockdev.ErrCorrupt},
		"place in the log":    {func(b []byte) { copy(b[place:], le64(mib)) }, blockdev.ErrCorrupt},
		"place outside":       {func(b []byte) { copy(b[place:], le64(1<<63)) }, blockdev.ErrCorrupt},
		"place unaligned":     {func(b []byte) { copy(b[place:], le64(smallBAT+512)) }, blockdev.ErrCorrupt},
		"zeroes without end": {func(b []byte) {
			copy(b[entryHeaderSize:], zeroDescriptor)
			copy(b[entryHeaderSize+offDescLead:], le64(1<<64-logSector))
		}, blockdev.ErrCorrupt},
		"length huge":       {func(b []byte) { copy(b[offEntryLength:], le32(1<<32-logSector)) }, nil},
		"length 0":          {func(b []byte) { copy(b[offEntryLength:], le32(0)) }, nil},
		"descriptors":       {func(b []byte) { copy(b[offEntryCount:], le32(1<<32-1)) }, nil},
		"descriptor":        {func(b []byte) { copy(b[entryHeaderSize:], "what") }, nil},
		"descriptor of old": {func(b []byte) { b[entryHeaderSize+offDescSeq]++ }, nil},
		"sector of old":     {func(b []byte) { b[2*logSector-1]++ }, nil},
		"tail elsewhere":    {func(b []byte) { copy(b[offEntryTail:], le32(64*logSector)) }, nil},
		"sequence 0":        {func(b []byte) { copy(b[offEntrySeq:], le64(0)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := smallImage(t)
			hostileLog(d, c.change)
			_, err := tryOpen(blocktest.NewMemory(d), writable)
			if !errors.Is(err, c.kind) {
				t.Errorf("%v, want %v", err, c.kind)
			}
		})
	}
}

// TestALogOfInvalidEntriesEnds: entries as long as the log at every place of it are not
// all read.
func TestALogOfInvalidEntriesEnds(t *testing.T) {
	d := smallImage(t)
	hostileLog(d, func([]byte) {})
	for off := int64(mib); off < 2*mib; off += logSector {
		copy(d[off:], d[mib:mib+entryHeaderSize])
		copy(d[off+offEntryLength:], le32(mib))
	}
	if _, err := tryOpen(blocktest.NewMemory(d), writable); !errors.Is(err, blockdev.ErrLimit) {
		t.Error(err)
	}
}

// fuzzBases are images of every kind: new, over a parent, fixed, and one that its writer did
// not close.
func fuzzBases(t testing.TB) [][]byte {
	t.Helper()
	fixed := &blocktest.Memory{}
	createIn(t, fixed, 2*mib, blockdev.Options{"subformat": "fixed", "block_size": "1M"})
	left := blocktest.NewMemory(smallImage(t))
	im := open(t, left, blockdev.Mode{Writable: true, Unmap: true})
	write(t, im, 0, bytes.Repeat([]byte("left"), 2*mib/4))
	for _, err := range []error{im.Flush(), im.WriteZeroes(mib, 2*mib, blockdev.ZeroMayUnmap), im.Flush()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return [][]byte{append(smallImage(t), make([]byte, 2*mib)...), differencingImage(t, smallImage(t)), fixed.Bytes(), bytes.Clone(left.Bytes())}
}

// FuzzImage uses images of which nothing is expected but that everything comes back.
func FuzzImage(f *testing.F) {
	bases := fuzzBases(f)
	for which := range bases {
		f.Add(uint32(0), uint64(0), uint32(0), uint64(0), true, uint8(which))
		f.Add(uint32(0), uint64(0), uint32(0), uint64(0), false, uint8(which))
		f.Add(uint32(smallBAT+8*smallRatio), uint64(1<<40|blockPresent), uint32(smallMeta+metadataTableSize+4*kib+20), uint64(1<<20), false, uint8(which))
	}
	for i, h := range hostileImages {
		d := smallImage(f)
		before := bytes.Clone(d)
		h.damage(d)
		for at := range d {
			if d[at] != before[at] && at+8 <= len(d) {
				f.Add(uint32(at), binary.LittleEndian.Uint64(d[at:]), uint32(smallBAT+8*(i%4)), uint64(5*mib|blockPresent), i%2 == 0, uint8(i))
				break
			}
		}
	}
	for i, at := range []uint32{offEntryLength, offEntryTail, offEntryCount, offEntryLast, entryHeaderSize + offDescPlace} {
		f.Add(uint32(mib)+at, uint64(1<<40), uint32(0), uint64(0), true, uint8(i))
	}
	driver, err := blockdev.LookupDriver("vhdx")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, at1 uint32, v1 uint64, at2 uint32, v2 uint64, dirty bool, which uint8) {
		d := bytes.Clone(bases[int(which)%len(bases)])
		set := func(at uint32, v uint64) {
			if v != 0 {
				binary.LittleEndian.PutUint64(d[int(at)%(len(d)-8):], v)
			}
		}
		if dirty {
			hostileLog(d, func(b []byte) {
				if at1 >= mib && int(at1-mib) < len(b)-8 {
					binary.LittleEndian.PutUint64(b[at1-mib:], v1)
				}
			})
		}
		set(at1, v1)
		set(at2, v2)
		damaged(d).seal()
		formattest.Use(driver, d)
	})
}
