// Package qemuopts reads the option strings of QEMU's command line:
//
//	file=disk.qcow2,if=none,id=d0      key=value pairs between commas
//	file=a,,b.img                      a doubled comma is one comma of the value
//	virt,accel=tcg                     the first pair may leave out its key
//	server,nowait                      a key alone means on, with a leading "no" off
package qemuopts

import (
	"fmt"
	"strconv"
	"strings"
)

// Pair is one key and its value.
type Pair struct {
	Key, Value string
	// Short is how a switch was spelled that had no value: "server", "nowait".
	Short string
}

// List is an option string, in order.
type List []Pair

// Parse splits s. implied is the key of a first pair that has none; if it is empty, a
// first word without '=' is a switch as any other.
func Parse(s, implied string) List {
	var l List
	for first := true; s != ""; first = false {
		var word string
		word, s = cutComma(s)
		p := Pair{Short: word}
		if key, value, found := strings.Cut(word, "="); found {
			p = Pair{Key: key, Value: value}
		} else if first && implied != "" {
			p = Pair{Key: implied, Value: word}
		} else if key, off := strings.CutPrefix(word, "no"); off && key != "" {
			p.Key, p.Value = key, "off"
		} else {
			p.Key, p.Value = word, "on"
		}
		l = append(l, p)
	}
	return l
}

// cutComma splits s after its first single comma and undoubles the commas before it.
func cutComma(s string) (word, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != ',' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == ',' {
			b.WriteByte(',')
			i++
			continue
		}
		return b.String(), s[i+1:]
	}
	return b.String(), ""
}

// Escape doubles the commas of a value that goes into an option string.
func Escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// Get returns the last value of key.
func (l List) Get(key string) (string, bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].Key == key {
			return l[i].Value, true
		}
	}
	return "", false
}

// Take removes every pair of key and returns the last value.
func (l *List) Take(key string) (value string, found bool) {
	rest := (*l)[:0:0]
	for _, p := range *l {
		if p.Key == key {
			value, found = p.Value, true
			continue
		}
		rest = append(rest, p)
	}
	*l = rest
	return value, found
}

// TakeBool is Take for a switch.
func (l *List) TakeBool(key string, otherwise bool) (bool, error) {
	v, ok := l.Take(key)
	if !ok {
		return otherwise, nil
	}
	return Bool(key, v)
}

// Bool reads a switch's value.
func Bool(key, value string) (bool, error) {
	switch value {
	case "on", "yes", "true", "y":
		return true, nil
	case "off", "no", "false", "n":
		return false, nil
	}
	return false, fmt.Errorf("Parameter '%s' expects 'on' or 'off'", key)
}

// TakeInt is Take for a number.
func (l *List) TakeInt(key string, otherwise int) (int, error) {
	v, ok := l.Take(key)
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(v, 0, 31)
	if err != nil {
		return 0, fmt.Errorf("Parameter '%s' expects a number", key)
	}
	return int(n), nil
}

// CheckID tells if s can be the id of something; the error is what QEMU prints.
func CheckID(s string) error {
	ok := s != ""
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789-._", c)) {
			ok = false
		}
	}
	if !ok {
		return fmt.Errorf("Parameter 'id' expects an identifier\n" +
			"Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.")
	}
	return nil
}
