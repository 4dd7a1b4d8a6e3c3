package protocol

import (
	"encoding/binary"
	"unicode/utf8"
)

// Lengths of handshake messages, in bytes.
const (
	OptionHeaderSize = 16
	ReplyHeaderSize  = 20
	// ExportNameReplySize is what answers OptExportName, without the padding of
	// ExportNamePadding zeroes that a client without FlagNoZeroes gets.
	ExportNameReplySize = 10
	ExportNamePadding   = 124
	// OldstyleSize is the rest of an oldstyle server's greeting, after the two magic
	// numbers: size, flags and padding.
	OldstyleSize = 8 + 4 + 124
)

// AppendOption adds an option with its data to b.
func AppendOption(b []byte, o Option, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, MagicOption)
	b = binary.BigEndian.AppendUint32(b, uint32(o))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// DecodeOption reads an option's header.
func DecodeOption(b []byte) (o Option, length uint32, err error) {
	if len(b) != OptionHeaderSize || binary.BigEndian.Uint64(b) != MagicOption {
		return 0, 0, Violation("invalid magic of an option")
	}
	return Option(binary.BigEndian.Uint32(b[8:])), binary.BigEndian.Uint32(b[12:]), nil
}

// AppendOptionReply adds a reply with its data to b.
func AppendOptionReply(b []byte, o Option, k ReplyKind, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, MagicOptionReply)
	b = binary.BigEndian.AppendUint32(b, uint32(o))
	b = binary.BigEndian.AppendUint32(b, uint32(k))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// DecodeOptionReply reads the header of a reply to the option o.
func DecodeOptionReply(b []byte, o Option) (k ReplyKind, length uint32, err error) {
	if len(b) != ReplyHeaderSize || binary.BigEndian.Uint64(b) != MagicOptionReply {
		return 0, 0, Violation("invalid magic of an option reply")
	}
	if got := Option(binary.BigEndian.Uint32(b[8:])); got != o {
		return 0, 0, Violation("reply to option '%s' where one to '%s' was due", got, o)
	}
	length = binary.BigEndian.Uint32(b[16:])
	if length > MaxOptionData {
		return 0, 0, Violation("option reply of %d bytes", length)
	}
	return ReplyKind(binary.BigEndian.Uint32(b[12:])), length, nil
}

// reader takes fields off a message. After one that is not there bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text takes a string with its 32-bit length before it.
func (r *reader) text() string {
	n := r.uint32()
	if n > MaxString {
		r.bad = true
		return ""
	}
	return r.rest(int(n))
}

// rest takes n bytes of text.
func (r *reader) rest(n int) string {
	b := r.take(n)
	if !utf8.Valid(b) || n > MaxString {
		r.bad = true
	}
	return string(b)
}

// done fails if a field was missing or something is left over.
func (r *reader) done(what string) error {
	if r.bad || len(r.b) > 0 {
		return Violation("malformed %s", what)
	}
	return nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// InfoRequest is the data of OptInfo and OptGo.
type InfoRequest struct {
	Name  string
	Kinds []InfoKind
}

// Append adds the encoded request to b.
func (q InfoRequest) Append(b []byte) []byte {
	b = appendText(b, q.Name)
	b = binary.BigEndian.AppendUint16(b, uint16(len(q.Kinds)))
	for _, k := range q.Kinds {
		b = binary.BigEndian.AppendUint16(b, uint16(k))
	}
	return b
}

// DecodeInfoRequest reads an InfoRequest.
func DecodeInfoRequest(b []byte) (InfoRequest, error) {
	r := reader{b: b}
	q := InfoRequest{Name: r.text()}
	n := r.uint16()
	if n > MaxInfoRequests {
		return q, Violation("%d kinds of information are asked for", n)
	}
	for range n {
		q.Kinds = append(q.Kinds, InfoKind(r.uint16()))
	}
	return q, r.done("info request")
}

// ContextRequest is the data of OptListMetaContext and OptSetMetaContext.
type ContextRequest struct {
	Name    string
	Queries []string
}

// Append adds the encoded request to b.
func (q ContextRequest) Append(b []byte) []byte {
	b = appendText(b, q.Name)
	b = binary.BigEndian.AppendUint32(b, uint32(len(q.Queries)))
	for _, s := range q.Queries {
		b = appendText(b, s)
	}
	return b
}

// DecodeContextRequest reads a ContextRequest. There are as many queries as fit the option.
func DecodeContextRequest(b []byte) (ContextRequest, error) {
	r := reader{b: b}
	q := ContextRequest{Name: r.text()}
	for n := r.uint32(); n > 0 && !r.bad; n-- {
		q.Queries = append(q.Queries, r.text())
	}
	return q, r.done("meta context request")
}

// Context is a metadata context that a server has selected, and the ID its extents carry.
type Context struct {
	ID   uint32
	Name string
}

// Append adds the data of RepMetaContext to b.
func (c Context) Append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, c.ID), c.Name...)
}

