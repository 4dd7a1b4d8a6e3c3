package vmstate

import (
	"fmt"
	"reflect"
	"strings"
)

// structure is a Go struct: its fields, then those of its subsections that are there.
type structure struct {
	name    string // vmsd name, which the names of its subsections begin with
	version uint32
}

func (s structure) encode(e *Encoder, v reflect.Value) error {
	l, err := layoutOf(v.Type())
	if err != nil {
		return err
	}
	for _, f := range l.fields {
		if f.tag.since > s.version {
			continue
		}
		if err := f.codec.encode(e, v.Field(f.index)); err != nil {
			return fieldError(f.tag.name, err)
		}
	}
	for _, f := range l.subsections {
		p := v.Field(f.index)
		if p.IsNil() {
			continue
		}
		if err := s.checkSubsection(f.tag.name); err != nil {
			return err
		}
		e.Uint8(kindSubsection)
		e.name(f.tag.name)
		e.Uint32(f.tag.version)
		if err := f.codec.encode(e, p.Elem()); err != nil {
			return fieldError(f.tag.name, err)
		}
	}
	return nil
}

func (s structure) checkSubsection(name string) error {
	if !strings.HasPrefix(name, s.name+"/") {
		return fmt.Errorf("vmstate: subsection %q does not begin with %q", name, s.name+"/")
	}
	return nil
}

func (s structure) decode(d *Decoder, v reflect.Value) error {
	l, err := layoutOf(v.Type())
	if err != nil {
		return err
	}
	for _, f := range l.fields {
		if f.tag.since > s.version {
			continue
		}
		if err := f.codec.decode(d, v.Field(f.index)); err != nil {
			return fieldError(f.tag.name, err)
		}
	}
	found := map[string]bool{}
	for {
		name, ok := d.peekSubsection(s.name)
		if !ok {
			break
		}
		f, ok := l.subsection(name)
		if !ok || found[name] {
			return fmt.Errorf("unknown subsection '%s'", name)
		}
		found[name] = true
		if err := f.decodeSubsection(d, v.Field(f.index)); err != nil {
			return fieldError(name, err)
		}
	}
	for _, f := range l.subsections {
		if !found[f.tag.name] {
			v.Field(f.index).SetZero()
		}
	}
	return d.err
}

func (l *layout) subsection(name string) (field, bool) {
	for _, f := range l.subsections {
		if f.tag.name == name {
			return f, true
		}
	}
	return field{}, false
}

// decodeSubsection reads the subsection whose header lies ahead into pointer p.
func (f field) decodeSubsection(d *Decoder, p reflect.Value) error {
	d.Skip(int64(1 + 1 + len(f.tag.name)))
	version := d.Uint32()
	if d.err != nil {
		return d.err
	}
	if version > f.tag.version {
		return fmt.Errorf("unsupported version %d for '%s' v%d", version, f.tag.name, f.tag.version)
	}
	if p.IsNil() {
		p.Set(reflect.New(p.Type().Elem()))
	}
	return structure{f.tag.name, version}.decode(d, p.Elem())
}

// fieldError says in which field something is wrong: "env.pmu_ctrs: [3]: started: ...".
func fieldError(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

func (s structure) describe(v reflect.Value) (FieldDescription, error) {
	d, err := s.description(v)
	if err != nil {
		return FieldDescription{}, err
	}
	return FieldDescription{Type: "struct", Struct: &d, Size: d.length()}, nil
}

// description is the structure's fields and subsections, as far as they are present.
func (s structure) description(v reflect.Value) (StructDescription, error) {
	out := StructDescription{Name: s.name, Version: s.version, Fields: []FieldDescription{}}
	l, err := layoutOf(v.Type())
	if err != nil {
		return out, err
	}
	for _, f := range l.fields {
		if f.tag.since > s.version {
			continue
		}
		fields, err := f.describe(v.Field(f.index))
		if err != nil {
			return out, fieldError(f.tag.name, err)
		}
		out.Fields = append(out.Fields, fields...)
	}
	for _, f := range l.subsections {
		p := v.Field(f.index)
		if p.IsNil() {
			continue
		}
		sub, err := structure{f.tag.name, f.tag.version}.description(p.Elem())
		if err != nil {
			return out, err
		}
		out.Subsections = append(out.Subsections, sub)
	}
	return out, nil
}

// describe gives the entries for one field: one, except that elements of a list that do
// not all look the same get one each, with an index.
func (f field) describe(v reflect.Value) ([]FieldDescription, error) {
	var all []FieldDescription
	add := func(c codec, v reflect.Value) error {
		d, err := c.describe(v)
		d.Name = f.tag.name
		if f.special != "" {
			d.Type = f.special
		}
		all = append(all, d)
		return err
	}
	l, isList := f.codec.(list)
	if !isList {
		err := add(f.codec, v)
		return all, err
	}
	n := v.Len()
	if _, plain := l.elem.(scalar); plain && n > 0 {
		err := add(l.elem, v.Index(0))
		all[0].ArrayLen = n
		return all, err
	}
	if err := l.leaves(v, add); err != nil {
		return nil, err
	}
	return compress(all), nil
}

// compress makes equal descriptions of a list's elements one with an array_len.
func compress(all []FieldDescription) []FieldDescription {
	if len(all) == 0 {
		return all
	}
	for i := range all {
		if !reflect.DeepEqual(all[i], all[0]) {
			for j := range all {
				all[j].Index = &j
			}
			return all
		}
	}
	all[0].ArrayLen = len(all)
	return all[:1]
}
