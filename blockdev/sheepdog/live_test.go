package sheepdog

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
)

// live is a cluster of real daemons on this host, one port each.
type live struct {
	*testing.T
	ports   []int
	daemons []*exec.Cmd
}

// startLive starts the daemon that SHEEP_BIN names, n times, and formats the cluster with
// the tool dog beside it.
func startLive(t *testing.T, n int) *live {
	t.Helper()
	sheep := os.Getenv("SHEEP_BIN")
	if sheep == "" {
		t.Skip("SHEEP_BIN names no daemon")
	}
	l := &live{T: t}
	dir := t.TempDir()
	for i := range n {
		port := freePort(t)
		store := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(store, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(sheep, "-f", "-c", "local:"+filepath.Join(dir, "cluster"), "-b", "127.0.0.1",
			"-p", strconv.Itoa(port), "-z", strconv.Itoa(i+1), store)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		l.ports, l.daemons = append(l.ports, port), append(l.daemons, cmd)
		awaitPort(t, port)
	}
	dog := filepath.Join(filepath.Dir(sheep), "dog")
	if path := os.Getenv("DOG_BIN"); path != "" {
		dog = path
	}
	out, err := exec.Command(dog, "cluster", "format", "-a", "127.0.0.1", "-p", strconv.Itoa(l.ports[0]),
		"--copies="+strconv.Itoa(n)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return l
}

func freePort(t *testing.T) int {
	t.Helper()
	s := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer s.Close()
	return s.Addr().(*net.TCPAddr).Port
}

func awaitPort(t *testing.T, port int) {
	t.Helper()
	for range 100 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the daemon does not listen on port %d", port)
}

// disk makes a VDI through the first daemon, and opens it.
func (l *live) disk(vdi string, size int64, o blockdev.Options) *Image {
	l.Helper()
	name := fmt.Sprintf("sheepdog:127.0.0.1:%d:%s", l.ports[0], vdi)
	g := &blockdev.Graph{}
	if err := g.Create(l.Context(), "sheepdog", name, size, blockdev.Options{}, blockdev.Reference{}); err != nil {
		l.Fatal(err)
	}
	values := must(openOptions.Parse(o))(l)
	values["filename"] = name
	mode := blockdev.Mode{Writable: true, Unmap: true}
	n := must(open(l.Context(), blockdev.OpenRequest{Filename: name, Options: values, Mode: mode}))(l)
	l.Cleanup(func() { _ = n.Close() })
	return n.(*Image)
}

// TestLive runs the life of a disk against a real daemon.
func TestLive(t *testing.T) {
	r := startLive(t, 1)
	h := &rig{T: t}
	m := r.disk("d", 16*mib, nil)
	h.write(m, filled('a', 10*mib), 100)
	s := h.snapshot(m, "s")
	h.write(m, filled('b', 512), 4*mib)
	if err := m.Discard(8*mib, 4*mib); err != nil {
		t.Fatal(err)
	}
	h.wants(m, 'b', 4*mib, 512)
	h.wants(m, 0, 8*mib, 4*mib)
	h.wantsSnapshot(m, s.ID, 'a', 100, 10*mib)
	if diff := cmp.Diff([]string{"1 s"}, tags(t, m)); diff != "" {
		t.Error(diff)
	}
	if err := m.ApplySnapshot(s.ID); err != nil {
		t.Fatal(err)
	}
	h.wants(m, 'a', 100, 10*mib)
	if err := m.DeleteSnapshot(s.ID); err != nil {
		t.Fatal(err)
	}
	h.wants(m, 'a', 100, 10*mib)
	if err := m.Resize(32*mib, blockdev.ResizeOptions{}); err != nil {
		t.Fatal(err)
	}
	h.wants(m, 0, 16*mib, 16*mib)
}

// TestLiveGatewayDies kills the daemon that is asked, under load.
func TestLiveGatewayDies(t *testing.T) {
	l := startLive(t, 3)
	m := l.disk("d", 64*mib, blockdev.Options{"gateways": fmt.Sprintf("127.0.0.1:%d", l.ports[1])})
	const parts = 64
	errs := make(chan error, parts)
	for i := range parts {
		go func() {
			_, err := m.WriteAt(filled(byte(i+1), mib), int64(i)*mib)
			errs <- err
		}()
	}
	if err := l.daemons[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for range parts {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	h := &rig{T: t}
	for i := range parts {
		h.wants(m, byte(i+1), int64(i)*mib, mib)
	}
}
