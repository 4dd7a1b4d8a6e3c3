package blockdev

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
)

// weakOptions change nothing about what a node's user reads, so that the plain name of a
// file opened with them still describes it.
var weakOptions = map[string]bool{"locking": true, "aio": true, "drop-cache": true, "x-check-cache-dropped": true, "pr-manager": true}

// describeProtocol is the name of a protocol node: the text that opens it again if it
// was opened by text alone, else a description.
func describeProtocol(d *Driver, text string, o Options) string {
	plain := text != ""
	for k := range o {
		if k != "filename" && !weakOptions[k] {
			plain = false
		}
	}
	if plain {
		return text
	}
	return "json:" + formatObject(protocolObject(d, o))
}

func protocolObject(d *Driver, o Options) map[string]any {
	obj := map[string]any{"driver": d.Name}
	for k, v := range o {
		if !weakOptions[k] {
			obj[k] = v
		}
	}
	return obj
}

// describe is the name of a node over others: its file's if nothing else is needed to open
// it again, or one that its driver makes, else a description. withBacking says that the
// image itself does not name the backing node that it has.
func (v *Vertex) describe(withBacking bool) string {
	if name := v.plainName(); name != "" && !withBacking {
		return name
	}
	return "json:" + formatObject(v.object(withBacking))
}

// plainName is the file name that opens v again, "" if there is none.
func (v *Vertex) plainName() string {
	var names []string
	for _, c := range v.namedChildren() {
		if strings.HasPrefix(c.vertex.Filename, "json:") {
			return ""
		}
		names = append(names, c.vertex.Filename)
	}
	own := v.strongOptions()
	_, filter := v.Node.(Filter)
	switch {
	case v.Driver.FormatFilename != nil:
		return v.Driver.FormatFilename(own, names)
	case filter || v.file == nil || len(own) > 0 || len(names) > 1:
		return ""
	}
	return v.file.Filename
}

// BaseName is the name of the file that v's bytes are in, past all that lies between:
// names in an image are relative to its directory. ErrNotSupported if it has no such name.
func (v *Vertex) BaseName() (string, error) {
	for v.file != nil {
		v = v.file
	}
	if strings.HasPrefix(v.Filename, "json:") {
		return "", Errorf(ErrNotSupported, "open", v.Filename, "Cannot generate a base directory for %s nodes", v.driverName())
	}
	return v.Filename, nil
}

// namedChildren are the children that options can describe, the one with the bytes first.
func (v *Vertex) namedChildren() []childVertex {
	var out []childVertex
	if c, ok := v.Driver.fileChild(); ok && v.file != nil {
		out = append(out, childVertex{c.Name, v.file})
	}
	for _, c := range v.others {
		if c.name != "" {
			out = append(out, c)
		}
	}
	return out
}

// strongOptions are the driver's own options that v was opened with.
func (v *Vertex) strongOptions() Options {
	out := Options{}
	for k, s := range v.Options {
		if _, ok := v.Driver.OpenOptions.Lookup(k); ok && !weakOptions[k] {
			out[k] = s
		}
	}
	return out
}

// object describes v as a tree.
func (v *Vertex) object(withBacking bool) map[string]any {
	if v.Driver == nil {
		return map[string]any{"node-name": v.Name}
	}
	if v.Driver.Protocol {
		if text, ok := strings.CutPrefix(v.Filename, "json:"); ok {
			return map[string]any{"": json.RawMessage(text)}
		}
		return map[string]any{"driver": v.Driver.Name, "filename": v.Filename}
	}
	obj := map[string]any{"driver": v.Driver.Name}
	for k, s := range v.strongOptions() {
		obj[k] = s
	}
	for _, c := range v.namedChildren() {
		list, _, inList := strings.Cut(c.name, ".")
		if !inList {
			obj[c.name] = c.vertex.object(false)
			continue
		}
		members, _ := obj[list].([]any)
		obj[list] = append(members, c.vertex.object(false))
	}
	if withBacking {
		obj["backing"] = any(nil)
		if v.backing != nil {
			obj["backing"] = v.backing.object(false)
		}
	}
	return obj
}

// formatObject writes JSON as QEMU does, ", " and ": " apart, with sorted keys.
func formatObject(v any) string {
	var b strings.Builder
	writeJSON(&b, v)
	return b.String()
}

func writeJSON(b *strings.Builder, v any) {
	if list, ok := v.([]any); ok {
		b.WriteByte('[')
		for i, e := range list {
			if i > 0 {
				b.WriteString(", ")
			}
			writeJSON(b, e)
		}
		b.WriteByte(']')
		return
	}
	obj, ok := v.(map[string]any)
	if !ok {
		b.Write(marshal(v))
		return
	}
	if raw, ok := obj[""].(json.RawMessage); ok {
		b.Write(raw)
		return
	}
	keys := make(Options, len(obj))
	for k := range obj {
		keys[k] = ""
	}
	b.WriteByte('{')
	for i, k := range keys.Keys() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.Write(marshal(k))
		b.WriteString(": ")
		writeJSON(b, obj[k])
	}
	b.WriteByte('}')
}

// marshal encodes a string or nil; neither can fail.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// ParseJSONOptions reads a description as it stands behind "json:" and flattens it: inner
// objects become dotted keys, null an empty value, true and false "on" and "off".
func ParseJSONOptions(text string) (Options, error) {
	if len(text) > MaxFilename {
		return nil, Errorf(ErrLimit, "open", "", "description is longer than %d bytes", MaxFilename)
	}
	d := json.NewDecoder(strings.NewReader(doubleQuoted(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, jsonError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, jsonError(err)
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, Errorf(ErrInvalid, "open", "", "Invalid JSON object given")
	}
	o := Options{}
	return o, flatten(o, "", obj, 0)
}

// doubleQuoted turns strings in single quotes, which QEMU takes as well because shells make
// them easier to write, into JSON's.
func doubleQuoted(text string) string {
	var b strings.Builder
	quote := byte(0) // of the string that i is in
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && quote != 0 && i+1 < len(text):
			i++
			if text[i] != '\'' { // JSON has no such escape
				b.WriteByte(c)
			}
			c = text[i]
		case c == quote:
			quote, c = 0, '"'
		case quote == '\'' && c == '"':
			b.WriteByte('\\')
		case quote == 0 && (c == '"' || c == '\''):
			quote, c = c, '"'
		}
		b.WriteByte(c)
	}
	return b.String()
}

func jsonError(err error) error {
	what := "invalid text"
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		what = "premature EOI"
	}
	return &Error{Kind: ErrInvalid, Op: "open", Offset: NoOffset,
		Text: "Could not parse the JSON options: JSON parse error, " + what}
}

// flatten adds v's members to o, their keys behind prefix.
func flatten(o Options, prefix string, v any, depth int) error {
	if depth > maxJSONDepth || len(o) > maxOptions {
		return Errorf(ErrLimit, "open", "", "description is deeper than %d objects or has more than %d options", maxJSONDepth, maxOptions)
	}
	member := func(key string, v any) error {
		if prefix != "" {
			key = prefix + "." + key
		}
		return flatten(o, key, v, depth+1)
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if err := member(k, e); err != nil {
				return err
			}
		}
	case []any:
		for i, e := range v {
			if err := member(strconv.Itoa(i), e); err != nil {
				return err
			}
		}
	case string:
		o[prefix] = v
	case json.Number:
		o[prefix] = v.String()
	case bool:
		o[prefix] = map[bool]string{true: "on", false: "off"}[v]
	case nil:
		o[prefix] = ""
	}
	return nil
}
