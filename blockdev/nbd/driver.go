package nbd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/blockdev/tlscreds"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "nbd",
		Protocol:      true,
		Prefixes:      []string{"nbd", "nbd+tcp", "nbd+unix", "nbds", "nbds+tcp", "nbds+unix"},
		OpenOptions:   openOptions,
		ParseFilename: parseFilename,
		Open:          open,
		Create:        create,
	})
}

var openOptions = blockdev.OptionTable{
	{Name: "server.type", Type: blockdev.OptEnum, Enum: []string{"inet", "unix"}, Help: "kind of address"},
	{Name: "server.host", Type: blockdev.OptString, Help: "host of the server"},
	{Name: "server.port", Type: blockdev.OptString, Help: "TCP port, a number or a service"},
	{Name: "server.path", Type: blockdev.OptString, Help: "unix socket of the server"},
	{Name: "host", Type: blockdev.OptString, Help: "TCP host to connect to"},
	{Name: "port", Type: blockdev.OptString, Help: "TCP port to connect to"},
	{Name: "path", Type: blockdev.OptString, Help: "Unix socket path to connect to"},
	{Name: "export", Type: blockdev.OptString, Help: "Name of the NBD export to open"},
	{Name: "tls", Type: blockdev.OptBool, Help: "require TLS, with the system's authorities if tls-creds is not given"},
	{Name: "tls-creds", Type: blockdev.OptString, Help: "ID of the TLS credentials to use"},
	{Name: "tls-hostname", Type: blockdev.OptString, Help: "Override hostname for validating TLS x509 certificates"},
	{Name: "reconnect-delay", Type: blockdev.OptInt, Default: "0", Help: "seconds that requests wait for a lost connection to come back"},
	{Name: "open-timeout", Type: blockdev.OptInt, Default: "0", Help: "seconds to try to connect at the beginning"},
	{Name: "connections", Type: blockdev.OptInt, Default: "1", Help: "connections to make to a server that allows several"},
	{Name: "x-dirty-bitmap", Type: blockdev.OptString, Help: "metadata context to show in place of base:allocation, for looking only"},
}

// settings are the driver's options.
type settings struct {
	Type           string `option:"server.type"`
	ServerHost     string `option:"server.host"`
	ServerPort     string `option:"server.port"`
	ServerPath     string `option:"server.path"`
	Host           string `option:"host"`
	Port           string `option:"port"`
	Path           string `option:"path"`
	Export         string `option:"export"`
	TLS            bool   `option:"tls"`
	TLSCreds       string `option:"tls-creds"`
	TLSHostname    string `option:"tls-hostname"`
	ReconnectDelay int64  `option:"reconnect-delay"`
	OpenTimeout    int64  `option:"open-timeout"`
	Connections    int64  `option:"connections"`
	Context        string `option:"x-dirty-bitmap"`
}

// maxDelay bounds the seconds of a delay: a year, far from any overflow.
const maxDelay = 365 * 24 * 60 * 60

// address finds out where the server is; old options without "server." still count.
func (s *settings) address() (Address, error) {
	invalid := func(text string) (Address, error) {
		return Address{}, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "%s", text)
	}
	switch {
	case s.Path != "" && s.Host != "":
		return invalid("path and host may not be used at the same time")
	case s.Type == "" && s.Path != "":
		return Address{Network: "unix", Path: s.Path}, nil
	case s.Type == "" && s.Host != "":
		a := Address{Network: "tcp", Host: s.Host, Port: s.Port}
		if a.Port == "" {
			a.Port = defaultPort
		}
		return a, nil
	case s.Type == "":
		return invalid("NBD server address missing")
	case s.Type == "unix" && s.ServerPath == "":
		return invalid("Parameter 'path' is missing")
	case s.Type == "unix":
		return Address{Network: "unix", Path: s.ServerPath}, nil
	case s.ServerHost == "":
		return invalid("Parameter 'host' is missing")
	case s.ServerPort == "":
		return invalid("Parameter 'port' is missing")
	}
	return Address{Network: "tcp", Host: s.ServerHost, Port: s.ServerPort}, nil
}

