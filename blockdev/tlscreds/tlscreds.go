// Package tlscreds keeps the TLS credentials that objects of the command line define and
// network drivers refer to by ID:
//
//	--object tls-creds-x509,id=tls0,endpoint=client,dir=/etc/pki/qemu
//	-drive   driver=nbd,...,tls-creds=tls0
//
// The directory holds the files that QEMU looks for: ca-cert.pem, and server-cert.pem with
// server-key.pem or client-cert.pem with client-key.pem. Pre-shared keys are refused: the
// standard library has no TLS with them.
package tlscreds

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/registry"
)

// Creds are the credentials of one end.
type Creds struct {
	Server     bool // for a server, else for a client
	VerifyPeer bool
	authority  *x509.CertPool
	own        []tls.Certificate
}

// Define reads an object's options, "qom-type" among them, and makes the credentials known
// under its id. Objects of other kinds are refused.
func Define(o blockdev.Options) error {
	o = o.Clone()
	kind, _ := o.Take("qom-type")
	id, _ := o.Take("id")
	switch kind {
	case "tls-creds-x509":
	case "tls-creds-psk":
		return blockdev.Errorf(blockdev.ErrNotSupported, "object", id, "TLS with pre-shared keys is not supported: use tls-creds-x509")
	case "tls-creds-anon":
		return blockdev.Errorf(blockdev.ErrNotSupported, "object", id, "TLS without certificates is not supported: use tls-creds-x509")
	default:
		return blockdev.Errorf(blockdev.ErrNotSupported, "object", id, "objects of type '%s' are not supported", kind)
	}
	if id == "" {
		return blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Parameter 'id' is missing")
	}
	c, err := load(o)
	if err != nil {
		return err
	}
	return registry.Add(id, c)
}

var options = blockdev.OptionTable{
	{Name: "dir", Type: blockdev.OptString, Help: "folder with the certificates"},
	{Name: "endpoint", Type: blockdev.OptEnum, Enum: []string{"client", "server"}, Default: "client", Help: "which end these are for"},
	{Name: "verify-peer", Type: blockdev.OptBool, Default: "on", Help: "require a certificate of the other end that the authority has signed"},
}

// load reads the files.
func load(o blockdev.Options) (*Creds, error) {
	v, err := options.Parse(o)
	if err != nil {
		return nil, err
	}
	dir, _ := v["dir"].(string)
	if dir == "" {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Missing 'dir' property value")
	}
	c := &Creds{authority: x509.NewCertPool()}
	c.VerifyPeer, _ = v["verify-peer"].(bool)
	c.Server = v["endpoint"] == "server"
	name := filepath.Join(dir, "ca-cert.pem")
	pem, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !(c.Server && c.VerifyPeer):
		c.authority = nil // the system's
	case err != nil:
		return nil, &blockdev.Error{Op: "object", File: name, Offset: blockdev.NoOffset, Text: "Unable to access credentials " + name, Err: err}
	case !c.authority.AppendCertsFromPEM(pem):
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "object", name, "Unable to import certificates from %s", name)
	}
	return c, c.loadOwn(dir)
}

// loadOwn reads the end's own certificate, which a client need not have.
func (c *Creds) loadOwn(dir string) error {
	base := filepath.Join(dir, "client")
	if c.Server {
		base = filepath.Join(dir, "server")
	}
	pair, err := tls.LoadX509KeyPair(base+"-cert.pem", base+"-key.pem")
	switch {
	case errors.Is(err, fs.ErrNotExist) && !c.Server:
		return nil
	case err != nil:
		return &blockdev.Error{Op: "object", File: base + "-cert.pem", Offset: blockdev.NoOffset,
			Text: "Unable to access credentials " + base + "-cert.pem", Err: err}
	}
	c.own = []tls.Certificate{pair}
	return nil
}

// Lookup finds the credentials of an ID, for a server or a client.
func Lookup(id string, server bool) (*Creds, error) {
	object := registry.Lookup(id)
	c, ok := object.(*Creds)
	switch {
	case object == nil:
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "tls", id, "No TLS credentials with id '%s'", id)
	case !ok:
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "tls", id, "Object with id '%s' is not TLS credentials", id)
	case server && !c.Server:
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "tls", id, "Expecting TLS credentials with a server endpoint")
	case !server && c.Server:
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "tls", id, "Expecting TLS credentials with a client endpoint")
	}
	return c, nil
}

// ServerConfig is the server's side.
func (c *Creds) ServerConfig() *tls.Config {
	t := &tls.Config{Certificates: c.own, MinVersion: tls.VersionTLS12}
	if c.VerifyPeer {
		t.ClientAuth, t.ClientCAs = tls.RequireAndVerifyClientCert, c.authority
	}
	return t
}

// ClientConfig is the client's side, for a server that is to be the one called host.
func (c *Creds) ClientConfig(host string) *tls.Config {
	return &tls.Config{
		Certificates: c.own, MinVersion: tls.VersionTLS12, RootCAs: c.authority, ServerName: host,
		InsecureSkipVerify: !c.VerifyPeer,
	}
}
