package vvfat

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestNamesOnTheDisk(t *testing.T) {
	for _, c := range []struct{ host, guest string }{
		{"plain.txt", "plain.txt"},
		{"日本語", "日本語"},
		{"a:b?", "a\uf03ab\uf03f"},
		{"dots...", "dots\uf02e\uf02e\uf02e"},
		{"space ", "space\uf020"},
		{"tab\t", "tab\uf009"},
		{"bad\xff", "bad\uf0ff"},
		{"\uf03a", "\uf0ef\uf080\uf0ba"},
	} {
		if got := guestName(c.host); got != c.guest {
			t.Errorf("%q is %+q on the disk, want %+q", c.host, got, c.guest)
		}
		if got, ok := hostName(c.guest); !ok || got != c.host {
			t.Errorf("%+q is %q, %v on the host", c.guest, got, ok)
		}
	}
	if got, ok := hostName("same\uf101"); !ok || got != "same" {
		t.Errorf("a twin is %q, %v on the host", got, ok)
	}
}

func TestNamesTheHostCannotHave(t *testing.T) {
	for _, guest := range []string{"", ".", "..", "a/b", "a\x00b", "\uf02e", "\uf02e\uf02e", "a\uf02fb", "\uf041", "a:b",
		temporaryPrefix + "x", strings.Repeat("ü", 200)} {
		if host, ok := hostName(guest); ok {
			t.Errorf("%+q is allowed, as %q", guest, host)
		}
	}
}

func TestEveryHostNameComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := string(rapid.SliceOfN(rapid.Byte(), 1, maxHostName).Draw(t, "name"))
		if host == "." || host == ".." || strings.ContainsAny(host, "/\x00") || strings.HasPrefix(host, temporaryPrefix) {
			t.Skip("no name of a file")
		}
		guest := guestName(host)
		if !utf8.ValidString(guest) || len(longUnits(guest)) > maxLongName || strings.ContainsAny(guest, forbidden) {
			t.Fatalf("%q is %+q on the disk", host, guest)
		}
		if back, ok := hostName(guest); !ok || back != host {
			t.Fatalf("%q comes back as %q, %v", host, back, ok)
		}
	})
}

func TestShortNames(t *testing.T) {
	a := newAliases(0)
	a.taken[joinShort("TAKEN~1", "TXT")] = true
	for _, c := range []struct{ long, short string }{
		{"a long name.text", "ALONGN~1TEX"},
		{"a long name too.text", "ALONGN~2TEX"},
		{".profile", "PROFIL~1   "},
		{"ünï.x", "_N_~1   X  "},
		{"taken .txt", "TAKEN~2 TXT"},
		{"many.dots.txt", "MANYDO~1TXT"},
	} {
		if s := a.alias(c.long); string(s[:]) != c.short {
			t.Errorf("%q has the short name %q, want %q", c.long, s[:], c.short)
		}
	}
}

func TestShortNamesAreUnique(t *testing.T) {
	a := newAliases(0)
	seen := map[shortName]bool{}
	for i := range 30000 {
		s := a.alias("same beginning " + strings.Repeat("x", i%7) + ".data")
		if seen[s] {
			t.Fatalf("%q twice", s[:])
		}
		seen[s] = true
	}
}

// TestChecksum is the example that long name tools agree on.
func TestChecksum(t *testing.T) {
	if sum := joinShort("LONGFI~1", "TEX").checksum(); sum != 0xCF {
		t.Errorf("%#x, QEMU's disk has 0xcf", sum)
	}
}
