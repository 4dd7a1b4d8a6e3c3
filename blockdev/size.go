package blockdev

import (
	"math"
	"strconv"
	"strings"
)

// sizeUnits in order of their powers of 1024.
const sizeUnits = "BKMGTPE"

// ParseSize reads a number of bytes as QEMU's tools take it: decimal, hexadecimal, with a
// fraction, with a suffix (B, k, K, M, G, T, P, E: powers of 1024; none means bytes). A
// size that is not one matches ErrInvalid, one over the largest int64 ErrRange.
func ParseSize(s string) (int64, error) {
	text := strings.TrimLeft(s, " \t\n\v\f\r")
	if hex, ok := cutHexPrefix(text); ok {
		n, err := strconv.ParseUint(hex, 16, 64)
		return checkedSize(s, n, err)
	}
	digits := text
	shift := uint(0)
	if text != "" {
		last := strings.ToUpper(text[len(text)-1:])
		if i := strings.Index(sizeUnits, last); i >= 0 {
			digits, shift = text[:len(text)-1], 10*uint(i)
		}
	}
	whole, fraction, hasFraction := strings.Cut(strings.TrimPrefix(digits, "+"), ".")
	if !isDigits(whole) || hasFraction && fraction != "" && !isDigits(fraction) {
		return 0, badSize(s)
	}
	n, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, sizeTooLarge(s)
	}
	n <<= shift
	if fraction != "" {
		f, err := strconv.ParseFloat("0."+fraction, 64)
		if err != nil || shift == 0 && f != 0 {
			return 0, badSize(s)
		}
		n += uint64(f*float64(uint64(1)<<shift) + 0.5) // the nearest, as QEMU takes it
	}
	return checkedSize(s, n, nil)
}

func cutHexPrefix(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		return rest, true
	}
	return strings.CutPrefix(s, "0X")
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

func checkedSize(s string, n uint64, err error) (int64, error) {
	switch {
	case err != nil:
		return 0, badSize(s)
	case n > math.MaxInt64:
		return 0, sizeTooLarge(s)
	}
	return int64(n), nil
}

func badSize(s string) error { return Errorf(ErrInvalid, "", "", "Invalid size '%s'", s) }

func sizeTooLarge(s string) error {
	return Errorf(ErrRange, "", "", "Size '%s' is too large", s)
}

// FormatSize writes n bytes as QEMU's tools show it: three significant digits and a unit:
// "16 MiB", "1.5 GiB", "0 B". A unit is used from 1000 of the one below on.
func FormatSize(n int64) string {
	value, unit := float64(n), 0
	for value >= 1000 && unit < len(sizeUnits)-1 {
		value /= 1024
		unit++
	}
	text := strconv.FormatFloat(value, 'g', 3, 64)
	if unit == 0 {
		return text + " B"
	}
	return text + " " + sizeUnits[unit:unit+1] + "iB"
}
