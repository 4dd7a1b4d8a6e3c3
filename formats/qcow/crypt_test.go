package qcow_test

import (
	"bytes"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/blockdev/secret"
	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/formats/qcow"
	"github.com/qmon/qmon/internal/peer"
)

const (
	cryptSecret   = "qcow-test"
	cryptPassword = "correct horse battery staple"
	cryptObject   = "secret,id=" + cryptSecret + ",data=" + cryptPassword
)

var keyed = blockdev.Values{"encrypt.key-secret": cryptSecret}

func init() {
	if err := secret.Add(cryptSecret, []byte(cryptPassword)); err != nil {
		panic(err)
	}
}

var encrypted = formattest.Format{
	Driver:        "qcow",
	CreateOptions: blockdev.Options{"encrypt.format": "aes", "encrypt.key-secret": cryptSecret},
	OpenOptions:   blockdev.Options{"encrypt.key-secret": cryptSecret},
}

func TestEncryptedConformance(t *testing.T) { formattest.Run(t, encrypted) }

func TestEncryptedImagesMadeByQEMU(t *testing.T) {
	formattest.RunGoldenIn(t, "qcow", "encrypted", keyed)
}

func TestEncryptedCrash(t *testing.T) {
	f := encrypted
	f.Size = 1<<20 + 512
	formattest.RunCrash(t, f, nil)
}

// create makes an encrypted image.
func create(t *testing.T, size int64) *blocktest.Memory {
	t.Helper()
	file := &blocktest.Memory{}
	v := blockdev.Values{"encryption": true, "encrypt.key-secret": cryptSecret}
	if err := qcow.Create(t.Context(), blockdev.CreateRequest{Filename: "test", Size: size, File: file, Options: v}); err != nil {
		t.Fatal(err)
	}
	return file
}

func open(t *testing.T, file blockdev.Node) *qcow.Image {
	t.Helper()
	im, err := qcow.Open(t.Context(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}, Options: keyed})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// writeAll writes at random places, not by sectors, and zeroes, and reads everything back.
func writeAll(t *testing.T, im *qcow.Image, model []byte, seed int64) {
	t.Helper()
	r := rand.New(rand.NewSource(seed))
	for i := range 30 {
		off := r.Intn(len(model))
		n := min(r.Intn(200<<10)+1, len(model)-off)
		if i%5 == 0 {
			clear(model[off : off+n])
			if err := im.WriteZeroes(int64(off), int64(n), blockdev.ZeroMayUnmap); err != nil {
				t.Fatal(err)
			}
			continue
		}
		r.Read(model[off : off+n])
		if _, err := im.WriteAt(model[off:off+n], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(model))
	if _, err := im.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
		t.Fatalf("it reads as something else, %v", err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEncryptedBothWays has QEMU read and go on with what we wrote, and back.
func TestEncryptedBothWays(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io")
	model := make([]byte, 3<<20+512)
	file := create(t, int64(len(model)))
	writeAll(t, open(t, file), model, 1)
	name := filepath.Join(t.TempDir(), "test.qcow")
	sameEncrypted(t, name, file, model)
	peer.Run(t, "qemu-io", "--object", cryptObject, "--image-opts", "-c", "write -P 0xa5 1000 70000", imageOpts(name))
	copy(model[1000:], bytes.Repeat([]byte{0xa5}, 70000))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file = blocktest.NewMemory(b)
	writeAll(t, open(t, file), model, 2)
	sameEncrypted(t, name, file, model)
}

// imageOpts describe an image as --image-opts has it.
func imageOpts(name string) string {
	return "driver=qcow,encrypt.key-secret=" + cryptSecret + ",file.filename=" + name
}

func sameEncrypted(t *testing.T, name string, file *blocktest.Memory, want []byte) {
	t.Helper()
	if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "qemu-img", "convert", "--object", cryptObject, "--image-opts", "-O", "raw", imageOpts(name), name+".raw")
	if got, err := os.ReadFile(name + ".raw"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("QEMU reads something else, %v", err)
	}
}

func TestNothingIsWrittenInPlain(t *testing.T) {
	text := bytes.Repeat([]byte("secret and easily compressed. "), 1000)
	file := create(t, 1<<20)
	im := open(t, file)
	if err := im.WriteCompressed(text[:4096], 0); err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt(text, 100<<10+100); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file.Bytes(), []byte("secret")) {
		t.Error("the file has it in plain")
	}
	got := make([]byte, 4096)
	if _, err := im.ReadAt(got, 0); err != nil || !bytes.Equal(got, text[:4096]) {
		t.Errorf("what was to be compressed reads as something else, %v", err)
	}
}

func TestEncryptionRefuses(t *testing.T) {
	const noKey, noFormat = "Parameter 'encrypt.key-secret' is required for cipher", "Parameter 'encrypt.format' is missing"
	d, err := blockdev.LookupDriver("qcow")
	if err != nil {
		t.Fatal(err)
	}
	plain, crypted := blockdev.Values{}, blockdev.Values{"encrypt.format": "aes", "encrypt.key-secret": cryptSecret}
	for _, c := range []struct{ create, open, want string }{
		{"encrypt.format=luks", "", "Unsupported encryption format"},
		{"encrypt.format=foo", "", "Parameter 'format' does not accept value 'foo'"},
		{"encryption=on", "", noKey},
		{"encrypt.key-secret=s", "", noFormat},
		{"encryption=off,encrypt.key-secret=s", "", noFormat},
		{"encryption=on,encrypt.format=aes", "", "'encrypt.format' and its alias 'encryption' can't be used at the same time"},
		{"encrypt.format=aes,encrypt.key-secret=nope", "", "No secret with id 'nope'"},
		{"aes", "", noKey},
		{"aes", "encrypt.key-secret=nope", "No secret with id 'nope'"},
		{"aes", "encrypt.format=luks", "Header reported 'aes' encryption format but options specify 'luks'"},
		{"plain", "encrypt.format=aes", "No encryption in image header, but options specified format 'aes'"},
	} {
		file := &blocktest.Memory{}
		r := blockdev.CreateRequest{Filename: "a", Size: 1 << 20, File: file}
		switch c.create {
		case "plain":
			r.Options = plain
		case "aes":
			r.Options = crypted
		default:
			r.Options = parse(t, d.CreateOptions, c.create)
		}
		err := qcow.Create(t.Context(), r)
		if err == nil {
			_, err = qcow.Open(t.Context(), blockdev.OpenRequest{Filename: "a", File: file, Options: parse(t, d.OpenOptions, c.open)})
		}
		if blockdev.Message(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func parse(t *testing.T, table blockdev.OptionTable, text string) blockdev.Values {
	t.Helper()
	o := blockdev.Options{}
	for pair := range strings.SplitSeq(text, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			o[k] = v
		}
	}
	v, err := table.Parse(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
