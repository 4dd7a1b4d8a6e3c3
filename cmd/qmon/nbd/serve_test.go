package nbd

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev/tlscreds/tlstest"
	"github.com/qmon/qmon/internal/peer"
)

// serveOurs runs a command line until the test ends, or the function returned is called.
func serveOurs(t *testing.T, socket string, args ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var out bytes.Buffer
	status := make(chan int, 1)
	go func() {
		tool := &tool{prog: "qemu-nbd", stdout: &out, stderr: &out}
		status <- tool.main(ctx, append([]string{"-t", "-k", socket}, args...))
	}()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			if s := <-status; s != 0 {
				t.Errorf("%q ended with %d:\n%s", args, s, out.String())
			}
		}
		stopped = true
	}
	t.Cleanup(stop)
	peer.Listening(t, socket)
	return stop
}

// serveTheirs is serveOurs with the real program.
func serveTheirs(t *testing.T, socket string, args ...string) {
	t.Helper()
	cmd := exec.Command("qemu-nbd", append([]string{"-t", "-k", socket}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	peer.Listening(t, socket)
}

// bitmapDisk is a qcow2 with data in three places, of which the bitmap b1 knows two and b2,
// of a coarser kind, one.
func bitmapDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", disk, "10M")
	peer.Run(t, "qemu-io", "-c", "write -q 0 64k", disk)
	peer.Run(t, "qemu-img", "bitmap", "--add", disk, "b1")
	peer.Run(t, "qemu-io", "-c", "write -q 1M 128k", disk)
	peer.Run(t, "qemu-img", "bitmap", "--add", "-g", "1M", disk, "b2")
	peer.Run(t, "qemu-io", "-c", "write -q 5242880 64k", disk)
	return disk
}

// TestDirtyBitmapsOfAnExport: other people's clients see the same dirty bitmaps, and the
// same list, as the real qemu-nbd shows them.
func TestDirtyBitmapsOfAnExport(t *testing.T) {
	peer.Need(t, "qemu-nbd", "qemu-img", "qemu-io", "nbdinfo")
	disk, dir := bitmapDisk(t), peer.SocketDir(t)
	options := []string{"-r", "-e", "8", "-f", "qcow2", "-A", "-B", "b1", "-B", "b2", "-x", "exp", "-D", "two bitmaps", disk}
	theirSocket, ourSocket := filepath.Join(dir, "theirs"), filepath.Join(dir, "ours")
	serveTheirs(t, theirSocket, options...)
	serveOurs(t, ourSocket, options...)
	seen := func(socket string) string {
		var out strings.Builder
		for _, context := range []string{"base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b1", "qemu:dirty-bitmap:b2"} {
			out.WriteString(peer.Run(t, "nbdinfo", "--map="+context, "nbd+unix:///exp?socket="+socket))
			out.WriteString(peer.Run(t, "qemu-img", "map", "--output=json", "--image-opts",
				"driver=nbd,export=exp,server.type=unix,server.path="+socket+",x-dirty-bitmap="+context))
		}
		out.WriteString(peer.Run(t, "qemu-nbd", "-L", "-k", socket))
		return out.String()
	}
	want := seen(theirSocket)
	if diff := cmp.Diff(want, seen(ourSocket)); diff != "" || !strings.Contains(want, "dirty") {
		t.Errorf("(-theirs +ours)\n%s\n%s", diff, want)
	}
}

// TestBitmapFollowsWrites: what a client writes is dirty for the next one that looks.
func TestBitmapFollowsWrites(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io", "nbdinfo")
	disk, socket := bitmapDisk(t), filepath.Join(peer.SocketDir(t), "s")
	stop := serveOurs(t, socket, "-e", "8", "-f", "qcow2", "-B", "b1", disk)
	uri := "nbd+unix://?socket=" + socket
	peer.Run(t, "qemu-io", "-f", "raw", "-c", "write -q 9M 64k", uri)
	if out := peer.Run(t, "nbdinfo", "--map=qemu:dirty-bitmap:b1", uri); !strings.Contains(out, "9437184       65536    1  dirty") {
		t.Errorf("the map is\n%s", out)
	}
	stop()
	peer.Run(t, "qemu-img", "check", disk)
}

// TestOnlyWhoIsOnTheListGetsIn: --tls-authz with real clients and, for the names of their
// certificates, the real server.
func TestOnlyWhoIsOnTheListGetsIn(t *testing.T) {
	peer.Need(t, "qemu-nbd", "qemu-img")
	pki, disk := certificates(t), filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	const name = `C=GB,ST=London,O=Exam\, ple,CN=client`
	rule := func(match, format string) string {
		return `{"qom-type":"authz-list","id":"a` + t.Name() + format + `","rules":[{"match":"` + match + `","policy":"allow","format":"` + format + `"}]}`
	}
	for i, tt := range []struct {
		object, id string
		want       bool
	}{
		{"authz-simple,id=z1,identity=" + strings.ReplaceAll(name, ",", ",,"), "z1", true},
		{"authz-simple,id=z2,identity=CN=client", "z2", false},
		{rule(`C=GB,*,CN=client`, "glob"), "a" + t.Name() + "glob", true},
		{rule(`CN=*`, "exact"), "a" + t.Name() + "exact", false},
	} {
		for who, serve := range map[string]func(*testing.T, string, ...string){
			"theirs": serveTheirs, "ours": func(t *testing.T, socket string, args ...string) { serveOurs(t, socket, args...) },
		} {
			socket, creds := filepath.Join(peer.SocketDir(t), "s"), "t"+string(rune('0'+i))
			serve(t, socket, "-r", "-e", "8", "-f", "raw", "--object", "tls-creds-x509,id="+creds+",endpoint=server,dir="+pki,
				"--object", tt.object, "--tls-creds", creds, "--tls-authz", tt.id, disk)
			// A client of TLS 1.3 is told no after its handshake, by its first read.
			_, err := exec.Command("qemu-img", "info", "--object", "tls-creds-x509,id=t,endpoint=client,dir="+pki, "--image-opts",
				"driver=raw,file.driver=nbd,file.path="+socket+",file.tls-creds=t,file.tls-hostname=localhost").Output()
			if got := err == nil; got != tt.want {
				t.Errorf("%s with %s: let in is %v (%v)", who, tt.object, got, err)
			}
		}
	}
}

// certificates makes an authority, and a server and a client that it knows.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	authorityKey := tlstest.NewKey(t)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	tlstest.Write(t, filepath.Join(dir, "ca"), authority, authority, authorityKey, authorityKey)
	for i, end := range []string{"server", "client"} {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), DNSNames: []string{"localhost"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
			Subject: pkix.Name{
				Country: []string{"GB"}, Province: []string{"London"}, Organization: []string{"Exam, ple"}, CommonName: end,
			},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		// The order of qemu's manual, which is not the one that package pkix would choose.
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{
			{Type: []int{2, 5, 4, 6}, Value: "GB"}, {Type: []int{2, 5, 4, 8}, Value: "London"},
			{Type: []int{2, 5, 4, 10}, Value: "Exam, ple"}, {Type: []int{2, 5, 4, 3}, Value: end},
		}
		c.Subject.Country, c.Subject.Province, c.Subject.Organization, c.Subject.CommonName = nil, nil, nil, ""
		tlstest.Write(t, filepath.Join(dir, end), c, authority, tlstest.NewKey(t), authorityKey)
	}
	return dir
}
