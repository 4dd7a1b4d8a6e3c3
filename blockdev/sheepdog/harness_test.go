package sheepdog

import (
	"bytes"
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// rig is a cluster with a gateway.
type rig struct {
	*testing.T
	addr    string // of a daemon, instead of cluster and gateway
	cluster *sheeptest.Cluster
	gateway *sheeptest.Gateway
}

// reclaimDelay is long enough for a client that does not wait to be punished.
const reclaimDelay = 2 * time.Millisecond

func newRig(t *testing.T, options ...sheeptest.Option) *rig {
	t.Helper()
	r := &rig{T: t, cluster: sheeptest.New(sheeptest.Config{Locking: true, ReclaimDelay: reclaimDelay})}
	r.gateway = r.listen(options...)
	return r
}

func (r *rig) listen(options ...sheeptest.Option) *sheeptest.Gateway {
	r.Helper()
	g, err := r.cluster.Listen(options...)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(g.Kill)
	return g
}

// name is a VDI's file name.
func (r *rig) name(vdi string) string {
	if r.addr != "" {
		return "sheepdog:" + r.addr + ":" + vdi
	}
	return "sheepdog:" + r.gateway.Addr() + ":" + vdi
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// create makes a VDI with objects of 1 MiB, so that tests see several.
func (r *rig) create(vdi string, size int64, o blockdev.Options) error {
	o = o.Clone()
	if _, ok := o["object_size"]; !ok && o["backing_file"] == "" {
		o["object_size"] = "1M"
	}
	v, err := createOptions.Parse(o)
	if err != nil {
		r.Fatal(err)
	}
	return create(context.Background(), blockdev.CreateRequest{Filename: r.name(vdi), Size: size, Options: v})
}

// tryOpen opens a VDI with short timeouts.
func (r *rig) tryOpen(vdi string, mode blockdev.Mode, more blockdev.Options) (*Image, error) {
	o := blockdev.Options{"filename": r.name(vdi), "reconnect-timeout": "5"}
	for k, v := range more {
		o[k] = v
	}
	values, err := openOptions.Parse(o)
	if err != nil {
		return nil, err
	}
	n, err := open(context.Background(), blockdev.OpenRequest{Filename: r.name(vdi), Options: values, Mode: mode})
	if err != nil {
		return nil, err
	}
	m := n.(*Image)
	if r.addr == "" {
		m.client.removal = 200 * time.Millisecond // which the cluster in the tests keeps to
	}
	return m, nil
}

func (r *rig) open(vdi string, writable bool) *Image {
	r.Helper()
	m := must(r.tryOpen(vdi, blockdev.Mode{Writable: writable, Unmap: true}, nil))(r)
	r.Cleanup(func() { _ = m.Close() })
	return m
}

// disk makes and opens a VDI.
func (r *rig) disk(vdi string, size int64) *Image {
	r.Helper()
	if err := r.create(vdi, size, nil); err != nil {
		r.Fatal(err)
	}
	return r.open(vdi, true)
}

func (r *rig) write(n blockdev.Node, b []byte, off int64) {
	r.Helper()
	if _, err := n.WriteAt(b, off); err != nil {
		r.Fatal(err)
	}
}

// wants reads a range that holds nothing but one byte.
func (r *rig) wants(n blockdev.Node, fill byte, off, length int64) {
	r.Helper()
	b := make([]byte, length)
	if _, err := n.ReadAt(b, off); err != nil {
		r.Fatal(err)
	}
	if !bytes.Equal(b, filled(fill, int(length))) {
		r.Fatalf("at %#x: % x..., not %02x", off, b[:min(16, len(b))], fill)
	}
}

func filled(fill byte, n int) []byte { return bytes.Repeat([]byte{fill}, n) }
