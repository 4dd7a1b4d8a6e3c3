package virtio

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestDiskAgainstAModel makes random requests in random pieces, over both transports, with
// resets and a change of machines in between, and compares with a slice of bytes.
func TestDiskAgainstAModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		config := driverConfig{modern: rapid.Bool().Draw(r, "modern")}
		features := rapid.SampledFrom([]uint64{0, blkFlush, blkFlush | FeatureEventIdx}).Draw(r, "features")
		d := newDriver(t, config)
		d.start(features, 16)
		model := make([]byte, diskSize)
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			sector := rapid.Uint64Range(0, diskSize/512-1).Draw(r, "sector")
			n := rapid.Uint64Range(1, min(8, diskSize/512-sector)).Draw(r, "sectors") * 512
			where := model[sector*512:][:n]
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0, 1:
				p := pattern(rapid.Byte().Draw(r, "seed"), int(n))
				copy(where, p)
				d.put(dataAt, p)
				d.pieces(r, blkWrite, sector, n)
			case 2, 3:
				d.put(dataAt, make([]byte, n))
				d.pieces(r, blkRead, sector, n)
				if !bytes.Equal(d.get(dataAt, int(n)), where) {
					r.Fatalf("sector %d, %d bytes: read something else", sector, n)
				}
			case 4:
				clear(where)
				bufs := d.request(blkZeroRequest, 0, blkSegmentSize, false)
				d.put(dataAt, segment(sector, uint32(n/512), 0))
				if status, _ := d.do(bufs...); status != statusOK {
					r.Fatalf("write zeroes: status %d", status)
				}
			case 5:
				if rapid.Bool().Draw(r, "reset") {
					d.start(features, 16)
				} else {
					d = d.moved(t, config)
				}
			}
		}
		if !bytes.Equal(d.disk.Bytes(), model) {
			r.Fatal("the disk is not what the model is")
		}
	})
}

// pieces makes a request whose data is cut at random places.
func (d *driver) pieces(r *rapid.T, kind uint32, sector, n uint64) {
	bufs := d.request(kind, sector, uint32(n), kind == blkRead)
	data := bufs[1]
	var cut []buf
	for at := uint32(0); at < data.n; {
		step := rapid.Uint32Range(1, data.n-at).Draw(r, "piece")
		if len(cut) == 5 {
			step = data.n - at
		}
		cut = append(cut, buf{data.addr + uint64(at), step, data.flags})
		at += step
	}
	bufs = append(append(bufs[:1:1], cut...), bufs[2])
	if status, _ := d.do(bufs...); status != statusOK {
		r.Fatalf("request %d: status %d", kind, status)
	}
}

// moved saves the device and goes on with it on another machine, with the same disk.
func (d *driver) moved(t *testing.T, config driverConfig) *driver {
	other := newDriver(t, config)
	if _, err := other.disk.WriteAt(d.disk.Bytes(), 0); err != nil {
		t.Fatal(err)
	}
	other.put(ramBase, d.get(ramBase, ramSize))
	if err := load(t, other, marshal(t, d)); err != nil {
		t.Fatal(err)
	}
	other.size, other.desc, other.avail, other.used = d.size, d.desc, d.avail, d.used
	other.nextDesc, other.nextAvail, other.seenUsed = d.nextDesc, d.nextAvail, d.seenUsed
	return other
}
