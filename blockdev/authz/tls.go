package authz

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// TLSIdentity is the distinguished name of the other end's certificate, "" if it has shown
// none: the parts in the certificate's order, escaped as RFC 4514, section 2.4, has it.
func TLSIdentity(s tls.ConnectionState) (string, error) {
	if len(s.PeerCertificates) == 0 {
		return "", nil
	}
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(s.PeerCertificates[0].RawSubject, &name); err != nil {
		return "", err
	}
	slices.Reverse(name) // String begins with the last one
	return name.String(), nil
}

// GuardTLS makes a server's configuration refuse clients that a does not allow.
func GuardTLS(c *tls.Config, a Authorizer) {
	c.VerifyConnection = func(s tls.ConnectionState) error {
		identity, err := TLSIdentity(s)
		if err != nil {
			return err
		}
		ok, err := a.Allowed(identity)
		if err == nil && !ok {
			err = blockdev.Errorf(blockdev.ErrDenied, "tls", "", "TLS client '%s' is not authorized", identity)
		}
		return err
	}
}
