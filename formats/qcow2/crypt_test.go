package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/blockdev/secret"
	"github.com/qmon/qmon/internal/peer"
)

const (
	cryptSecret   = "qcow2-test"
	cryptPassword = "correct horse battery staple"
	cryptObject   = "secret,id=" + cryptSecret + ",data=" + cryptPassword
)

// keyed are options to open an encrypted image with.
var keyed = blockdev.Values{"encrypt.key-secret": cryptSecret}

func init() {
	for id, password := range map[string]string{cryptSecret: cryptPassword, "qcow2-other": "other"} {
		if err := secret.Add(id, []byte(password)); err != nil {
			panic(err)
		}
	}
}

func luksOptions(more ...string) blockdev.Options {
	o := blockdev.Options{"encrypt.format": "luks", "encrypt.key-secret": cryptSecret, "encrypt.iter-time": "0"}
	for _, m := range more {
		k, v, _ := strings.Cut(m, "=")
		o[k] = v
	}
	return o
}

var aesOptions = blockdev.Options{"encrypt.format": "aes", "encrypt.key-secret": cryptSecret}

func openKeyed(t testing.TB, file blockdev.Node, mode blockdev.Mode, id string) (*Image, error) {
	t.Helper()
	return Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: file, Mode: mode, Options: blockdev.Values{"encrypt.key-secret": id}})
}

func mustOpenKeyed(t testing.TB, file blockdev.Node) *Image {
	t.Helper()
	im, err := openKeyed(t, file, writable, cryptSecret)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// imageOpts describe an encrypted image as --image-opts has it.
func imageOpts(image string) string {
	return "driver=qcow2,encrypt.key-secret=" + cryptSecret + ",file.filename=" + image
}

// fillAll writes data, leaves holes, and makes a snapshot with a machine's state.
func fillAll(t *testing.T, im *Image, model []byte, seed int64) {
	t.Helper()
	r := rand.New(rand.NewSource(seed))
	for i := range 30 {
		off := r.Intn(len(model))
		p := pattern(i, min(r.Intn(200<<10)+1, len(model)-off))
		copy(model[off:], p)
		if _, err := im.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := im.WriteVMState([]byte("state of a machine"), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: fmt.Sprint(seed), VMStateSize: 100}); err != nil {
		t.Fatal(err)
	}
}

// TestEncryptedImagesBothWays has QEMU read and go on with what we wrote, and back. The
// clusters that a snapshot shares move, so IVs by host offset and by guest offset differ.
func TestEncryptedImagesBothWays(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io")
	for i, o := range []blockdev.Options{
		aesOptions,
		luksOptions(),
		luksOptions("compat=0.10", "encrypt.cipher-alg=aes-128"),
		luksOptions("cluster_size=4k", "encrypt.cipher-mode=cbc", "encrypt.ivgen-alg=essiv", "encrypt.hash-alg=sha1"),
		luksOptions("cluster_size=512", "encrypt.cipher-alg=twofish-256"),
	} {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			m := &blocktest.Memory{}
			model := make([]byte, 1<<20+512)
			createIn(t, m, int64(len(model)), o, blockdev.Reference{})
			im := mustOpenKeyed(t, m)
			fillAll(t, im, model, int64(i))
			checkClean(t, im)
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			image := save(t, m)
			sameEncrypted(t, image, model)
			// 70000 bytes of 0xa5 at 1000, not whole sectors, and zeroes.
			peer.Run(t, "qemu-io", "--object", cryptObject, "--image-opts", "-c", "write -P 0xa5 1000 70000", "-c", "write -z 300k 100k", imageOpts(image))
			copy(model[1000:], bytes.Repeat([]byte{0xa5}, 70000))
			clear(model[300<<10 : 400<<10])
			m = loadFile(t, image)
			im = mustOpenKeyed(t, m)
			compareWith(t, im, model)
			fillAll(t, im, model, int64(i+100))
			checkClean(t, im)
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			sameEncrypted(t, save(t, m), model)
		})
	}
}

// sameEncrypted compares what qemu-img reads, and what it tells and finds.
func sameEncrypted(t *testing.T, image string, want []byte) {
	t.Helper()
	raw := filepath.Join(filepath.Dir(image), "out.raw")
	peer.Run(t, "qemu-img", "convert", "--object", cryptObject, "--image-opts", "-O", "raw", imageOpts(image), raw)
	if got := loadFile(t, raw).Bytes(); !bytes.Equal(got, want) {
		t.Error("QEMU reads something else")
	}
	peer.Run(t, "qemu-img", "check", "--object", cryptObject, "--image-opts", imageOpts(image))
}

