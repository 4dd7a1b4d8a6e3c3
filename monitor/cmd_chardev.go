package monitor

import (
	"context"
	"fmt"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/serial"
)

var chardevCommands = []Command{
	{Name: "info chardev", Help: "list the character devices", Run: infoChardev},
	{
		Name: "ringbuf_write", Args: "device:s data:s", Complete: completeChardev,
		Help: "write to a ring buffer", Run: ringWrite,
	},
	{
		Name: "ringbuf_read", Args: "device:s size:i", Complete: completeChardev,
		Help: "read up to size bytes from a ring buffer, which gives them up", Run: ringRead,
	},
}

// ring is a Chardev whose contents can be looked at: serial.RingBuf.
type ring interface {
	serial.Chardev
	Take(p []byte) int
}

func (s *Session) chardevs() []serial.Chardev {
	if s.monitor.config.Chardevs == nil {
		return nil
	}
	return s.monitor.config.Chardevs()
}

func infoChardev(_ context.Context, s *Session, _ Args) error {
	for _, c := range s.chardevs() {
		s.Printf("%s: filename=%s\n", c.ID(), c.Filename())
	}
	return nil
}

func (s *Session) ring(id string) (ring, error) {
	for _, c := range s.chardevs() {
		if c.ID() != id {
			continue
		}
		if r, ok := c.(ring); ok {
			return r, nil
		}
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "", "", "%s is not a ringbuf device", id)
	}
	return nil, blockdev.Errorf(blockdev.ErrNotFound, "", "", "Device '%s' not found", id)
}

func ringWrite(_ context.Context, s *Session, a Args) error {
	r, err := s.ring(a.String("device"))
	if err != nil {
		return err
	}
	_, err = r.Write([]byte(a.String("data")))
	return err
}

// maxRingRead bounds the memory that one look at a ring takes.
const maxRingRead = 1 << 20

func ringRead(_ context.Context, s *Session, a Args) error {
	r, err := s.ring(a.String("device"))
	if err != nil {
		return err
	}
	size := a.Int("size")
	if size == 0 {
		return blockdev.Errorf(blockdev.ErrInvalid, "", "", "size must be greater than zero")
	}
	p := make([]byte, min(size, maxRingRead))
	s.Println(printable(string(p[:r.Take(p)])))
	return nil
}

// printable writes what a terminal could take for a command as \uXXXX.
func printable(text string) string {
	var b strings.Builder
	for _, c := range text {
		switch {
		case c == '\\':
			b.WriteString(`\\`)
		case c < ' ' && c != '\n' && c != '\t', c == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func completeChardev(s *Session, argument, _ string) []string {
	var out []string
	for _, c := range s.chardevs() {
		if argument == "device" {
			out = append(out, c.ID())
		}
	}
	return out
}
