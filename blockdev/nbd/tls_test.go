package nbd_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/blockdev/nbd/server"
	"github.com/qmon/qmon/blockdev/tlscreds"
	"github.com/qmon/qmon/blockdev/tlscreds/tlstest"
	"github.com/qmon/qmon/internal/peer"
)

// certificates makes a folder as QEMU wants it, for both ends.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		}
	}
	authority := template("authority")
	authority.IsCA, authority.KeyUsage = true, x509.KeyUsageCertSign
	authorityKey := tlstest.NewKey(t)
	tlstest.Write(t, filepath.Join(dir, "ca"), authority, authority, authorityKey, authorityKey)
	for name, usage := range map[string]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth} {
		c := template(name)
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		tlstest.Write(t, filepath.Join(dir, name), c, authority, tlstest.NewKey(t), authorityKey)
	}
	return dir
}

// define makes the credentials of both ends known. They stay, so each has an ID of its own.
func define(t *testing.T, dir string) (serverID, clientID string) {
	t.Helper()
	serverID, clientID = rand.Text(), rand.Text()
	for id, end := range map[string]string{serverID: "server", clientID: "client"} {
		err := tlscreds.Define(blockdev.Options{"qom-type": "tls-creds-x509", "id": id, "endpoint": end, "dir": dir})
		if err != nil {
			t.Fatal(err)
		}
	}
	return serverID, clientID
}

func inet(port, export string) blockdev.Options {
	return blockdev.Options{"server.type": "inet", "server.host": "localhost", "server.port": port, "export": export}
}

// secureServer serves n over TLS on the port that it returns.
func secureServer(t *testing.T, n blockdev.Node, creds string) string {
	t.Helper()
	c, err := tlscreds.Lookup(creds, true)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{TLS: c.ServerConfig()})
	if err := s.Add(server.Export{Name: "exp", Backend: server.FromNode(n), Size: n.Size()}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestTLS(t *testing.T) {
	dir := certificates(t)
	serverID, clientID := define(t, dir)
	disk := blocktest.NewMemory(bytes.Repeat([]byte("secret"), 1<<20))
	port := secureServer(t, disk, serverID)
	o := inet(port, "exp")
	o["tls-creds"] = clientID
	exercise(t, open(t, o))
	if _, err := tryOpen(t, inet(port, "exp")); !errors.Is(err, blockdev.ErrDenied) {
		t.Errorf("in plain text: %v", err)
	}
	o["tls-hostname"] = "elsewhere"
	if _, err := tryOpen(t, o); err == nil {
		t.Error("a server with another name was believed")
	}
	strangers := inet(port, "exp")
	strangers["tls"] = "on" // the system's authorities do not know this one
	if _, err := tryOpen(t, strangers); err == nil {
		t.Error("a server that no authority knows was believed")
	}
}

func TestTLSWithQemu(t *testing.T) {
	peer.Need(t, "qemu-nbd", "qemu-io")
	dir := certificates(t)
	serverID, clientID := define(t, dir)
	port := secureServer(t, blocktest.NewMemory(make([]byte, 1<<20)), serverID)
	peer.Run(t, "qemu-io", "--object", "tls-creds-x509,id=t,endpoint=client,dir="+dir, "--image-opts",
		"-c", "write -P 7 0 64k", "-c", "read -P 7 0 64k",
		"driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=localhost,file.server.port="+port+",file.export=exp,file.tls-creds=t")

	port = activate(t, "qemu-nbd", "-t", "-f", "raw", "-x", "exp",
		"--object", "tls-creds-x509,id=t,endpoint=server,dir="+dir, "--tls-creds", "t", writeFile(t, t.TempDir()))
	o := inet(port, "exp")
	o["tls-creds"] = clientID
	exercise(t, open(t, o))
}

// activate runs a server until the test ends, as systemd would: with a socket that listens
// already, on the port that it returns.
func activate(t *testing.T, argv ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, argv...)...)
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), "LISTEN_FDS=1"), []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestCredentialsThatAreRefused(t *testing.T) {
	dir := certificates(t)
	for text, o := range map[string]blockdev.Options{
		"TLS with pre-shared keys is not supported: use tls-creds-x509": {"qom-type": "tls-creds-psk", "id": "a"},
		"TLS without certificates is not supported: use tls-creds-x509": {"qom-type": "tls-creds-anon", "id": "a"},
		"Missing 'dir' property value":                                  {"qom-type": "tls-creds-x509", "id": "a"},
		"Parameter 'id' is missing":                                     {"qom-type": "tls-creds-x509", "dir": dir},
		"Parameter 'endpoint' does not accept value 'both'":             {"qom-type": "tls-creds-x509", "id": "a", "dir": dir, "endpoint": "both"},
	} {
		if err := tlscreds.Define(o); blockdev.Message(err) != text {
			t.Errorf("%v: %v, not %s", o, err, text)
		}
	}
	if _, err := tlscreds.Lookup("nobody", false); !errors.Is(err, blockdev.ErrNotFound) {
		t.Error(err)
	}
}
