package qemuio

import (
	"testing"
	"time"
)

func TestFormatSize(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0 bytes", 1: "1 bytes", 512: "512 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1229: "1.200 KiB",
		1048575: "1023.999 KiB", 1 << 20: "1 MiB", 1 << 29: "512 MiB", 0.107702: "0.107702 bytes", 1.479760: "1.479760 bytes",
		16<<20 - 64<<10: "15.938 MiB", 1 << 40: "1 TiB", 7 << 60: "7 EiB",
	} {
		if got := formatSize(n); got != want {
			t.Errorf("%v is shown as %q, not %q", n, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0:00:00.00", 9 * time.Millisecond: "0:00:00.00", 910 * time.Millisecond: "0:00:00.91",
		65580 * time.Millisecond: "0:01:05.58", time.Hour + 19*time.Minute + 13840*time.Millisecond: "1:19:13.84",
	} {
		if got := clock(d); got != want {
			t.Errorf("%v is shown as %q, not %q", d, got, want)
		}
	}
}

func TestIntegersAreCs(t *testing.T) {
	for word, want := range map[string]int64{"0": 0, "10": 10, "010": 8, "0x1f": 31, "0XB": 11, "0xb": 11} {
		if got, ok := integer(word); !ok || got != want {
			t.Errorf("%s is %d, %v", word, got, ok)
		}
	}
	for _, word := range []string{"", "x", "-1", "1k", "0b1", "0o7", "1_0", "0x", "0x1_0", "08", "99999999999999999999"} {
		if got, ok := integer(word); ok {
			t.Errorf("%q is taken as %d", word, got)
		}
	}
}
