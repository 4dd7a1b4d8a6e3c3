package blockdev

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
)

// Options are one node's options as -drive, -blockdev and json: give them, flattened:
// nested objects become dotted keys ("file.driver", "file.filename").
type Options map[string]string

// Clone copies o.
func (o Options) Clone() Options {
	c := make(Options, len(o))
	for k, v := range o {
		c[k] = v
	}
	return c
}

// Sub splits off the options below prefix: Sub("file") of "file.filename" has "filename".
// They are removed from o. A plain "file" key stays.
func (o Options) Sub(prefix string) Options {
	sub := Options{}
	for k, v := range o {
		if rest, ok := strings.CutPrefix(k, prefix+"."); ok {
			sub[rest] = v
			delete(o, k)
		}
	}
	return sub
}

// Take removes a key and returns its value.
func (o Options) Take(key string) (string, bool) {
	v, ok := o[key]
	delete(o, key)
	return v, ok
}

// Keys are the sorted keys.
func (o Options) Keys() []string {
	keys := make([]string, 0, len(o))
	for k := range o {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// OptionType is the type of an option's value.
type OptionType uint8

const (
	OptString OptionType = iota
	OptBool              // on, off
	OptInt               // an unsigned number
	OptSigned            // a number that may be negative
	OptSize              // a number of bytes, with suffix
	OptEnum              // one of Option.Enum
	OptTree              // Options: all that is below the name, as it was given
)

// Option describes one option of a driver. The table of a driver's options drives
// validation, -o help, documentation and completion.
type Option struct {
	Name    string
	Type    OptionType
	Enum    []string
	Default string // in option syntax; "" for none
	Help    string // one line, no full stop
	// Supersedes are options that say the same in another way. Where a node is opened again
	// those of before do not count beside this one.
	Supersedes []string
}

// OptionTable is a driver's options, in the order help shows them.
type OptionTable []Option

// Lookup finds an option by name; a tree by every name in it.
func (t OptionTable) Lookup(name string) (Option, bool) {
	for _, o := range t {
		if o.Name == name || o.Type == OptTree && strings.HasPrefix(name, o.Name+".") {
			return o, true
		}
	}
	return Option{}, false
}

// Values are validated options: string, bool, int64, Options by option type.
type Values map[string]any

// Parse validates o against the table; absent options get their default, or stay absent.
func (t OptionTable) Parse(o Options) (Values, error) {
	v := Values{}
	for _, k := range o.Keys() {
		opt, ok := t.Lookup(k)
		if !ok {
			return nil, Errorf(ErrInvalid, "", "", "Invalid parameter '%s'", k)
		}
		if opt.Type == OptTree {
			v.addToTree(opt.Name, strings.TrimPrefix(strings.TrimPrefix(k, opt.Name), "."), o[k])
			continue
		}
		val, err := opt.parse(o[k])
		if err != nil {
			return nil, err
		}
		v[k] = val
	}
	for _, opt := range t {
		if _, ok := v[opt.Name]; ok || opt.Default == "" {
			continue
		}
		val, err := opt.parse(opt.Default)
		if err != nil {
			return nil, fmt.Errorf("default of option %s: %w", opt.Name, err)
		}
		v[opt.Name] = val
	}
	return v, nil
}

func (v Values) addToTree(name, key, value string) {
	tree, ok := v[name].(Options)
	if !ok {
		tree = Options{}
		v[name] = tree
	}
	tree[key] = value
}

func (o Option) parse(s string) (any, error) {
	switch o.Type {
	case OptBool:
		switch s {
		case "on", "true", "yes", "y":
			return true, nil
		case "off", "false", "no", "n":
			return false, nil
		}
		return nil, Errorf(ErrInvalid, "", "", "Parameter '%s' expects 'on' or 'off'", o.Name)
	case OptInt:
		return o.parseUnsigned(s)
	case OptSigned:
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil || onlyGo(s) {
			return nil, o.noNumber()
		}
		return n, nil
	case OptSize:
		n, err := ParseSize(s)
		if err != nil {
			return nil, Errorf(ErrInvalid, "", "", "Parameter '%s' expects a non-negative number below 2^64", o.Name)
		}
		return n, nil
	case OptEnum:
		for _, e := range o.Enum {
			if s == e {
				return s, nil
			}
		}
		return nil, Errorf(ErrInvalid, "", "", "Parameter '%s' does not accept value '%s'", o.Name, s)
	}
	return s, nil
}

// parseUnsigned reads a number as the C library does: a negative one counts from 2^64 down.
// Numbers beyond an int64 are all taken for the largest, which is over every limit.
func (o Option) parseUnsigned(s string) (any, error) {
	digits := strings.TrimPrefix(s, "+")
	negative := strings.HasPrefix(s, "-")
	if negative {
		digits = s[1:]
	}
	n, err := strconv.ParseUint(digits, 0, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return nil, Errorf(ErrInvalid, "", "", "Value '%s' is too large for parameter '%s'", s, o.Name)
	case err != nil || onlyGo(digits):
		return nil, o.noNumber()
	case negative:
		n = -n
	}
	return int64(min(n, math.MaxInt64)), nil
}

// onlyGo tells if a number has a form that Go knows and the C library does not: underscores,
// and prefixes of binary and octal ones.
func onlyGo(number string) bool {
	digits := strings.ToLower(strings.TrimLeft(number, "+-"))
	return strings.Contains(digits, "_") || strings.HasPrefix(digits, "0b") || strings.HasPrefix(digits, "0o")
}

func (o Option) noNumber() error {
	return Errorf(ErrInvalid, "", "", "Parameter '%s' expects a number", o.Name)
}

// Has tells if a value was given or has a default.
func (v Values) Has(name string) bool { _, ok := v[name]; return ok }

// Decode fills the struct that out points to; fields are tagged `option:"name"`.
func (v Values) Decode(out any) error {
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{TagName: "option", Result: out})
	if err != nil {
		return err
	}
	return d.Decode(map[string]any(v))
}
