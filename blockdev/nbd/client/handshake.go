package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// dialError says that there is nobody at the address. What knows better is left as it is.
func dialError(address string, err error) error {
	var known *blockdev.Error
	if errors.As(err, &known) {
		return err
	}
	return &blockdev.Error{
		Op: "open", File: address, Offset: blockdev.NoOffset,
		Text: fmt.Sprintf("Failed to connect to '%s'", address), Err: innermost(err),
	}
}

// innermost strips what package net wraps around the system's error.
func innermost(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// RefusedError is a server's no to an option.
type RefusedError struct {
	Option  protocol.Option
	Reply   protocol.ReplyKind
	Message string // the server's own words, "" for none
}

// refusals are QEMU's sentences.
var refusals = map[protocol.ReplyKind]string{
	protocol.RepErrPolicy:   "Denied by server for option %d (%s)",
	protocol.RepErrInvalid:  "Invalid parameters for option %d (%s)",
	protocol.RepErrPlatform: "Server lacks support for option %d (%s)",
	protocol.RepErrTLSRequired: "Server requires TLS for option %d (%s)\n" +
		"Did you forget a valid tls-creds?",
	protocol.RepErrShutdown:  "Server shutting down before option %d (%s)",
	protocol.RepErrBlockSize: "Server requires INFO_BLOCK_SIZE for option %d (%s)",
}

func (e *RefusedError) Error() string {
	text := "Requested export not available"
	if e.Reply != protocol.RepErrUnknown {
		format, ok := refusals[e.Reply]
		if !ok {
			format = "Unknown error code when asking for option %d (%s)"
		}
		text = fmt.Sprintf(format, uint32(e.Option), e.Option)
	}
	if e.Message != "" {
		text += "\nserver reported: " + e.Message
	}
	return text
}

// Is makes it match the block layer's kinds.
func (e *RefusedError) Is(target error) bool {
	switch e.Reply {
	case protocol.RepErrUnknown:
		return target == blockdev.ErrNotFound
	case protocol.RepErrPolicy, protocol.RepErrTLSRequired:
		return target == blockdev.ErrDenied
	case protocol.RepErrUnsupported, protocol.RepErrPlatform:
		return target == blockdev.ErrNotSupported
	}
	return false
}

// handshake is a connection on its way to transmission.
type handshake struct {
	session
	config *Config
	nc     net.Conn
	r      *bufio.Reader
	fixed  bool // haggling is possible
	padded bool // the answer to OptExportName has zeroes behind it
	told   bool // the server has told size and flags of the export
}

// Handshake does the client's part of the handshake over nc, and leaves transmission to
// the caller: with replies as c.Replies says, and no byte read that is not the handshake's.
// Dial, Connections and the delays of c do not matter; TLS must not be set, as it would have
// to go on.
func Handshake(ctx context.Context, nc net.Conn, c Config) (protocol.ExportInfo, error) {
	h := &handshake{config: &c, nc: nc}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	err := h.run(ctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return h.info, err
}

// run goes all the way.
func (h *handshake) run(ctx context.Context) error {
	newstyle, err := h.greet(ctx)
	if err == nil && newstyle {
		err = h.enter()
	}
	if err != nil {
		return err
	}
	return h.complete()
}

// greet reads the server's greeting and, if it is a new one, starts TLS. An old one says
// all there is.
func (h *handshake) greet(ctx context.Context) (newstyle bool, err error) {
	h.r = bufio.NewReaderSize(h.nc, readBuffer)
	magic, err := h.take(16)
	if err != nil {
		return false, err
	}
	if binary.BigEndian.Uint64(magic) != protocol.MagicInit {
		return false, protocol.Violation("Bad initial magic received: 0x%016x", binary.BigEndian.Uint64(magic))
	}
	switch second := binary.BigEndian.Uint64(magic[8:]); second {
	case protocol.MagicOption:
	case protocol.MagicOldstyle:
		return false, h.oldstyle()
	default:
		return false, protocol.Violation("Bad server magic received: 0x%016x", second)
	}
	b, err := h.take(2)
	if err != nil {
		return true, err
	}
	flags := binary.BigEndian.Uint16(b) & (protocol.FlagFixedNewstyle | protocol.FlagNoZeroes)
	h.fixed = flags&protocol.FlagFixedNewstyle != 0
	h.padded = flags&protocol.FlagNoZeroes == 0
	if err := h.put(binary.BigEndian.AppendUint32(nil, uint32(flags))); err != nil {
		return true, err
	}
	if h.config.TLS != nil {
		err = h.startTLS(ctx)
	}
	return true, err
}

// take reads n bytes, which the caller keeps.
func (h *handshake) take(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(h.r, b); err != nil {
		return nil, h.broken("Failed to read the server's part of the handshake", err)
	}
	return b, nil
}

func (h *handshake) put(b []byte) error {
	if _, err := h.nc.Write(b); err != nil {
		return h.broken("Failed to send the handshake", err)
	}
	return nil
}

func (h *handshake) broken(text string, err error) error {
	return &blockdev.Error{Op: "open", File: h.config.Address, Offset: blockdev.NoOffset, Text: text, Err: innermost(err)}
}

// oldstyle takes what old servers say instead of haggling ("Oldstyle negotiation").
func (h *handshake) oldstyle() error {
	if h.config.TLS != nil {
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", h.config.Address, "Server does not support STARTTLS")
	}
	if h.config.Export != "" {
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", h.config.Address, "Server does not support non-empty export names")
	}
	b, err := h.take(protocol.OldstyleSize)
	if err != nil {
		return err
	}
	h.info.Size = binary.BigEndian.Uint64(b)
	h.info.Flags = protocol.TransmissionFlags(binary.BigEndian.Uint32(b[8:]))
	return nil
}

// option sends an option and hands every reply to each; it ends with the server's ack, or
// its refusal.
func (h *handshake) option(o protocol.Option, data []byte, each func(protocol.ReplyKind, []byte) error) error {
	if err := h.put(protocol.AppendOption(nil, o, data)); err != nil {
		return err
	}
	for range maxOptionReplies {
		head, err := h.take(protocol.ReplyHeaderSize)
		if err != nil {
			return err
		}
		k, n, err := protocol.DecodeOptionReply(head, o)
		if err != nil {
			return err
		}
		body, err := h.take(int(n))
		switch {
		case err != nil:
			return err
		case k == protocol.RepAck:
			return nil
		case k.IsError():
			return &RefusedError{o, k, string(body[:min(len(body), protocol.MaxString)])}
		case each == nil:
			return protocol.Violation("reply '%s' to option '%s'", k, o)
		}
		if err := each(k, body); err != nil {
			return err
		}
	}
	return protocol.Violation("more than %d replies to option '%s'", maxOptionReplies, o)
}

// maxOptionReplies is how many replies one option has: as many as a server has exports.
const maxOptionReplies = 64 << 10

// startTLS goes on in private, or not at all.
func (h *handshake) startTLS(ctx context.Context) error {
	if !h.fixed {
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", h.config.Address, "Server does not support STARTTLS")
	}
	if err := h.option(protocol.OptStartTLS, nil, nil); err != nil {
		return err
	}
	if h.r.Buffered() > 0 {
		return protocol.Violation("plain text behind the answer to start TLS")
	}
	t := tls.Client(h.nc, h.config.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		return &blockdev.Error{Op: "open", File: h.config.Address, Offset: blockdev.NoOffset, Text: "TLS handshake failed", Err: err}
	}
	h.nc, h.r = t, bufio.NewReaderSize(t, readBuffer)
	return nil
}

// enter haggles and enters transmission.
func (h *handshake) enter() error {
	if h.fixed {
		if err := h.chooseReplies(); err != nil {
			return err
		}
		if err := h.selectContexts(); err != nil {
			return err
		}
		q := protocol.InfoRequest{Name: h.config.Export, Kinds: []protocol.InfoKind{protocol.InfoBlockSize, protocol.InfoDescription}}
		err := h.option(protocol.OptGo, q.Append(nil), h.takeInfo)
		if err == nil && !h.told {
			return protocol.Violation("broken server omitted NBD_INFO_EXPORT")
		}
		if !unsupported(err) {
			return err
		}
	}
	return h.exportName()
}

// unsupported tells if the server does not know an option.
func unsupported(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && refused.Reply == protocol.RepErrUnsupported
}

// chooseReplies agrees on the richest kind of reply that both ends know.
func (h *handshake) chooseReplies() error {
	for _, choice := range []struct {
		ask    Replies
		option protocol.Option
		mode   protocol.ReplyMode
	}{
		{AskExtended, protocol.OptExtendedHeaders, protocol.ExtendedReplies},
		{AskStructured, protocol.OptStructuredReply, protocol.StructuredReplies},
	} {
		if h.config.Replies > choice.ask {
			continue
		}
		err := h.option(choice.option, nil, nil)
		if err == nil {
			h.mode = choice.mode
			return nil
		}
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Reply == protocol.RepErrTLSRequired {
			return err
		}
	}
	return nil
}

// selectContexts asks for the metadata contexts. A server that knows none, or fails to
// find any, is one without.
func (h *handshake) selectContexts() error {
	if h.mode == protocol.SimpleReplies || len(h.config.Contexts) == 0 {
		return nil
	}
	q := protocol.ContextRequest{Name: h.config.Export, Queries: h.config.Contexts}
	err := h.option(protocol.OptSetMetaContext, q.Append(nil), func(k protocol.ReplyKind, b []byte) error {
		m, err := protocol.DecodeContext(b)
		switch {
		case k != protocol.RepMetaContext:
			return protocol.Violation("reply '%s' to option '%s'", k, protocol.OptSetMetaContext)
		case err != nil:
			return err
		case len(h.contexts) >= protocol.MaxContexts:
			return protocol.Violation("more than %d metadata contexts", protocol.MaxContexts)
		}
		h.contexts = append(h.contexts, m)
		return nil
	})
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Reply != protocol.RepErrUnknown {
		h.contexts = nil
		return nil
	}
	return err
}

// takeInfo takes what the server says about the export.
func (h *handshake) takeInfo(k protocol.ReplyKind, b []byte) error {
	if k != protocol.RepInfo {
		return protocol.Violation("reply '%s' to option '%s'", k, protocol.OptGo)
	}
	kind, err := h.info.Decode(b)
	h.told = h.told || kind == protocol.InfoExport
	return err
}

// exportName enters transmission as servers without OptGo know it.
func (h *handshake) exportName() error {
	if err := h.put(protocol.AppendOption(nil, protocol.OptExportName, []byte(h.config.Export))); err != nil {
		return err
	}
	n := protocol.ExportNameReplySize
	if h.padded {
		n += protocol.ExportNamePadding
	}
	b, err := h.take(n)
	if err != nil {
		// All that a server of this kind can do about a name that it does not know.
		return blockdev.Errorf(blockdev.ErrNotFound, "open", h.config.Address,
			"Failed to read export length: Requested export not available")
	}
	h.info.Size = binary.BigEndian.Uint64(b)
	h.info.Flags = protocol.TransmissionFlags(binary.BigEndian.Uint16(b[8:]))
	return nil
}

// complete checks what was agreed on, and fills in sizes that the server left open.
func (h *handshake) complete() error {
	if h.info.Size > blockdev.MaxSize {
		return blockdev.Errorf(blockdev.ErrLimit, "open", h.config.Address, "export length is too large")
	}
	b := &h.info.Blocks
	if b.Minimum == 0 {
		*b = protocol.BlockSizes{Minimum: 1, Preferred: 4096, Maximum: protocol.MaxPayload}
		if h.mode == protocol.SimpleReplies && h.info.Size%sector == 0 {
			b.Minimum = sector
		}
	}
	b.Maximum = min(b.Maximum, protocol.MaxPayload/b.Minimum*b.Minimum)
	return nil
}

// sector is the block size of servers that say nothing about theirs and are old ("Size
// constraints").
const sector = 512
