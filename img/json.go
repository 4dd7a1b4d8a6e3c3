package img

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/qmon/qmon/blockdev"
)

// object is a JSON object whose members keep their order. QEMU's order follows from its
// hash tables and not from any rule, and programs compare its output as text, so every
// rendering here lists its members in the order seen.
type object []blockdev.InfoField

// list is a JSON array.
type list []any

func (o *object) add(key string, value any) {
	*o = append(*o, blockdev.InfoField{Key: key, Value: value})
}

// prettyJSON renders v as QEMU's tools print JSON for people: four spaces a level.
func prettyJSON(v any) string {
	var b strings.Builder
	writePretty(&b, v, 0)
	return b.String()
}

func writePretty(b *strings.Builder, v any, level int) {
	switch v := v.(type) {
	case object:
		writeMembers(b, "{", "}", len(v), level, func(i int) {
			b.WriteString(quoteJSON(v[i].Key) + ": ")
			writePretty(b, v[i].Value, level+1)
		})
	case []blockdev.InfoField:
		writePretty(b, object(v), level)
	case list:
		writeMembers(b, "[", "]", len(v), level, func(i int) { writePretty(b, v[i], level+1) })
	case []any:
		writePretty(b, list(v), level)
	default:
		b.WriteString(scalarJSON(v))
	}
}

func writeMembers(b *strings.Builder, opening, closing string, n, level int, member func(int)) {
	b.WriteString(opening)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n" + strings.Repeat("    ", level+1))
		member(i)
	}
	b.WriteString("\n" + strings.Repeat("    ", level) + closing)
}

func scalarJSON(v any) string {
	switch v := v.(type) {
	case string:
		return quoteJSON(v)
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	}
	return quoteJSON(fmt.Sprint(v))
}

// quoteJSON quotes s in ASCII as QEMU does: what is not printable ASCII becomes \uXXXX,
// and bytes that are no UTF-8 become U+FFFD.
func quoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strings.ContainsRune("\b\f\n\r\t", r):
			b.WriteString(map[rune]string{'\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}[r])
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04X\u%04X`, hi, lo)
		default: // ranging over invalid UTF-8 gives utf8.RuneError, which is U+FFFD
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
