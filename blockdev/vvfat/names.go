package vvfat

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// What a long name cannot hold is shown as characters of Unicode's private use area: byte
// b as privateByte+b, the convention that other systems use for the same purpose. A name
// that differs from another in its directory by case alone gets privateTwin+number at its
// end. Names that have such characters themselves are given byte by byte, so that every
// name of the host can be told from the one on the disk.
const (
	privateByte = 0xF000
	privateTwin = 0xF100
	privateEnd  = 0xF200
	// maxTwins is how many names may differ by case alone.
	maxTwins = privateEnd - privateTwin
	// maxLongName is in units of UTF-16 (fatgen: Long Directory Entries).
	maxLongName = 255
	// forbidden in a long name, besides control characters; DEL is left alone.
	forbidden = `"*/:<>?\|`
)

// guestName is a host's name as the disk shows it.
func guestName(host string) string {
	plain := true
	for i := 0; i < len(host); i++ {
		c := host[i]
		plain = plain && c >= ' ' && c < utf8.RuneSelf && strings.IndexByte(forbidden, c) < 0
	}
	if plain && !strings.HasSuffix(host, ".") && !strings.HasSuffix(host, " ") {
		return host
	}
	var b strings.Builder
	end := len(strings.TrimRight(host, ". ")) // trailing dots and spaces are ignored by FAT
	for i := 0; i < len(host); {
		r, size := utf8.DecodeRuneInString(host[i:])
		bad := r == utf8.RuneError && size == 1 || r >= privateByte && r < privateEnd || i >= end ||
			r < ' ' || r < utf8.RuneSelf && strings.IndexByte(forbidden, byte(r)) >= 0
		for _, c := range []byte(host[i : i+size]) {
			if bad {
				b.WriteRune(privateByte + rune(c))
			}
		}
		if !bad {
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// hostName is the host's name for one that a guest chose, the reverse of guestName; ok is
// false if the host cannot have such a name.
func hostName(guest string) (host string, ok bool) {
	var b strings.Builder
	for _, r := range guest {
		switch {
		case r >= privateByte && r < privateTwin:
			b.WriteByte(byte(r - privateByte))
		case r >= privateTwin && r < privateEnd: // a twin's number
		default:
			b.WriteRune(r)
		}
	}
	host = b.String()
	base := guest
	if r, size := utf8.DecodeLastRuneInString(guest); r >= privateTwin && r < privateEnd {
		base = guest[:len(guest)-size]
	}
	switch {
	case host == "" || host == "." || host == ".." || strings.ContainsAny(host, "/\x00"):
		return "", false
	case strings.HasPrefix(host, temporaryPrefix):
		return "", false
	case len(host) > maxHostName:
		return "", false
	}
	return host, guestName(host) == base && validOnHost(host)
}

// maxHostName is the longest name in bytes that the file systems of hosts have.
const maxHostName = 255

// longUnits is a name in UTF-16.
func longUnits(name string) []uint16 { return utf16.Encode([]rune(name)) }

// fold is the name as FAT compares names: without regard to case.
func fold(name string) string { return strings.ToUpper(name) }

// shortName is a name of eight and three characters, padded with spaces, without the dot.
type shortName [11]byte

// shortSymbols are allowed in short names besides letters and digits (fatgen: Short
// Directory Entries).
const shortSymbols = "$%'-_@~`!(){}^#&"

func shortByte(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(shortSymbols, c) >= 0
}

// asShort tells if name, but for its case, is a short name; exact, if for its case too.
func asShort(name string) (s shortName, ok, exact bool) {
	upper := strings.ToUpper(name)
	base, ext, dot := strings.Cut(upper, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dot && ext == "" || len(upper) != len(name) {
		return s, false, false
	}
	for _, c := range []byte(base + ext) {
		if !shortByte(c) {
			return s, false, false
		}
	}
	return joinShort(base, ext), true, name == upper
}

// aliases hands out short names that are unique in one directory.
type aliases struct {
	taken map[shortName]bool
	next  map[string]int // the number to try next, by what stands around it and its digits
}

func newAliases(n int) *aliases {
	return &aliases{taken: make(map[shortName]bool, n), next: map[string]int{}}
}

// alias makes a short name for a long one (fatgen: The Basis-Name Generation Algorithm).
func (a *aliases) alias(name string) shortName {
	stem := strings.TrimLeft(name, ". ")
	ext := ""
	if i := strings.LastIndexByte(stem, '.'); i >= 0 {
		stem, ext = stem[:i], stem[i+1:]
	}
	base, ext := shorten(stem, 8), shorten(ext, 3)
	for digits, low := 1, 1; ; digits, low = digits+1, low*10 {
		cut := base[:min(len(base), 8-1-digits)]
		key := cut + "~" + strconv.Itoa(digits) + "." + ext
		for n := max(low, a.next[key]); n < low*10; n++ {
			s := joinShort(cut+"~"+strconv.Itoa(n), ext)
			if !a.taken[s] {
				a.taken[s], a.next[key] = true, n+1
				return s
			}
		}
		a.next[key] = low * 10
	}
}

func joinShort(base, ext string) (s shortName) {
	copy(s[:8], padded(base, 8))
	copy(s[8:], padded(ext, 3))
	return s
}

// shorten keeps up to n characters of s that a short name can have; others become '_'.
func shorten(s string, n int) string {
	var out []byte
	for _, r := range strings.ToUpper(s) {
		switch {
		case r == ' ' || r == '.':
			continue
		case r < utf8.RuneSelf && shortByte(byte(r)):
			out = append(out, byte(r))
		default:
			out = append(out, '_')
		}
		if len(out) == n {
			break
		}
	}
	if len(out) == 0 && n == 8 {
		return "_"
	}
	return string(out)
}
