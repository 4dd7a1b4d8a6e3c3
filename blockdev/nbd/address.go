package nbd

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// defaultPort is the port of NBD at IANA.
const defaultPort = "10809"

// Address says where a server listens.
type Address struct {
	Network string // "tcp" or "unix"
	Host    string
	Port    string
	Path    string // of a unix socket
}

// String is the address as messages show it.
func (a Address) String() string {
	if a.Network == "unix" {
		return a.Path
	}
	return a.Host + ":" + a.Port
}

// Dial connects.
func (a Address) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	if a.Network == "unix" {
		if err := a.checkPath(); err != nil {
			return nil, err
		}
		return d.DialContext(ctx, "unix", a.Path)
	}
	nc, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a.Host, a.Port))
	if err := a.resolveError(err); err != nil {
		return nil, err
	}
	return nc, err
}

// resolveError is what the C library says where err means that the address has no number;
// nil where it means something else.
func (a Address) resolveError(err error) error {
	var unknown *net.DNSError
	var malformed *net.AddrError
	text := "Name or service not known"
	switch {
	case errors.As(err, &unknown) && unknown.Server == "" && strings.HasPrefix(unknown.Err, "unknown port"), errors.As(err, &malformed):
		text = "Servname not supported for ai_socktype"
	case errors.As(err, &unknown) && unknown.IsTemporary:
		text = "Temporary failure in name resolution"
	case unknown == nil:
		return nil
	}
	return blockdev.Errorf(blockdev.ErrNotFound, "open", a.String(), "address resolution failed for %s:%s: %s", a.Host, a.Port, text)
}

// maxSocketPath is how long the path of a unix socket is at most, with the zero behind it:
// Linux's sockaddr_un.
const maxSocketPath = 108

func (a Address) checkPath() error {
	if len(a.Path) >= maxSocketPath {
		return blockdev.Errorf(blockdev.ErrLimit, "open", a.Path,
			"UNIX socket path '%s' is too long\nPath must be less than %d bytes", a.Path, maxSocketPath)
	}
	return nil
}

// ParseAddress reads "unix:/path" or "host:port".
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return Address{Network: "unix", Path: path}, nil
	}
	host, port, err := splitHostPort(s)
	return Address{Network: "tcp", Host: host, Port: port}, err
}

// Listen waits for clients. A unix socket that nobody has removed is replaced.
func (a Address) Listen() (net.Listener, error) {
	if a.Network != "unix" {
		l, err := net.Listen("tcp", net.JoinHostPort(a.Host, a.Port))
		if err := a.resolveError(err); err != nil {
			return nil, err
		}
		return l, listenError("Failed to bind socket", err)
	}
	if err := a.checkPath(); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(a.Path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(a.Path); err != nil {
			return nil, listenError("Failed to unlink socket "+a.Path, err)
		}
	}
	l, err := net.Listen("unix", a.Path)
	return l, listenError("Failed to bind socket to "+a.Path, err)
}

// listenError words err as QEMU does.
func listenError(text string, err error) error {
	if err == nil {
		return nil
	}
	var op *net.OpError
	var pe *os.PathError
	switch {
	case errors.As(err, &op):
		err = op.Err
	case errors.As(err, &pe):
		err = pe.Err
	}
	return &blockdev.Error{Op: "listen", Offset: blockdev.NoOffset, Text: text, Err: err}
}

// uri is the text that opens the export again.
func (a Address) uri(export string, tls bool) string {
	scheme := "nbd"
	if tls {
		scheme = "nbds"
	}
	name := (&url.URL{Path: export}).EscapedPath()
	switch {
	case a.Network == "unix" && export == "":
		return scheme + "+unix://?socket=" + a.Path
	case a.Network == "unix":
		return scheme + "+unix:///" + name + "?socket=" + a.Path
	}
	text := scheme + "://" + net.JoinHostPort(a.Host, a.Port)
	if export != "" {
		text += "/" + name
	}
	return text
}

// parseFilename turns a file name into the driver's options.
func parseFilename(name string) (blockdev.Options, error) {
	if strings.Contains(name, "://") {
		return parseURI(name)
	}
	rest, ok := strings.CutPrefix(name, "nbd:")
	if !ok {
		return nil, badURL(name)
	}
	if rest == "" {
		return nil, missingAddress(name)
	}
	o := blockdev.Options{}
	const exportMark = ":exportname="
	if at := strings.Index(rest, exportMark); at >= 0 {
		export := rest[at+len(exportMark):]
		if export == "" {
			return nil, missingAddress(name)
		}
		o["export"], rest = export, rest[:at]
	}
	if path, ok := strings.CutPrefix(rest, "unix:"); ok {
		o["server.type"], o["server.path"] = "unix", path
		return o, nil
	}
	host, port, err := splitHostPort(rest)
	if err != nil {
		return nil, err
	}
	o["server.type"], o["server.host"], o["server.port"] = "inet", host, port
	return o, nil
}

// splitHostPort splits host:port, where host may be an IPv6 address in brackets.
func splitHostPort(s string) (host, port string, err error) {
	if strings.HasPrefix(s, "[") {
		if host, port, err = net.SplitHostPort(s); err == nil && port != "" {
			return host, port, nil
		}
		return "", "", blockdev.Errorf(blockdev.ErrInvalid, "open", s, "error parsing IPv6 address '%s'", s)
	}
	host, port, _ = strings.Cut(s, ":")
	if port == "" {
		return "", "", blockdev.Errorf(blockdev.ErrInvalid, "open", s, "error parsing address '%s'", s)
	}
	return host, port, nil
}

func badURL(name string) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "open", name, "No valid URL specified")
}

func missingAddress(name string) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "open", name, "NBD server address missing")
}

// parseURI reads the forms with "://" (doc/uri.md of the NBD project). QEMU knows nbd,
// nbd+tcp and nbd+unix; those with TLS are libnbd's and nbdkit's.
func parseURI(name string) (blockdev.Options, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, badURL(name)
	}
	o := blockdev.Options{}
	scheme := u.Scheme
	if rest, ok := strings.CutPrefix(scheme, "nbds"); ok {
		o["tls"], scheme = "on", "nbd"+rest
	}
	if export := strings.TrimPrefix(u.Path, "/"); export != "" {
		o["export"] = export
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return nil, badURL(name)
	}
	socket := query["socket"]
	delete(query, "socket")
	if len(query) > 0 {
		return nil, badURL(name)
	}
	switch {
	case scheme == "nbd+unix" && u.Host == "" && len(socket) == 1:
		o["server.type"], o["server.path"] = "unix", socket[0]
		return o, nil
	case scheme != "nbd" && scheme != "nbd+tcp", u.Hostname() == "", socket != nil:
		return nil, badURL(name)
	}
	o["server.type"], o["server.host"], o["server.port"] = "inet", u.Hostname(), u.Port()
	if u.Port() == "" {
		o["server.port"] = defaultPort
	}
	return o, nil
}
