package serial

// Telnet commands (RFC 854) and the options that are negotiated (RFC 856, 857, 858).
const (
	telnetIAC  = 255
	telnetDont = 254
	telnetDo   = 253
	telnetWont = 252
	telnetWill = 251
	telnetSB   = 250 // a subnegotiation follows, up to IAC SE
	telnetBRK  = 243
	telnetSE   = 240

	telnetBinary = 0
	telnetEcho   = 1
	telnetSGA    = 3 // suppress go-ahead: a character at a time
)

// telnetHello is what a server says first: it echoes, and both send bytes as they come.
var telnetHello = []byte{
	telnetIAC, telnetWill, telnetEcho,
	telnetIAC, telnetWill, telnetSGA,
	telnetIAC, telnetWill, telnetBinary,
	telnetIAC, telnetDo, telnetBinary,
}

// telnetState is where a telnetReader is in the stream.
type telnetState uint8

const (
	telnetData    telnetState = iota
	telnetCommand             // after IAC
	telnetOption              // after IAC WILL and the like
	telnetSub                 // after IAC SB
	telnetSubIAC              // and IAC in it
)

// telnetReader takes Telnet's commands out of what a peer sends.
type telnetReader struct {
	state  telnetState
	breaks int // commands to send a break, not yet reported
}

// filter returns the data in p, in p's own space.
func (t *telnetReader) filter(p []byte) []byte {
	data := p[:0]
	for _, b := range p {
		if t.next(b) {
			data = append(data, b)
		}
	}
	return data
}

// next takes a byte and tells if it is data.
func (t *telnetReader) next(b byte) bool {
	switch t.state {
	case telnetData:
		if b == telnetIAC {
			t.state = telnetCommand
			return false
		}
		return true
	case telnetCommand:
		return t.command(b)
	case telnetOption:
		t.state = telnetData
	case telnetSub:
		if b == telnetIAC {
			t.state = telnetSubIAC
		}
	case telnetSubIAC:
		t.state = telnetSub
		if b == telnetSE {
			t.state = telnetData
		}
	}
	return false
}

// command takes the byte after IAC; a second IAC is a byte of data.
func (t *telnetReader) command(b byte) bool {
	t.state = telnetData
	switch b {
	case telnetIAC:
		return true
	case telnetWill, telnetWont, telnetDo, telnetDont:
		t.state = telnetOption
	case telnetSB:
		t.state = telnetSub
	case telnetBRK:
		t.breaks++
	}
	return false
}

// telnetEscape doubles the bytes that would be commands.
func telnetEscape(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for _, b := range p {
		if out = append(out, b); b == telnetIAC {
			out = append(out, telnetIAC)
		}
	}
	return out
}
