package client

import (
	"context"
	"errors"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// Listed is one export of a server.
type Listed struct {
	Info protocol.ExportInfo // with its Name
	// Told is set where the server has told more than name and description.
	Told     bool
	Contexts []string
}

// List asks a server for its exports, and what it says of each. Export and Contexts of the
// config do not matter.
func List(ctx context.Context, c Config) ([]Listed, error) {
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = defaultHandshakeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, c.HandshakeTimeout)
	defer cancel()
	nc, err := c.Dial(ctx)
	if err != nil {
		return nil, dialError(c.Address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer func() {
		stop()
		_ = nc.Close() // nothing is left to be said
	}()
	c.Replies = max(c.Replies, AskStructured) // what extended ones add says nothing of the exports
	h := &handshake{config: &c, nc: nc}
	newstyle, err := h.greet(ctx)
	switch {
	case err != nil:
		return nil, err
	case !newstyle:
		return []Listed{{Info: h.info, Told: true}}, nil
	case !h.fixed:
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "list", c.Address, "Server does not support export lists")
	}
	return h.list()
}

// list asks for the names, and then about each.
func (h *handshake) list() ([]Listed, error) {
	if err := h.chooseReplies(); err != nil {
		return nil, err
	}
	var out []Listed
	err := h.option(protocol.OptList, nil, func(k protocol.ReplyKind, b []byte) error {
		l, err := protocol.DecodeListed(b)
		if k != protocol.RepServer {
			err = protocol.Violation("reply '%s' to option '%s'", k, protocol.OptList)
		}
		out = append(out, Listed{Info: protocol.ExportInfo{Name: l.Name, Description: l.Description}})
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range out {
		if err := h.askAbout(&out[i]); err != nil {
			return nil, err
		}
	}
	return out, h.put(protocol.AppendOption(nil, protocol.OptAbort, nil))
}

// askAbout completes l, as far as the server will tell.
func (h *handshake) askAbout(l *Listed) error {
	name, description := l.Info.Name, l.Info.Description
	q := protocol.InfoRequest{Name: name, Kinds: []protocol.InfoKind{protocol.InfoBlockSize}}
	err := h.option(protocol.OptInfo, q.Append(nil), func(_ protocol.ReplyKind, b []byte) error {
		_, err := l.Info.Decode(b)
		return err
	})
	l.Info.Name, l.Info.Description = name, description
	var refused *RefusedError
	if errors.As(err, &refused) {
		return nil
	}
	if err != nil {
		return err
	}
	l.Told = true
	if h.mode == protocol.SimpleReplies {
		return nil
	}
	c := protocol.ContextRequest{Name: name}
	err = h.option(protocol.OptListMetaContext, c.Append(nil), func(_ protocol.ReplyKind, b []byte) error {
		m, err := protocol.DecodeContext(b)
		l.Contexts = append(l.Contexts, m.Name)
		return err
	})
	if errors.As(err, &refused) {
		return nil
	}
	return err
}
