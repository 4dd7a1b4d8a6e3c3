package img

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
)

var testSnapshots = []blockdev.Snapshot{
	{ID: "1", Name: "s1", Date: time.Unix(1795354367, 735233000), VMClock: 3723*time.Second + 4*time.Millisecond + 5},
	{ID: "2", Name: "a very long snapshot name indeed", VMStateSize: 1 << 20, Date: time.Unix(1795354367, 0), ICount: blockdev.NoICount},
}

func testInfo() *Info {
	size := int64(217088)
	return &Info{
		Filename: "sub/o.qcow2", Format: "qcow2", VirtualSize: 3 << 20, ActualSize: &size,
		ClusterSize: 65536, Encrypted: true, Dirty: new(bool),
		BackingFilename: "../a.raw", FullBackingFilename: "sub/../a.raw", BackingFormat: "raw",
		Snapshots: testSnapshots,
		Specific: []blockdev.InfoField{
			{Key: "compat", Value: "1.1"},
			{Key: "bitmaps", Value: []any{[]blockdev.InfoField{
				{Key: "flags", Value: []any{"auto"}},
				{Key: "granularity", Value: int64(65536)},
			}}},
			{Key: "lazy-refcounts", Value: false},
			{Key: "refcount-bits", Value: uint64(16)},
		},
		Backing: &Info{Filename: "sub/../a.raw", Format: "raw", VirtualSize: 1000},
	}
}

// setZone fixes the zone of the table's dates.
func setZone(t *testing.T) {
	t.Helper()
	old := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = old })
}

func TestInfoText(t *testing.T) {
	setZone(t)
	const want = `image: sub/o.qcow2
file format: qcow2
virtual size: 3 MiB (3145728 bytes)
disk size: 212 KiB
encrypted: yes
cluster_size: 65536
backing file: ../a.raw (actual path: sub/../a.raw)
backing file format: raw
Snapshot list:
ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT
1         s1                    0 B 2026-11-22 13:32:47 01:02:03.004          0
2         a very long snapshot name indeed    1 MiB 2026-11-22 13:32:47 00:00:00.000           
Format specific information:
    compat: 1.1
    bitmaps:
        [0]:
            flags:
                [0]: auto
            granularity: 65536
    lazy refcounts: false
    refcount bits: 16

image: sub/../a.raw
file format: raw
virtual size: 0.977 KiB (1000 bytes)
disk size: unavailable
`
	if diff := cmp.Diff(want, testInfo().ChainText("\n")); diff != "" {
		t.Errorf("(-QEMU +ours)\n%s", diff)
	}
}

func TestInfoTextOfDirtyImage(t *testing.T) {
	dirty := true
	i := &Info{Filename: "d", Format: "qcow2", ClusterSize: 512, Dirty: &dirty}
	const want = "image: d\nfile format: qcow2\nvirtual size: 0 B (0 bytes)\ndisk size: unavailable\n" +
		"cluster_size: 512\ncleanly shut down: no\n"
	if diff := cmp.Diff(want, i.Text()); diff != "" {
		t.Errorf("(-QEMU +ours)\n%s", diff)
	}
}

func TestInfoJSON(t *testing.T) {
	const want = `[
    {
        "snapshots": [
            {
                "icount": 0,
                "vm-clock-nsec": 4000005,
                "name": "s1",
                "date-sec": 1795354367,
                "date-nsec": 735233000,
                "vm-clock-sec": 3723,
                "id": "1",
                "vm-state-size": 0
            },
            {
                "vm-clock-nsec": 0,
                "name": "a very long snapshot name indeed",
                "date-sec": 1795354367,
                "date-nsec": 0,
                "vm-clock-sec": 0,
                "id": "2",
                "vm-state-size": 1048576
            }
        ],
        "backing-filename-format": "raw",
        "virtual-size": 3145728,
        "filename": "sub/o.qcow2",
        "cluster-size": 65536,
        "format": "qcow2",
        "actual-size": 217088,
        "format-specific": {
            "type": "qcow2",
            "data": {
                "compat": "1.1",
                "bitmaps": [
                    {
                        "flags": [
                            "auto"
                        ],
                        "granularity": 65536
                    }
                ],
                "lazy-refcounts": false,
                "refcount-bits": 16
            }
        },
        "full-backing-filename": "sub/../a.raw",
        "encrypted": true,
        "backing-filename": "../a.raw",
        "dirty-flag": false
    },
    {
        "virtual-size": 1000,
        "filename": "sub/../a.raw",
        "format": "raw"
    }
]
`
	if diff := cmp.Diff(want, testInfo().ChainJSON()); diff != "" {
		t.Errorf("(-QEMU +ours)\n%s", diff)
	}
}

func TestQuoteJSON(t *testing.T) {
	for in, want := range map[string]string{
		"plain":          `"plain"`,
		`q"\`:            `"q\"\\"`,
		"\b\f\n\r\t\x01": `"\b\f\n\r\t\u0001"`,
		"ü\x7f":          `"\u00FC\u007F"`,
		"bad\xff":        `"bad\uFFFD"`,
		"😀":              `"\uD83D\uDE00"`,
	} {
		if got := quoteJSON(in); got != want {
			t.Errorf("quoteJSON(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ parent, name, want string }{
		{"top.qcow2", "base.raw", "base.raw"},
		{"sub/top.qcow2", "../base.raw", "sub/../base.raw"},
		{"/a/b/top.qcow2", "base.raw", "/a/b/base.raw"},
		{"sub/top.qcow2", "/abs/base.raw", "/abs/base.raw"},
		{"sub/top.qcow2", "nbd://host/x", "nbd://host/x"},
	} {
		if got := resolve(c.parent, c.name); got != c.want {
			t.Errorf("resolve(%q, %q) = %q, want %q", c.parent, c.name, got, c.want)
		}
	}
}
