package sheepdog

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// vdiName is what the daemon looks a VDI up by. Without tag and snapID it is the working
// VDI.
type vdiName struct {
	vdi    string
	tag    string
	snapID uint32
}

func (n vdiName) isSnapshot() bool { return n.tag != "" || n.snapID != 0 }

// snapshot is the snapshot of the same VDI with that number.
func (n vdiName) snapshot(id uint32) vdiName { return vdiName{vdi: n.vdi, snapID: id} }

// encode is the payload of a request that looks n up. Tag and number find a snapshot each
// for itself, so only one is sent.
func (n vdiName) encode() []byte {
	tag := n.tag
	if n.snapID != 0 {
		tag = ""
	}
	return p.EncodeName(p.EncodeName(make([]byte, 0, p.LookupSize), n.vdi), tag)
}

func (n vdiName) check() error {
	if err := p.CheckName("VDI name", n.vdi); err != nil {
		return err
	}
	if n.tag != "" {
		return p.CheckName("snapshot tag", n.tag)
	}
	return nil
}

// target is what a file name, or options, say: which VDI, and where.
type target struct {
	vdiName
	server gateway
}

const localHost = "127.0.0.1"

func tcp(host, port string) gateway {
	if host == "" {
		host = localHost
	}
	if port == "" {
		port = strconv.Itoa(p.DefaultPort)
	}
	return gateway{"tcp", net.JoinHostPort(host, port)}
}

// parseName reads a file name in any of its spellings:
//
//	sheepdog:VDI                          sheepdog:VDI:TAG-OR-ID
//	sheepdog:HOST:PORT:VDI                sheepdog:HOST:PORT:VDI:TAG-OR-ID
//	sheepdog://HOST:PORT/VDI#TAG-OR-ID    sheepdog+tcp://...
//	sheepdog+unix:///VDI?socket=PATH#TAG-OR-ID
func parseName(text string) (target, error) {
	var t target
	var err error
	if strings.Contains(text, "://") {
		t, err = parseURI(text)
	} else {
		t, err = parseColons(text)
	}
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return t, &blockdev.Error{Kind: blockdev.ErrInvalid, Op: "open", File: text, Offset: blockdev.NoOffset,
			Text: "Can't parse filename", Err: err}
	}
	return t, nil
}

// parseColons tells the old spellings apart by the number of colons.
func parseColons(text string) (target, error) {
	parts := strings.Split(strings.TrimPrefix(text, "sheepdog:"), ":")
	t := target{server: tcp("", "")}
	if len(parts) > 2 {
		if _, err := strconv.ParseUint(parts[1], 10, 16); err != nil || parts[0] == "" {
			return t, fmt.Errorf("'%s:%s' is not a host and a port", parts[0], parts[1])
		}
		t.server = tcp(parts[0], parts[1])
		parts = parts[2:]
	}
	t.vdi = parts[0]
	switch len(parts) {
	case 1:
		return t, nil
	case 2:
		t.setSnapshot(parts[1])
		return t, nil
	}
	return t, fmt.Errorf("too many colons")
}

func parseURI(text string) (target, error) {
	var t target
	u, err := url.Parse(text)
	if err != nil {
		return t, err
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return t, err
	}
	socket := query.Get("socket")
	switch u.Scheme {
	case "sheepdog", "sheepdog+tcp":
		if len(query) > 0 {
			return t, fmt.Errorf("unexpected query parameters")
		}
		t.server = tcp(u.Hostname(), u.Port())
	case "sheepdog+unix":
		switch {
		case u.Host != "":
			return t, fmt.Errorf("URI scheme 'sheepdog+unix' takes no host")
		case socket == "" || len(query) != 1:
			return t, fmt.Errorf("URI scheme 'sheepdog+unix' requires one query parameter, 'socket'")
		}
		t.server = gateway{"unix", socket}
	default:
		return t, fmt.Errorf("URI scheme must be 'sheepdog', 'sheepdog+tcp', or 'sheepdog+unix'")
	}
	t.vdi = strings.TrimPrefix(u.Path, "/")
	if u.Fragment != "" {
		t.setSnapshot(u.Fragment)
	}
	return t, nil
}

// setSnapshot takes a whole number that is not zero for an id and the rest for a tag.
func (n *vdiName) setSnapshot(text string) {
	if id, err := strconv.ParseUint(text, 10, 32); err == nil && id != 0 {
		n.snapID = uint32(id)
		return
	}
	n.tag = text
}

// parseGateways reads the option "gateways": HOST:PORT or the path of a socket each, with
// spaces between.
func parseGateways(text string) ([]gateway, error) {
	var out []gateway
	for _, f := range strings.Fields(text) {
		if strings.HasPrefix(f, "/") {
			out = append(out, gateway{"unix", f})
			continue
		}
		host, port, err := net.SplitHostPort(f)
		if err != nil {
			return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "'%s' in 'gateways' is not HOST:PORT", f)
		}
		out = append(out, tcp(host, port))
	}
	return out, nil
}
