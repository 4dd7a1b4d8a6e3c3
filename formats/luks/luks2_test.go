package luks

import (
	"bytes"
	"context"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

const (
	// quickArgon makes cryptsetup's key slots quick to open; the type comes before.
	quickArgon = " --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"
	pbkdf2     = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
)

// luks2Options are cryptsetup's for each way to encrypt; other ciphers are left out, as not
// every Linux has them.
var luks2Options = []string{
	"--pbkdf argon2id --sector-size 4096" + quickArgon,
	"--pbkdf argon2i --sector-size 512 --key-size 256" + quickArgon,
	"--pbkdf argon2id --pbkdf-memory 64 --pbkdf-parallel 3 --pbkdf-force-iterations 5 --sector-size 1024",
	pbkdf2 + " --hash sha512 --sector-size 2048",
	pbkdf2 + " --sector-size 512 --cipher aes-cbc-essiv:sha256 --key-size 256",
}

// volume is one that cryptsetup made of a disk, with its header apart: then it encrypts, and
// decrypts, without a device of Linux.
type volume struct {
	t                 *testing.T
	image, head, keys string
}

func newVolume(t *testing.T, disk []byte, options string) volume {
	t.Helper()
	peer.Need(t, "cryptsetup")
	dir := t.TempDir()
	v := volume{t, write(t, filepath.Join(dir, "image"), disk), write(t, filepath.Join(dir, "head"), make([]byte, 16<<20)), write(t, filepath.Join(dir, "key"), []byte(password))}
	v.cryptsetup(append([]string{"reencrypt", "--encrypt", "--type", "luks2", "--luks2-keyslots-size", "768k", "--header", v.head}, append(strings.Fields(options), v.image)...)...)
	return v
}

func (v volume) cryptsetup(args ...string) {
	v.t.Helper()
	peer.Run(v.t, "cryptsetup", append([]string{"-q", "--key-file", v.keys}, args...)...)
}

// open opens it from memory; the header cannot be written.
func (v volume) open() (*Image, *blocktest.Memory) {
	v.t.Helper()
	file, head := loadMemory(v.t, v.image), loadMemory(v.t, v.head)
	im, err := Open(v.t.Context(), blockdev.OpenRequest{Filename: v.image, File: file, Mode: blockdev.Mode{Writable: true},
		Options:   blockdev.Values{"key-secret": "test"},
		OpenChild: childIs(head)})
	if err != nil {
		v.t.Fatal(err)
	}
	return im, file
}

// childIs opens one child, whatever its name.
func childIs(n blockdev.Node) func(context.Context, string) (blockdev.Node, error) {
	return func(context.Context, string) (blockdev.Node, error) { return n, nil }
}

func loadMemory(t *testing.T, name string) *blocktest.Memory {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return blocktest.NewMemory(b)
}

// TestLUKS2BothWays reads what cryptsetup encrypted, writes, and has cryptsetup decrypt it.
func TestLUKS2BothWays(t *testing.T) {
	blocktest.Sequential(t)
	for i, options := range luks2Options {
		t.Run(options, func(t *testing.T) {
			model := disk()
			v := newVolume(t, model, options)
			im, file := v.open()
			same(t, im, model)
			r := rand.New(rand.NewSource(int64(i)))
			for range 20 {
				off := r.Intn(len(model))
				p := model[off : off+min(r.Intn(50<<10)+1, len(model)-off)]
				r.Read(p)
				if _, err := im.WriteAt(p, int64(off)); err != nil {
					t.Fatal(err)
				}
			}
			same(t, im, model)
			write(t, v.image, file.Bytes())
			v.cryptsetup("reencrypt", "--decrypt", "--force-offline-reencrypt", "--header", v.head, v.image)
			if !bytes.Equal(loadMemory(t, v.image).Bytes(), model) {
				t.Error("cryptsetup reads something else")
			}
		})
	}
}

func same(t *testing.T, im *Image, want []byte) {
	t.Helper()
	got := make([]byte, im.Size())
	if _, err := im.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("it reads as something else, %v", err)
	}
}

// TestLUKS2KeySlots: a second passphrase opens it, a wrong one does not, nor does one whose
// slot is to be ignored; and slots are not changed.
func TestLUKS2KeySlots(t *testing.T) {
	v := newVolume(t, disk(), pbkdf2)
	other := write(t, v.keys+"2", []byte("wrong"))
	openWith := func(id string) string {
		_, err := Open(t.Context(), blockdev.OpenRequest{Filename: "a", File: loadMemory(t, v.image), OpenChild: childIs(loadMemory(t, v.head)),
			Options: blockdev.Values{"key-secret": id}})
		return blockdev.Message(err)
	}
	const refused = "Invalid password, cannot unlock any keyslot"
	if got := openWith("wrong"); got != refused {
		t.Errorf("a wrong passphrase: %q", got)
	}
	v.cryptsetup("luksAddKey", "--pbkdf", "argon2id", "--pbkdf-memory", "32", "--pbkdf-parallel", "1", "--pbkdf-force-iterations", "4", v.head, other)
	if got := openWith("wrong"); got != "" {
		t.Errorf("a passphrase of slot 1: %q", got)
	}
	v.cryptsetup("config", "--key-slot", "1", "--priority", "ignore", v.head)
	if got := openWith("wrong"); got != refused {
		t.Errorf("a passphrase of a slot to ignore: %q", got)
	}
	im, _ := v.open()
	if err := im.Amend(t.Context(), blockdev.AmendOptions{Values: blockdev.Values{"state": "inactive"}}); blockdev.Message(err) != "Key slots of LUKS version 2 cannot be changed" {
		t.Errorf("amend: %v", err)
	}
}

// TestLUKS2WhatIsRefused has cryptsetup make volumes that are not read.
func TestLUKS2WhatIsRefused(t *testing.T) {
	v := newVolume(t, disk(), pbkdf2)
	v.cryptsetup("reencrypt", "--init-only", "--force-offline-reencrypt", "--header", v.head, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", v.image)
	_, err := Open(t.Context(), blockdev.OpenRequest{Filename: "a", File: loadMemory(t, v.image), OpenChild: childIs(loadMemory(t, v.head))})
	if want := "LUKS2 volume requires 'online-reencrypt-v2', which is not supported"; blockdev.Message(err) != want {
		t.Errorf("%v, want %q", err, want)
	}
}
