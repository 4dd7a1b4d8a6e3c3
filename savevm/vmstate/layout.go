package vmstate

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// layout is how a struct type lies in the stream.
type layout struct {
	fields      []field
	subsections []field
}

// field is one field of a struct.
type field struct {
	index   int
	tag     tag
	codec   codec
	special string // type that the tag gives, "" for the codec's
}

// tag is a parsed vmstate tag.
type tag struct {
	name       string
	stored     string // scalar type, "" for the Go type's
	buffer     bool
	unused     int    // bytes, 0 if not padding
	structName string // "" for the field's name
	version    uint32 // of nested structure or subsection
	subsection bool
	since      uint32
	typ        string
}

// maxUnused bounds padding; QEMU's longest is a few kilobytes.
const maxUnused = 1 << 20

func parseTag(s string) (tag, error) {
	parts := strings.Split(s, ",")
	t := tag{name: parts[0], version: 1}
	if t.name == "" || len(t.name) > maxName {
		return t, fmt.Errorf("bad name %q", t.name)
	}
	for _, p := range parts[1:] {
		key, value, _ := strings.Cut(p, "=")
		var err error
		switch key {
		case "buffer":
			t.buffer = true
		case "unused":
			t.unused, err = strconv.Atoi(value)
			if t.unused <= 0 || t.unused > maxUnused {
				err = fmt.Errorf("bad size")
			}
		case "struct":
			t.structName = value
		case "version":
			t.version, err = parseVersion(value)
		case "subsection":
			t.subsection = true
			t.version, err = parseVersion(value)
		case "since":
			t.since, err = parseVersion(value)
		case "type":
			t.typ = value
		default:
			if _, ok := scalars[key]; !ok {
				err = fmt.Errorf("unknown word")
			}
			t.stored = key
		}
		if err != nil {
			return t, fmt.Errorf("%q: %w", p, err)
		}
	}
	if t.structName == "" {
		t.structName = t.name
	}
	return t, nil
}

func parseVersion(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

var layouts sync.Map // reflect.Type -> *layout or error

// layoutOf compiles a struct type once. An error is a mistake in the type's tags.
func layoutOf(t reflect.Type) (*layout, error) {
	if c, ok := layouts.Load(t); ok {
		if err, ok := c.(error); ok {
			return nil, err
		}
		return c.(*layout), nil
	}
	l, err := compile(t)
	if err != nil {
		err = fmt.Errorf("vmstate: type %s: %w", t, err)
		layouts.Store(t, err)
		return nil, err
	}
	layouts.Store(t, l)
	return l, nil
}

func compile(t reflect.Type) (*layout, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("state must be a struct")
	}
	l := &layout{}
	for i := range t.NumField() {
		sf := t.Field(i)
		text, tagged := sf.Tag.Lookup("vmstate")
		if text == "-" || !tagged && !sf.IsExported() {
			continue
		}
		if !tagged {
			return nil, fmt.Errorf("field %s: no vmstate tag", sf.Name)
		}
		f, err := compileField(sf, text)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", sf.Name, err)
		}
		f.index = i
		if f.tag.subsection {
			l.subsections = append(l.subsections, f)
		} else {
			l.fields = append(l.fields, f)
		}
	}
	return l, nil
}

func compileField(sf reflect.StructField, text string) (field, error) {
	t, err := parseTag(text)
	f := field{tag: t, special: t.typ}
	switch {
	case err != nil:
		return f, err
	case t.unused > 0:
		f.codec = padding{t.unused}
		return f, nil
	case !sf.IsExported():
		return f, fmt.Errorf("tagged, but not exported")
	case t.subsection:
		if sf.Type.Kind() != reflect.Pointer || sf.Type.Elem().Kind() != reflect.Struct {
			return f, fmt.Errorf("a subsection is a pointer to a struct")
		}
		f.codec = structure{t.name, t.version}
		_, err = layoutOf(sf.Type.Elem())
		return f, err
	}
	f.codec, err = codecOf(sf.Type, t)
	return f, err
}

var (
	marshalerType   = reflect.TypeFor[Marshaler]()
	unmarshalerType = reflect.TypeFor[Unmarshaler]()
)

func codecOf(t reflect.Type, g tag) (codec, error) {
	if p := reflect.PointerTo(t); p.Implements(marshalerType) && p.Implements(unmarshalerType) {
		return own{}, nil
	}
	switch t.Kind() {
	case reflect.Struct:
		_, err := layoutOf(t)
		return structure{g.structName, g.version}, err
	case reflect.Array, reflect.Slice:
		isBytes := t.Elem().Kind() == reflect.Uint8
		if g.buffer && isBytes {
			return buffer{}, nil
		}
		elem, err := codecOf(t.Elem(), g)
		return list{elem, isBytes && elem == codec(scalars["uint8"])}, err
	}
	if g.buffer {
		return nil, fmt.Errorf("a buffer is an array or slice of bytes")
	}
	stored := g.stored
	if stored == "" {
		stored = t.Kind().String()
	}
	s, ok := scalars[stored]
	if !ok || !slices.Contains(scalarKinds, t.Kind()) {
		return nil, fmt.Errorf("type %s cannot be stored as %q", t, stored)
	}
	return s, nil
}

// scalarKinds are the Go kinds that can hold a scalar.
var scalarKinds = []reflect.Kind{
	reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
	reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
}
