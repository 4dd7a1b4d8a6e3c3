package img

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// TestRebaseKeepsContents puts an overlay over other files, longer, shorter and none.
func TestRebaseKeepsContents(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	s := Session{Gate: blockdev.FollowGate{}}
	random := rand.New(rand.NewPCG(1, 2))
	write := func(name string, size int) string {
		p := make([]byte, size)
		for i := range 5 { // some of it: the rest stays zero
			at := random.IntN(size - 1000)
			for j := range 1000 {
				p[at+j] = byte(i + 1)
			}
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, p, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	base, top := write("base.raw", 3<<20), filepath.Join(dir, "top.qcow2")
	size := int64(3 << 20)
	if err := Create(ctx, CreateOptions{Session: s, Filename: top, Format: "qcow2", Size: &size, Backing: base, BackingFormat: "raw"}); err != nil {
		t.Fatal(err)
	}
	read := func() []byte {
		out := filepath.Join(dir, "out.raw")
		if _, err := DD(ctx, DDOptions{Session: s, Source: Source{Filename: top}, Target: out, BlockSize: 512, Count: -1}); err != nil {
			t.Fatal(err)
		}
		p, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := read()
	for _, to := range []string{write("short.raw", 1<<20), write("long.raw", 5<<20), base, ""} {
		o := RebaseOptions{Session: s, Image: Source{Filename: top}, Backing: to}
		if to != "" {
			o.BackingFormat = "raw"
		}
		if err := Rebase(ctx, o); err != nil {
			t.Fatalf("rebase to %q: %v", to, err)
		}
		if !bytes.Equal(read(), before) {
			t.Fatalf("after the rebase to %q the image reads differently", to)
		}
	}
}
