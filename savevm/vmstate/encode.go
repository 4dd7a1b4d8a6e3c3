package vmstate

import (
	"encoding/binary"
	"fmt"
	"reflect"
)

// Marshaler is a field type with a layout of its own.
type Marshaler interface {
	MarshalVMState(e *Encoder) error
}

// Unmarshaler reads what its type's MarshalVMState wrote. It must not trust a length that
// it reads: compare it with its own, or bound what is allocated.
type Unmarshaler interface {
	UnmarshalVMState(d *Decoder) error
}

// Encoder collects the bytes of one section.
type Encoder struct {
	buf []byte
}

// Uint8 appends a byte.
func (e *Encoder) Uint8(v uint8) { e.buf = append(e.buf, v) }

// Uint16 appends two bytes, big-endian.
func (e *Encoder) Uint16(v uint16) { e.buf = binary.BigEndian.AppendUint16(e.buf, v) }

// Uint32 appends four bytes, big-endian.
func (e *Encoder) Uint32(v uint32) { e.buf = binary.BigEndian.AppendUint32(e.buf, v) }

// Uint64 appends eight bytes, big-endian.
func (e *Encoder) Uint64(v uint64) { e.buf = binary.BigEndian.AppendUint64(e.buf, v) }

// Bytes appends p.
func (e *Encoder) Bytes(p []byte) { e.buf = append(e.buf, p...) }

// Struct appends the fields and subsections of the struct that v points to; name is what
// the names of its subsections begin with.
func (e *Encoder) Struct(name string, version uint32, v any) error {
	s, err := target(v)
	if err != nil {
		return err
	}
	return structure{name, version}.encode(e, s)
}

func (e *Encoder) putUint(n uint64, size int) {
	for shift := 8 * (size - 1); shift >= 0; shift -= 8 {
		e.buf = append(e.buf, byte(n>>shift))
	}
}

// name appends a string with one byte of length in front.
func (e *Encoder) name(s string) {
	e.Uint8(uint8(len(s)))
	e.buf = append(e.buf, s...)
}

// target is the struct that v points to.
func target(v any) (reflect.Value, error) {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct {
		return reflect.Value{}, fmt.Errorf("vmstate: state must be a pointer to a struct, not %T", v)
	}
	return p.Elem(), nil
}

// Marshal encodes state, a pointer to a struct, as the contents of a section whose
// structure has that name (see [Describe]).
func Marshal(name string, version uint32, state any) ([]byte, error) {
	var e Encoder
	if err := e.Struct(name, version, state); err != nil {
		return nil, fmt.Errorf("section '%s': %w", name, err)
	}
	return e.buf, nil
}

// Unmarshal decodes p, the contents of a section, into the struct that state points to.
// All of p must be used.
func Unmarshal(p []byte, name string, version uint32, state any) error {
	d := newBytesDecoder(p)
	if err := d.Struct(name, version, state); err != nil {
		return fmt.Errorf("section '%s': %w", name, err)
	}
	if d.Offset() != int64(len(p)) {
		return fmt.Errorf("section '%s': %d bytes too many", name, int64(len(p))-d.Offset())
	}
	return nil
}