// tlsConfig is nil without TLS.
func (s *settings) tlsConfig() (*tls.Config, error) {
	host := s.TLSHostname
	if host == "" {
		host = s.ServerHost + s.Host
	}
	if s.TLSCreds == "" {
		if !s.TLS {
			return nil, nil
		}
		return &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}, nil
	}
	creds, err := tlscreds.Lookup(s.TLSCreds, false)
	if err != nil {
		return nil, err
	}
	if host == "" && creds.VerifyPeer {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "TLS over a unix socket needs tls-hostname")
	}
	return creds.ClientConfig(host), nil
}

// check refuses what cannot be.
func (s *settings) check() error {
	switch {
	case s.ReconnectDelay > maxDelay, s.OpenTimeout > maxDelay:
		return blockdev.Errorf(blockdev.ErrInvalid, "open", "", "a delay is longer than %d seconds", maxDelay)
	case s.Connections < 1 || s.Connections > client.MaxConnections:
		return blockdev.Errorf(blockdev.ErrInvalid, "open", "", "connections must be between 1 and %d", client.MaxConnections)
	case len(s.Export) > protocol.MaxString:
		return blockdev.Errorf(blockdev.ErrLimit, "open", "", "export name too long to send to server")
	}
	return nil
}

// config is what the options say about the connection.
func (s *settings) config() (Address, client.Config, error) {
	if err := s.check(); err != nil {
		return Address{}, client.Config{}, err
	}
	address, err := s.address()
	if err != nil {
		return Address{}, client.Config{}, err
	}
	secure, err := s.tlsConfig()
	return address, client.Config{
		Dial: address.Dial, Address: address.String(), Export: s.Export, TLS: secure, Connections: int(s.Connections),
		ReconnectDelay: time.Duration(s.ReconnectDelay) * time.Second,
		OpenTimeout:    time.Duration(s.OpenTimeout) * time.Second,
	}, err
}

// Config reads a name as images have it, nbd:host:port:exportname=x or nbd+unix:///x?socket=s,
// for programs that talk to the server themselves.
func Config(name string) (client.Config, error) {
	s, err := parseSettings(name)
	if err != nil {
		return client.Config{}, err
	}
	_, c, err := s.config()
	return c, err
}

func parseSettings(name string) (s settings, err error) {
	o, err := parseFilename(name)
	if err != nil {
		return s, err
	}
	v, err := openOptions.Parse(o)
	if err != nil {
		return s, err
	}
	return s, v.Decode(&s)
}

func open(ctx context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	var s settings
	if err := r.Options.Decode(&s); err != nil {
		return nil, err
	}
	return s.open(ctx, r.Mode)
}

func (s *settings) open(ctx context.Context, mode blockdev.Mode) (*Node, error) {
	address, config, err := s.config()
	if err != nil {
		return nil, err
	}
	metadata := cmp.Or(s.Context, protocol.ContextAllocation)
	config.Contexts = []string{metadata}
	c, err := client.Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	n, err := newNode(c, mode, metadata)
	if err == nil && s.Context != "" && !c.HasContext(s.Context) {
		err = blockdev.Errorf(blockdev.ErrNotFound, "open", address.String(), "requested x-dirty-bitmap %s not found", s.Context)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if s.TLSCreds == "" && s.Context == "" {
		n.filename = address.uri(s.Export, s.TLS)
	}
	return n, nil
}

// create makes sure that there is an export: its size is the server's business.
func create(ctx context.Context, r blockdev.CreateRequest) error {
	s, err := parseSettings(r.Filename)
	if err != nil {
		return err
	}
	n, err := s.open(ctx, blockdev.Mode{Writable: true})
	if err != nil {
		return err
	}
	if n.Size() < r.Size {
		return errors.Join(blockdev.Errorf(blockdev.ErrNotSupported, "create", r.Filename, "Cannot grow NBD nodes"), n.Close())
	}
	return n.Close()
}

// readOnlyError is what opening a read-only export for writing gives.
func readOnlyError(address string) error {
	return &blockdev.Error{Kind: blockdev.ErrReadOnly, Op: "open", File: address, Offset: blockdev.NoOffset,
		Text: "request on write denied without write permission"}
}
