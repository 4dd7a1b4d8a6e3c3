package blockdev_test

import (
	"errors"
	"math"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// What qemu-img create takes as a size, tried with version 7.2.
func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "1k": 1024, "1K": 1024, "1.5G": 3 << 29, "0x100": 256, "0.5k": 512, " 5": 5,
		"1b": 1, "1B": 1, "1.3k": 1331, "1.2k": 1229, "1.k": 1024, "2T": 2 << 40, "1P": 1 << 50, "7E": 7 << 60,
		"9223372036854775807": math.MaxInt64, "0": 0,
	} {
		if got, err := blockdev.ParseSize(s); got != want || err != nil {
			t.Errorf("%q: %d, %v, not %d", s, got, err, want)
		}
	}
	for s, kind := range map[string]error{
		"1e3": blockdev.ErrInvalid, "foo": blockdev.ErrInvalid, "1Z": blockdev.ErrInvalid, "1.5": blockdev.ErrInvalid,
		"1kk": blockdev.ErrInvalid, "": blockdev.ErrInvalid, "0x1.8k": blockdev.ErrInvalid, ".5G": blockdev.ErrInvalid,
		"1e1k": blockdev.ErrInvalid, "-1": blockdev.ErrInvalid, "k": blockdev.ErrInvalid, "0x": blockdev.ErrInvalid,
		"8E": blockdev.ErrRange, "16E": blockdev.ErrRange, "99999999999999999999": blockdev.ErrRange,
	} {
		if n, err := blockdev.ParseSize(s); !errors.Is(err, kind) {
			t.Errorf("%q: %d, %v, not %v", s, n, err, kind)
		}
	}
}

// What qemu-img info shows of sizes, tried with version 7.2.
func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 512: "512 B", 999: "999 B", 1024: "1 KiB", 1536: "1.5 KiB", 10240: "10 KiB",
		1024000: "0.977 MiB", 1047552: "0.999 MiB", 1 << 20: "1 MiB", 12345679360: "11.5 GiB",
		4321098765824: "3.93 TiB", 1 << 40: "1 TiB", 1 << 62: "4 EiB",
	} {
		if got := blockdev.FormatSize(n); got != want {
			t.Errorf("%d: %q, not %q", n, got, want)
		}
	}
}
