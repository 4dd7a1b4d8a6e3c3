package qemuio

import (
	"errors"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// size reads an offset or a length, with suffix.
func size(word string) (int64, error) {
	n, err := blockdev.ParseSize(word)
	switch {
	case errors.Is(err, blockdev.ErrRange):
		return 0, wrap(toOut, "Parsing error: argument too large -- "+word, err)
	case err != nil:
		return 0, wrap(toOut, "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- "+word, err)
	}
	return n, nil
}

// integer reads a number that is not negative as C writes it: 10, 012, 0xa.
func integer(word string) (int64, bool) {
	if strings.ContainsAny(word, "_bBoO") && !strings.HasPrefix(strings.ToLower(word), "0x") || strings.Contains(word, "_") {
		return 0, false // Go's notations
	}
	n, err := strconv.ParseInt(word, 0, 64)
	return n, err == nil && n >= 0
}

// pattern reads a byte to fill or compare a buffer with.
func pattern(word string) (byte, error) {
	n, ok := integer(word)
	if !ok || n > 0xff {
		return 0, complain(toOut, "%s is not a valid pattern byte", word)
	}
	return byte(n), nil
}

// units of sizes in statistics, by powers of 1024.
var units = []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// formatSize shows bytes: three decimals and a unit, without decimals if they are nought.
func formatSize(n float64) string {
	unit := 0
	for n >= 1024 && unit < len(units)-1 {
		n /= 1024
		unit++
	}
	decimals := 3
	if unit == 0 {
		decimals = 6
	}
	text := strconv.FormatFloat(n, 'f', decimals, 64)
	if whole, fraction, _ := strings.Cut(text, "."); strings.HasPrefix(fraction, "000") {
		text = whole
	}
	return text + " " + units[unit]
}
