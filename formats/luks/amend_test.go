package luks

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

func openWith(t testing.TB, file blockdev.Node, id string) (*Image, error) {
	t.Helper()
	return Open(context.Background(), blockdev.OpenRequest{Filename: "test", File: file, Options: blockdev.Values{"key-secret": id}, Mode: blockdev.Mode{Writable: true}})
}

func amend(t testing.TB, im *Image, force bool, o blockdev.Options) error {
	t.Helper()
	if _, ok := o["new-secret"]; ok {
		o["iter-time"] = "1"
	}
	v, err := amendOptions.Parse(o)
	if err != nil {
		t.Fatal(err)
	}
	return im.Amend(context.Background(), blockdev.AmendOptions{Values: v, Force: force})
}

// TestAmend goes through a history of key slots; the refusals are QEMU's.
func TestAmend(t *testing.T) {
	file := blocktest.NewMemory(newImage(t))
	im, err := openWith(t, file, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		o     blockdev.Options
		force bool
		want  string
	}{
		{o: blockdev.Options{}},
		{o: blockdev.Options{"keyslot": "2"}, want: "Parameter 'state' is missing"},
		{o: blockdev.Options{"state": "foo"}, want: "Parameter 'state' does not accept value 'foo'"},
		{o: blockdev.Options{"state": "active"}, want: "'new-secret' is required to activate a keyslot"},
		{o: blockdev.Options{"state": "active", "new-secret": "none"}, want: "No secret with id 'none'"},
		{o: blockdev.Options{"state": "active", "new-secret": "wrong", "old-secret": "test"}, want: "'old-secret' must not be given when activating keyslots"},
		{o: blockdev.Options{"state": "active", "new-secret": "wrong", "keyslot": "8"}, want: "Invalid keyslot 8 specified, must be between 0 and 7"},
		{o: blockdev.Options{"state": "active", "new-secret": "wrong", "keyslot": "-1"}, want: "Invalid keyslot -1 specified, must be between 0 and 7"},
		{o: blockdev.Options{"state": "active", "new-secret": "wrong", "keyslot": "0"}, want: "Refusing to overwrite active keyslot 0 - please erase it first"},
		{o: blockdev.Options{"state": "inactive", "keyslot": "0"},
			want: "Attempt to erase the only active keyslot 0 which will erase all the data in the image irreversibly - refusing operation"},
		{o: blockdev.Options{"state": "inactive", "old-secret": "test"},
			want: "All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation"},
		{o: blockdev.Options{"state": "inactive", "old-secret": "wrong"}, want: "No keyslots match given (old) password for erase operation"},
		{o: blockdev.Options{"state": "inactive"},
			want: "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given"},
		{o: blockdev.Options{"state": "inactive", "new-secret": "wrong"}, want: "'new-secret' must not be given when erasing keyslots"},
		{o: blockdev.Options{"state": "inactive", "iter-time": "4"}, want: "'iter-time' must not be given when erasing keyslots"},
		{o: blockdev.Options{"state": "inactive", "keyslot": "5"}, want: "Given keyslot 5 is already erased (inactive) "},
		{o: blockdev.Options{"state": "active", "new-secret": "wrong", "keyslot": "6"}},
		{o: blockdev.Options{"state": "active", "new-secret": "wrong"}},
		{o: blockdev.Options{"state": "inactive", "old-secret": "wrong"}},
		{o: blockdev.Options{"state": "active", "new-secret": "wrong", "keyslot": "0"}, force: true},
	} {
		if err := amend(t, im, step.force, step.o); blockdev.Message(err) != step.want {
			t.Errorf("%v: %v, want %q", step.o, err, step.want)
		}
	}
	if _, err := openWith(t, file, "wrong"); err != nil {
		t.Errorf("the new passphrase: %v", err)
	}
	if _, err := openWith(t, file, "test"); !errors.Is(err, blockdev.ErrDenied) {
		t.Errorf("the old passphrase: %v", err)
	}
	for range slotCount - 1 {
		if err := amend(t, im, false, blockdev.Options{"state": "active", "new-secret": "test"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := amend(t, im, false, blockdev.Options{"state": "active", "new-secret": "test"}); blockdev.Message(err) != "Can't add a keyslot - all keyslots are in use" {
		t.Error(err)
	}
}

const slotCount = 8

// TestACrashWhileAmendingKeepsAKey replays every write of a change of passphrase: one of
// the two opens the volume at any time.
func TestACrashWhileAmendingKeepsAKey(t *testing.T) {
	rec := blocktest.NewRecorder(newImage(t))
	im, err := openWith(t, rec, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []blockdev.Options{
		{"state": "active", "new-secret": "wrong", "keyslot": "6"},
		{"state": "inactive", "keyslot": "0"},
		{"state": "active", "new-secret": "test", "keyslot": "6"},
	} {
		if err := amend(t, im, true, o); err != nil {
			t.Fatal(err)
		}
	}
	err = rec.Replay(blocktest.ReplayOptions{Subsets: 2}, func(file *blocktest.Memory, _ int) error {
		_, err := openWith(t, file, "test")
		if errors.Is(err, blockdev.ErrDenied) {
			_, err = openWith(t, file, "wrong")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOthersOpenAmended has cryptsetup and QEMU try the passphrases.
func TestOthersOpenAmended(t *testing.T) {
	peer.Need(t, "cryptsetup", "qemu-img")
	file := blocktest.NewMemory(newImage(t))
	im, err := openWith(t, file, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := amend(t, im, false, blockdev.Options{"state": "active", "new-secret": "wrong", "keyslot": "6"}); err != nil {
		t.Fatal(err)
	}
	if err := amend(t, im, false, blockdev.Options{"state": "inactive", "old-secret": "test"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image, key := write(t, filepath.Join(dir, "image"), file.Bytes()), write(t, filepath.Join(dir, "key"), []byte("wrong"))
	peer.Run(t, "cryptsetup", "open", "--test-passphrase", "--key-slot", "6", "--key-file", key, image)
	peer.Run(t, "qemu-img", "map", "--object", "secret,id=test,data=wrong", "--output=json", "--image-opts", description(image))
	sameInfo(t, image)
}
