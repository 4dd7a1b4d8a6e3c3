package luks

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/sectors"
	"github.com/qmon/qmon/internal/peer"
)

// TestDetachedHeader opens a volume whose header cryptsetup put in a file of its own.
func TestDetachedHeader(t *testing.T) {
	peer.Need(t, "cryptsetup")
	dir := t.TempDir()
	key := write(t, filepath.Join(dir, "key"), []byte(password))
	head, image := filepath.Join(dir, "head"), write(t, filepath.Join(dir, "image"), make([]byte, 1<<20))
	peer.Run(t, "cryptsetup", "-q", "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--header", head, "--key-file", key, image)
	master := filepath.Join(dir, "master")
	peer.Run(t, "cryptsetup", "-q", "luksDump", "--dump-master-key", "--master-key-file", master, "--key-file", key, head)

	var g blockdev.Graph
	v, err := g.Open(context.Background(), "", blockdev.OpenOptions{
		Options: blockdev.Options{"driver": "luks", "key-secret": "test", "file.driver": "file", "file.filename": image,
			"header.driver": "file", "header.filename": head},
		Mode: blockdev.Mode{Writable: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.Node.Size() != 1<<20 {
		t.Errorf("a disk of %d bytes, want all of the file", v.Node.Size())
	}
	want := disk()
	if _, err := v.Node.WriteAt(want, 0); err != nil {
		t.Error(err)
	}
	spec := v.Node.(*Image).header.Spec
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
	// What lies in the file is what the master key decrypts.
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	k, err := os.ReadFile(master)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sectors.New(spec, k)
	if err != nil {
		t.Fatal(err)
	}
	if c.Decrypt(b, 0); !bytes.Equal(b[:len(want)], want) {
		t.Error("the file does not hold the disk")
	}
}
