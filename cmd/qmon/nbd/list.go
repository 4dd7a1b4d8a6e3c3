package nbd

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/blockdev/tlscreds"
)

// list is --list: what another server has.
func (t *tool) list(ctx context.Context, o *options) error {
	address := o.address()
	var secure *tls.Config
	if o.tlsCreds != nil {
		creds, err := tlscreds.Lookup(*o.tlsCreds, false)
		if err != nil {
			return fmt.Errorf("Failed to get TLS creds: %s", blockdev.Message(err))
		}
		host := o.bind
		if o.tlsHostname != nil {
			host = *o.tlsHostname
		}
		secure = creds.ClientConfig(host)
	}
	exports, err := client.List(ctx, client.Config{Dial: address.Dial, Address: address.String(), TLS: secure})
	if err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "exports available: %d\n", len(exports))
	for _, e := range exports {
		fmt.Fprint(t.stdout, describe(e))
	}
	return nil
}

// flagNames are the transmission flags in the order of their bits, from the second.
var flagNames = []struct {
	flag protocol.TransmissionFlags
	name string
}{
	{protocol.FlagReadOnly, "readonly"}, {protocol.FlagSendFlush, "flush"}, {protocol.FlagSendFUA, "fua"},
	{protocol.FlagRotational, "rotational"}, {protocol.FlagSendTrim, "trim"}, {protocol.FlagSendWriteZeroes, "zeroes"},
	{protocol.FlagSendDF, "df"}, {protocol.FlagCanMultiConn, "multi"}, {protocol.FlagSendResize, "resize"},
	{protocol.FlagSendCache, "cache"}, {protocol.FlagSendFastZero, "fast-zero"},
	{protocol.FlagBlockStatusPayload, "block-status-payload"},
}

func describe(e client.Listed) string {
	var b strings.Builder
	fmt.Fprintf(&b, " export: '%s'\n", e.Info.Name)
	if e.Info.Description != "" {
		fmt.Fprintf(&b, "  description: %s\n", e.Info.Description)
	}
	if !e.Told {
		return b.String()
	}
	fmt.Fprintf(&b, "  size:  %d\n", e.Info.Size)
	if e.Info.Flags&protocol.FlagHasFlags != 0 {
		fmt.Fprintf(&b, "  flags: %#x (", uint16(e.Info.Flags))
		for _, f := range flagNames {
			if e.Info.Flags&f.flag != 0 {
				b.WriteString(" " + f.name)
			}
		}
		b.WriteString(" )\n")
	}
	if s := e.Info.Blocks; s.Minimum != 0 {
		fmt.Fprintf(&b, "  min block: %d\n  opt block: %d\n  max block: %d\n", s.Minimum, s.Preferred, s.Maximum)
	}
	if len(e.Contexts) > 0 {
		fmt.Fprintf(&b, "  available meta contexts: %d\n", len(e.Contexts))
		for _, name := range e.Contexts {
			fmt.Fprintf(&b, "   %s\n", name)
		}
	}
	return b.String()
}