// DecodeContext reads the data of RepMetaContext.
func DecodeContext(b []byte) (Context, error) {
	r := reader{b: b}
	c := Context{ID: r.uint32()}
	c.Name = r.rest(len(r.b))
	return c, r.done("meta context")
}

// Listed is an export that a server lists.
type Listed struct{ Name, Description string }

// Append adds the data of RepServer to b.
func (l Listed) Append(b []byte) []byte {
	return append(appendText(b, l.Name), l.Description...)
}

// DecodeListed reads the data of RepServer.
func DecodeListed(b []byte) (Listed, error) {
	r := reader{b: b}
	l := Listed{Name: r.text()}
	l.Description = r.rest(len(r.b))
	return l, r.done("list entry")
}

// BlockSizes are the sizes of requests, in bytes ("Size constraints"). Zero means that the
// server said nothing about them.
type BlockSizes struct{ Minimum, Preferred, Maximum uint32 }

// ExportInfo is what OptGo and OptInfo tell about an export.
type ExportInfo struct {
	Size        uint64
	Flags       TransmissionFlags
	Name        string // canonical name, "" if not told
	Description string
	Blocks      BlockSizes
}

// Append adds the data of a RepInfo of kind k to b.
func (i *ExportInfo) Append(b []byte, k InfoKind) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(k))
	switch k {
	case InfoExport:
		b = binary.BigEndian.AppendUint64(b, i.Size)
		b = binary.BigEndian.AppendUint16(b, uint16(i.Flags))
	case InfoName:
		b = append(b, i.Name...)
	case InfoDescription:
		b = append(b, i.Description...)
	case InfoBlockSize:
		b = binary.BigEndian.AppendUint32(b, i.Blocks.Minimum)
		b = binary.BigEndian.AppendUint32(b, i.Blocks.Preferred)
		b = binary.BigEndian.AppendUint32(b, i.Blocks.Maximum)
	}
	return b
}

// Decode adds what the data of one RepInfo says. Kinds that are not known are skipped.
func (i *ExportInfo) Decode(b []byte) (InfoKind, error) {
	r := reader{b: b}
	k := InfoKind(r.uint16())
	switch k {
	case InfoExport:
		i.Size = r.uint64()
		i.Flags = TransmissionFlags(r.uint16())
	case InfoName:
		i.Name = r.rest(len(r.b))
	case InfoDescription:
		i.Description = r.rest(len(r.b))
	case InfoBlockSize:
		i.Blocks = BlockSizes{r.uint32(), r.uint32(), r.uint32()}
		if !r.bad {
			if err := i.Blocks.Check(); err != nil {
				return k, err
			}
		}
	default:
		r.b = nil
	}
	return k, r.done("export information")
}

// Check refuses sizes that the specification forbids: powers of two, in order.
func (s BlockSizes) Check() error {
	power := func(n uint32) bool { return n != 0 && n&(n-1) == 0 }
	switch {
	case !power(s.Minimum) || s.Minimum > MaxMinBlock:
		return Violation("server minimum block size %d is not a power of two up to %d", s.Minimum, MaxMinBlock)
	case !power(s.Preferred) || s.Preferred < s.Minimum:
		return Violation("server preferred block size %d is not a power of two, or below the minimum %d", s.Preferred, s.Minimum)
	case s.Maximum < s.Minimum || s.Maximum != ^uint32(0) && s.Maximum%s.Minimum != 0:
		return Violation("server maximum block size %d is not a multiple of the minimum %d", s.Maximum, s.Minimum)
	}
	return nil
}