func TestNothingIsWrittenInPlain(t *testing.T) {
	secretText := bytes.Repeat([]byte("secret and easily compressed. "), 4000)
	for _, o := range []blockdev.Options{aesOptions, luksOptions()} {
		m := &blocktest.Memory{}
		createIn(t, m, 1<<20, o, blockdev.Reference{})
		im := mustOpenKeyed(t, m)
		if err := im.WriteCompressed(secretText[:64<<10], 0); err != nil {
			t.Fatal(err)
		}
		if _, err := im.WriteAt(secretText, 100<<10); err != nil {
			t.Fatal(err)
		}
		if _, err := im.WriteVMState(secretText, 0); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 64<<10)
		if _, err := im.ReadAt(got, 0); err != nil || !bytes.Equal(got, secretText[:64<<10]) {
			t.Errorf("what was to be compressed reads as something else, %v", err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(m.Bytes(), []byte("easily")) {
			t.Error("the file holds the data as it is")
		}
	}
}

func TestPreallocatedEncryptedImagesReadAsZeroes(t *testing.T) {
	for _, compat := range []string{"v2", "v3"} {
		for _, mode := range []string{"metadata", "falloc", "full"} {
			m := &blocktest.Memory{}
			createIn(t, m, 300<<10, luksOptions("compat="+compat, "preallocation="+mode), blockdev.Reference{})
			im := mustOpenKeyed(t, m)
			compareWith(t, im, make([]byte, 300<<10))
			checkClean(t, im)
		}
	}
}

func TestEncryptionRefuses(t *testing.T) {
	for _, c := range []struct {
		o    blockdev.Options
		want string
	}{
		{blockdev.Options{"encryption": "on"}, "Parameter 'encrypt.key-secret' is required for cipher"},
		{blockdev.Options{"encrypt.format": "luks"}, "Parameter 'encrypt.key-secret' is required for cipher"},
		{blockdev.Options{"encrypt.format": "foo"}, "Parameter 'format' does not accept value 'foo'"},
		{blockdev.Options{"encrypt.format": "aes", "encryption": "on"}, "'encrypt.format' and its alias 'encryption' can't be used at the same time"},
		{blockdev.Options{"encrypt.key-secret": cryptSecret}, "Parameter 'encrypt.format' is missing"},
		{blockdev.Options{"encrypt.cipher-alg": "aes-128"}, "Parameter 'encrypt.format' is missing"},
		{blockdev.Options{"encrypt.format": "aes", "encrypt.key-secret": cryptSecret, "encrypt.cipher-alg": "aes-128"}, "Parameter 'encrypt.cipher-alg' is unexpected"},
		{luksOptions("encrypt.key-secret=nope"), "No secret with id 'nope'"},
		{luksOptions("encrypt.cipher-alg=foo"), "Parameter 'cipher-alg' does not accept value 'foo'"},
		{luksOptions("encrypt.cipher-alg=3des"), "Algorithm '3des' not supported"},
	} {
		v, err := createOptionTable.Parse(c.o)
		if err != nil {
			t.Fatal(err)
		}
		m := &blocktest.Memory{}
		err = Create(t.Context(), blockdev.CreateRequest{Filename: "a", Size: 1 << 20, File: m, Options: v})
		if blockdev.Message(err) != c.want {
			t.Errorf("%v: %v, want %q", c.o, err, c.want)
		}
	}
}

func TestOpenNeedsTheKey(t *testing.T) {
	for format, o := range map[string]blockdev.Options{"": nil, "aes": aesOptions, "luks": luksOptions()} {
		m := &blocktest.Memory{}
		createIn(t, m, 1<<20, o, blockdev.Reference{})
		for _, c := range []struct {
			format, id, want string
		}{
			{"", "", "Parameter 'encrypt.key-secret' is required for cipher"},
			{"", "nope", "No secret with id 'nope'"},
			{"luks", cryptSecret, "Header reported 'aes' encryption format but options specify 'luks'"},
			{"aes", cryptSecret, "Header reported 'luks' encryption format but options specify 'aes'"},
			{"", "qcow2-other", "Invalid password, cannot unlock any keyslot"},
		} {
			want := c.want
			switch {
			case format == "" && c.format != "":
				want = "No encryption in image header, but options specified format '" + c.format + "'"
			case format == "" || format == c.format || format == "aes" && c.id == "qcow2-other":
				want = "" // there is nothing to tell a wrong AES key by
			}
			_, err := Open(t.Context(), blockdev.OpenRequest{Filename: "a", File: m, Options: blockdev.Values{"encrypt.format": c.format, "encrypt.key-secret": c.id}})
			if blockdev.Message(err) != want {
				t.Errorf("%q opened with %+v: %v, want %q", format, c, err, want)
			}
		}
		if _, err := Open(t.Context(), blockdev.OpenRequest{Filename: "a", File: m, Mode: blockdev.Mode{NoIO: true}}); err != nil {
			t.Errorf("for info: %v", err)
		}
	}
}

// TestHostileEncryptionHeader damages the pointer to the LUKS header.
func TestHostileEncryptionHeader(t *testing.T) {
	m := &blocktest.Memory{}
	createIn(t, m, 1<<20, luksOptions(), blockdev.Reference{})
	image := m.Bytes()
	at := bytes.Index(image[:1<<16], []byte{0x05, 0x37, 0xbe, 0x77})
	area := binary.BigEndian.Uint64(image[at+8:])
	for _, c := range []struct {
		name string
		do   func(b []byte)
		want string
		ours bool
	}{
		{"method none", func(b []byte) { binary.BigEndian.PutUint32(b[offCryptMethod:], 0) }, "CRYPTO header extension only expected with LUKS encryption method", false},
		{"method AES", func(b []byte) { binary.BigEndian.PutUint32(b[offCryptMethod:], 1) }, "CRYPTO header extension only expected with LUKS encryption method", false},
		{"size", func(b []byte) { binary.BigEndian.PutUint32(b[at+4:], 15) }, "CRYPTO header extension size 15, but expected size 16", false},
		{"offset unaligned", func(b []byte) { binary.BigEndian.PutUint64(b[at+8:], area+512) },
			fmt.Sprintf("Encryption header offset '%d' is not a multiple of cluster size '65536'", area+512), false},
		{"offset 0", func(b []byte) { binary.BigEndian.PutUint64(b[at+8:], 0) }, "Encryption header of 2068480 bytes at offset 0 is not in the file", true},
		{"offset huge", func(b []byte) { binary.BigEndian.PutUint64(b[at+8:], 1<<63) }, "Encryption header of 2068480 bytes at offset 9223372036854775808 is not in the file", true},
		{"offset past the end", func(b []byte) { binary.BigEndian.PutUint64(b[at+8:], 1<<40) }, "Volume is not in LUKS format", true},
		{"length 0", func(b []byte) { binary.BigEndian.PutUint64(b[at+16:], 0) }, fmt.Sprintf("Encryption header of 0 bytes at offset %d is not in the file", area), true},
		{"length huge", func(b []byte) { binary.BigEndian.PutUint64(b[at+16:], 1<<63-1) }, fmt.Sprintf("Encryption header of 9223372036854775807 bytes at offset %d is not in the file", area), true},
		{"length short", func(b []byte) { binary.BigEndian.PutUint64(b[at+16:], 4096) }, "Encryption header has no 256000 bytes at offset 4096", true},
		{"LUKS magic", func(b []byte) { b[area] = 'X' }, "Volume is not in LUKS format", true},
		{"slot in the payload", func(b []byte) { binary.BigEndian.PutUint32(b[area+208+40:], 0xffffffff) }, "Keyslot 0 is overlapping with the encrypted payload", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(image)
			c.do(b)
			_, err := openKeyed(t, blocktest.NewMemory(b), blockdev.Mode{}, cryptSecret)
			if blockdev.Message(err) != c.want {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if c.ours {
				return
			}
			peer.Need(t, "qemu-io")
			out, _ := exec.Command("qemu-io", "--object", cryptObject, "--image-opts", "-c", "read 0 512", imageOpts(save(t, blocktest.NewMemory(b)))).CombinedOutput()
			if !strings.HasSuffix(strings.TrimSpace(string(out)), c.want) {
				t.Errorf("QEMU says %s", out)
			}
		})
	}
}

// TestAmendKeySlots changes the passphrase, which QEMU then takes.
func TestAmendKeySlots(t *testing.T) {
	m := &blocktest.Memory{}
	createIn(t, m, 1<<20, luksOptions(), blockdev.Reference{})
	im := mustOpenKeyed(t, m)
	if err := amend(t, im, blockdev.Options{"encrypt.state": "active", "encrypt.new-secret": "qcow2-other", "encrypt.iter-time": "0"}); err != nil {
		t.Fatal(err)
	}
	if err := amend(t, im, blockdev.Options{"encrypt.state": "inactive", "encrypt.keyslot": "0"}); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeyed(t, m, writable, cryptSecret); blockdev.Message(err) != "Invalid password, cannot unlock any keyslot" {
		t.Errorf("the old passphrase: %v", err)
	}
	im, err := openKeyed(t, m, writable, "qcow2-other")
	if err != nil {
		t.Fatal(err)
	}
	checkClean(t, im)
	t.Run("QEMU", func(t *testing.T) {
		peer.Need(t, "qemu-img")
		peer.Run(t, "qemu-img", "check", "--object", "secret,id="+cryptSecret+",data=other", "--image-opts", imageOpts(save(t, m)))
	})
	plain := &blocktest.Memory{}
	createIn(t, plain, 1<<20, nil, blockdev.Reference{})
	for file, want := range map[*blocktest.Memory]string{plain: "Can't amend encryption options - encryption not present", m: "Parameter 'state' is missing"} {
		im, err := openKeyed(t, file, writable, "qcow2-other")
		if err != nil {
			t.Fatal(err)
		}
		if err := amend(t, im, blockdev.Options{"encrypt.keyslot": "1"}); blockdev.Message(err) != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
