package server

import (
	"crypto/tls"
	"encoding/binary"
	"io"

	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// clientFlags are those that are known; others end the connection ("Client flags").
const clientFlags = uint32(protocol.FlagFixedNewstyle | protocol.FlagNoZeroes)

// handshake is everything before transmission. On success without an export the client
// said goodbye.
func (c *conn) handshake() error {
	b := binary.BigEndian.AppendUint64(nil, protocol.MagicInit)
	b = binary.BigEndian.AppendUint64(b, protocol.MagicOption)
	b = binary.BigEndian.AppendUint16(b, protocol.FlagFixedNewstyle|protocol.FlagNoZeroes)
	if _, err := c.nc.Write(b); err != nil {
		return err
	}
	var word [4]byte
	if _, err := io.ReadFull(c.r, word[:]); err != nil {
		return err
	}
	flags := binary.BigEndian.Uint32(word[:])
	if flags&^clientFlags != 0 {
		return protocol.Violation("unknown client flags %#x", flags)
	}
	c.noZeroes = flags&uint32(protocol.FlagNoZeroes) != 0
	for range maxHaggling {
		if done, err := c.haggle(); done || err != nil {
			return err
		}
	}
	return protocol.Violation("more than %d options", maxHaggling)
}

// haggle reads one option and answers it; done says that haggling is over.
func (c *conn) haggle() (done bool, err error) {
	var head [protocol.OptionHeaderSize]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return false, err
	}
	option, length, err := protocol.DecodeOption(head[:])
	if err != nil {
		return false, err
	}
	if length > protocol.MaxOptionData {
		return false, protocol.Violation("option '%s' with %d bytes of data", option, length)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(c.r, data); err != nil {
		return false, unexpected(err)
	}
	if c.server.o.TLS != nil && !c.secure {
		return c.haggleInPlain(option, data)
	}
	return c.answer(option, data)
}

// haggleInPlain answers options while TLS is still to be started ("FORCEDTLS mode").
func (c *conn) haggleInPlain(o protocol.Option, data []byte) (done bool, err error) {
	switch o {
	case protocol.OptStartTLS, protocol.OptAbort:
		return c.answer(o, data)
	case protocol.OptExportName:
		return false, protocol.Violation("TLS is required before an export is chosen")
	}
	return false, c.refuse(o, protocol.RepErrTLSRequired, "Option "+o.String()+" not permitted before TLS")
}

func (c *conn) answer(o protocol.Option, data []byte) (done bool, err error) {
	switch o {
	case protocol.OptAbort:
		_ = c.reply(o, protocol.RepAck, nil) // the client need not wait for it
		return true, nil
	case protocol.OptExportName:
		return true, c.exportName(data)
	case protocol.OptInfo, protocol.OptGo:
		return c.info(o, data)
	case protocol.OptListMetaContext, protocol.OptSetMetaContext:
		return false, c.metaContext(o, data)
	}
	simple, ok := map[protocol.Option]func() error{
		protocol.OptList:            c.list,
		protocol.OptStartTLS:        c.startTLS,
		protocol.OptStructuredReply: c.structuredReplies,
		protocol.OptExtendedHeaders: c.extendedHeaders,
	}[o]
	switch {
	case !ok:
		return false, c.refuse(o, protocol.RepErrUnsupported, "Unsupported option "+o.String())
	case len(data) > 0:
		return false, c.refuse(o, protocol.RepErrInvalid, "option '"+o.String()+"' has no data")
	}
	return false, simple()
}

// reply sends one answer to an option.
func (c *conn) reply(o protocol.Option, k protocol.ReplyKind, data []byte) error {
	return c.out.Send(protocol.AppendOptionReply(nil, o, k, data), nil)
}

// refuse is reply for an error, in words.
func (c *conn) refuse(o protocol.Option, k protocol.ReplyKind, text string) error {
	return c.reply(o, k, []byte(text))
}

// list answers OptList with every export.
func (c *conn) list() error {
	for _, e := range c.server.Exports() {
		data := protocol.Listed{Name: e.Name, Description: e.Description}.Append(nil)
		if err := c.reply(protocol.OptList, protocol.RepServer, data); err != nil {
			return err
		}
	}
	return c.reply(protocol.OptList, protocol.RepAck, nil)
}

func (c *conn) structuredReplies() error {
	const o = protocol.OptStructuredReply
	switch c.mode {
	case protocol.ExtendedReplies:
		return c.refuse(o, protocol.RepErrExtendedHeaders, "extended headers already negotiated")
	case protocol.StructuredReplies:
		return c.refuse(o, protocol.RepErrInvalid, "structured reply already negotiated")
	}
	c.mode = protocol.StructuredReplies
	return c.reply(o, protocol.RepAck, nil)
}

func (c *conn) extendedHeaders() error {
	const o = protocol.OptExtendedHeaders
	if c.mode == protocol.ExtendedReplies {
		return c.refuse(o, protocol.RepErrInvalid, "extended headers already negotiated")
	}
	c.mode = protocol.ExtendedReplies
	return c.reply(o, protocol.RepAck, nil)
}

// startTLS begins again over TLS. What the client sent too early, in plain text, must not
// be taken for what it says in private: the connection ends.
func (c *conn) startTLS() error {
	const o = protocol.OptStartTLS
	switch {
	case c.secure:
		return c.refuse(o, protocol.RepErrInvalid, "TLS is started already")
	case c.server.o.TLS == nil:
		return c.refuse(o, protocol.RepErrPolicy, "TLS not configured")
	case c.r.Buffered() > 0:
		return protocol.Violation("plain text behind the request to start TLS")
	}
	if err := c.reply(o, protocol.RepAck, nil); err != nil {
		return err
	}
	t := tls.Server(c.nc, c.server.o.TLS)
	if err := t.Handshake(); err != nil {
		return err
	}
	c.use(t)
	// All that was agreed on in plain text is forgotten.
	c.secure, c.mode, c.contexts = true, protocol.SimpleReplies, contextSet{}
	return nil
}

// exportName answers the one option that cannot be refused but by hanging up.
func (c *conn) exportName(name []byte) error {
	e := c.server.lookup(string(name))
	if e == nil || !c.server.enter(c, e) {
		return protocol.Violation("export '%.*s' not present", protocol.MaxString, name)
	}
	c.contexts.keepFor(e)
	info := c.describe(e)
	b := binary.BigEndian.AppendUint64(nil, info.Size)
	b = binary.BigEndian.AppendUint16(b, uint16(info.Flags))
	if !c.noZeroes {
		b = append(b, make([]byte, protocol.ExportNamePadding)...)
	}
	if err := c.out.Send(b, nil); err != nil {
		return err
	}
	c.connected(e)
	return nil
}

// connected says that transmission begins.
func (c *conn) connected(e *Export) {
	if c.server.o.Connected != nil {
		c.server.o.Connected(e.Name)
	}
}

// describe tells what an export can do for this client.
func (c *conn) describe(e *Export) *protocol.ExportInfo {
	flags := protocol.FlagHasFlags | protocol.FlagSendFlush | protocol.FlagSendFUA | protocol.FlagSendCache
	if e.ReadOnly {
		flags |= protocol.FlagReadOnly
	} else {
		flags |= protocol.FlagSendTrim | protocol.FlagSendWriteZeroes | protocol.FlagSendFastZero
	}
	if !e.SingleConn {
		flags |= protocol.FlagCanMultiConn
	}
	if c.mode != protocol.SimpleReplies {
		flags |= protocol.FlagSendDF
	}
	if c.mode == protocol.ExtendedReplies {
		flags |= protocol.FlagBlockStatusPayload
	}
	return &protocol.ExportInfo{
		Size: uint64(e.Size), Flags: flags, Name: e.Name, Description: e.Description, Blocks: e.Blocks,
	}
}

// info answers OptInfo and OptGo; done says that transmission begins.
func (c *conn) info(o protocol.Option, data []byte) (done bool, err error) {
	q, err := protocol.DecodeInfoRequest(data)
	if err != nil {
		return false, c.refuse(o, protocol.RepErrInvalid, err.Error())
	}
	e := c.server.lookup(q.Name)
	if e == nil {
		return false, c.refuse(o, protocol.RepErrUnknown, "export '"+q.Name+"' not present")
	}
	asked := map[protocol.InfoKind]bool{protocol.InfoExport: true, protocol.InfoBlockSize: true}
	obeys := false
	for _, k := range q.Kinds {
		asked[k] = true
		obeys = obeys || k == protocol.InfoBlockSize
	}
	asked[protocol.InfoDescription] = asked[protocol.InfoDescription] && e.Description != ""
	if o == protocol.OptGo && e.Blocks.Minimum > 1 && !obeys {
		return false, c.refuse(o, protocol.RepErrBlockSize, "request NBD_INFO_BLOCK_SIZE to use this export")
	}
	info := c.describe(e)
	if obeys || o == protocol.OptInfo {
		info.Blocks.Minimum = max(info.Blocks.Minimum, e.Alignment)
		info.Blocks.Preferred = max(info.Blocks.Preferred, e.Alignment)
	}
	// The kind that clients want last comes last: some take the export for the end.
	for _, k := range []protocol.InfoKind{
		protocol.InfoName, protocol.InfoDescription, protocol.InfoBlockSize, protocol.InfoExport,
	} {
		if !asked[k] {
			continue
		}
		if err := c.reply(o, protocol.RepInfo, info.Append(nil, k)); err != nil {
			return false, err
		}
	}
	if o == protocol.OptInfo {
		return false, c.reply(o, protocol.RepAck, nil)
	}
	if !c.server.enter(c, e) {
		return false, c.refuse(o, protocol.RepErrUnknown, "export '"+q.Name+"' not present")
	}
	c.contexts.keepFor(e)
	if err := c.reply(o, protocol.RepAck, nil); err != nil {
		return false, err
	}
	c.connected(e)
	return true, nil
}
