package vmstate

import (
	"fmt"
	"math/bits"
	"reflect"
)

// A codec writes, reads and describes one Go value in the stream.
type codec interface {
	encode(e *Encoder, v reflect.Value) error
	decode(d *Decoder, v reflect.Value) error
	// describe gives everything but the name.
	describe(v reflect.Value) (FieldDescription, error)
}

// scalar is an integer or bool: big-endian, size bytes wide in the stream.
type scalar struct {
	typ    string // as descriptions say it: "uint32"
	size   int    // bytes in the stream
	signed bool   // in the stream
}

// scalars are the types that can be stored.
var scalars = map[string]scalar{
	"bool":  {"bool", 1, false},
	"uint8": {"uint8", 1, false}, "uint16": {"uint16", 2, false},
	"uint32": {"uint32", 4, false}, "uint64": {"uint64", 8, false},
	"int8": {"int8", 1, true}, "int16": {"int16", 2, true},
	"int32": {"int32", 4, true}, "int64": {"int64", 8, true},
}

func (s scalar) encode(e *Encoder, v reflect.Value) error {
	var n uint64
	switch {
	case v.Kind() == reflect.Bool:
		if v.Bool() {
			n = 1
		}
	case v.CanInt():
		i := v.Int()
		if s.signed && i != signExtend(uint64(i), s.size) || !s.signed && i < 0 {
			return fmt.Errorf("value %d does not fit %s", i, s.typ)
		}
		n = uint64(i)
	default:
		n = v.Uint()
	}
	if !s.signed && bits.Len64(n) > s.size*8 || s.signed && v.CanUint() && bits.Len64(n) > s.size*8-1 {
		return fmt.Errorf("value %#x does not fit %s", n, s.typ)
	}
	e.putUint(n, s.size)
	return nil
}

func (s scalar) decode(d *Decoder, v reflect.Value) error {
	n := d.uint(s.size)
	if d.err != nil {
		return d.err
	}
	switch {
	case v.Kind() == reflect.Bool:
		v.SetBool(n != 0)
	case v.CanInt():
		i := int64(n)
		if s.signed {
			i = signExtend(n, s.size)
		}
		if !s.signed && i < 0 || v.OverflowInt(i) {
			return fmt.Errorf("value %#x does not fit", n)
		}
		v.SetInt(i)
	default:
		if s.signed && signExtend(n, s.size) < 0 || v.OverflowUint(n) {
			return fmt.Errorf("value %#x does not fit", n)
		}
		v.SetUint(n)
	}
	return nil
}

func (s scalar) describe(reflect.Value) (FieldDescription, error) {
	return FieldDescription{Type: s.typ, Size: int64(s.size)}, nil
}

// signExtend takes the lowest size bytes of n as a signed number.
func signExtend(n uint64, size int) int64 {
	shift := 64 - 8*size
	return int64(n<<shift) >> shift
}

// buffer is an array or slice of bytes that is one field.
type buffer struct{}

func (buffer) encode(e *Encoder, v reflect.Value) error {
	e.Bytes(v.Bytes())
	return nil
}

func (buffer) decode(d *Decoder, v reflect.Value) error {
	d.Fill(v.Bytes())
	return d.err
}

func (buffer) describe(v reflect.Value) (FieldDescription, error) {
	return FieldDescription{Type: "buffer", Size: int64(v.Len())}, nil
}

// padding is a run of bytes without a meaning.
type padding struct{ size int }

func (p padding) encode(e *Encoder, _ reflect.Value) error {
	e.Bytes(make([]byte, p.size))
	return nil
}

func (p padding) decode(d *Decoder, _ reflect.Value) error {
	d.Skip(int64(p.size))
	return d.err
}

func (p padding) describe(reflect.Value) (FieldDescription, error) {
	return FieldDescription{Type: "unused_buffer", Size: int64(p.size)}, nil
}

// own is a type with a layout of its own.
type own struct{}

func (own) encode(e *Encoder, v reflect.Value) error {
	return v.Addr().Interface().(Marshaler).MarshalVMState(e)
}

func (own) decode(d *Decoder, v reflect.Value) error {
	if err := v.Addr().Interface().(Unmarshaler).UnmarshalVMState(d); err != nil {
		return err
	}
	return d.err
}

func (o own) describe(v reflect.Value) (FieldDescription, error) {
	var e Encoder
	err := o.encode(&e, v)
	return FieldDescription{Type: "buffer", Size: int64(len(e.buf))}, err
}

// list is an array or slice, one element after the other.
type list struct {
	elem  codec
	bytes bool // elements are plain bytes
}

func (l list) encode(e *Encoder, v reflect.Value) error {
	if l.bytes {
		e.Bytes(v.Bytes())
		return nil
	}
	for i := range v.Len() {
		if err := l.elem.encode(e, v.Index(i)); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func (l list) decode(d *Decoder, v reflect.Value) error {
	if l.bytes {
		d.Fill(v.Bytes())
		return d.err
	}
	for i := range v.Len() {
		if err := l.elem.decode(d, v.Index(i)); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

// describe is not how lists are described: see field.describe.
func (l list) describe(v reflect.Value) (FieldDescription, error) {
	return l.elem.describe(v)
}

// leaves calls fn with the elements of a list, those of lists within it one by one, as
// QEMU sees an array of arrays.
func (l list) leaves(v reflect.Value, fn func(codec, reflect.Value) error) error {
	for i := range v.Len() {
		inner, nested := l.elem.(list)
		var err error
		if nested {
			err = inner.leaves(v.Index(i), fn)
		} else {
			err = fn(l.elem, v.Index(i))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
