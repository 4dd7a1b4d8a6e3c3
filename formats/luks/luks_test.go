package luks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/blockdev/file" // images lie in files, for others to see them
	"github.com/qmon/qmon/blockdev/secret"
	"github.com/qmon/qmon/formats/formattest"
	"github.com/qmon/qmon/formats/internal/sectors"
	_ "github.com/qmon/qmon/formats/raw" // what is converted
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/peer"
)

const (
	password = "correct horse battery staple"
	object   = "secret,id=test,data=" + password
)

func TestMain(m *testing.M) {
	if err := secret.Add("test", []byte(password)); err != nil {
		panic(err)
	}
	if err := secret.Add("wrong", []byte("wrong")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// quick are options that make deriving keys quick.
func quick(more ...string) blockdev.Options {
	o := blockdev.Options{"key-secret": "test", "iter-time": "1"}
	for _, m := range more {
		k, v, _ := strings.Cut(m, "=")
		o[k] = v
	}
	return o
}

func TestConformance(t *testing.T) {
	formattest.Run(t, formattest.Format{Driver: "luks", CreateOptions: quick(),
		OpenOptions: blockdev.Options{"key-secret": "test"}, Undefined: true, Size: 1<<20 + 512})
}

// ciphers are sets of options for each way to encrypt.
var ciphers = [][]string{
	nil,
	{"cipher-alg=aes-128"},
	{"cipher-alg=aes-192"},
	{"cipher-alg=aes-128", "ivgen-alg=plain", "hash-alg=sha1"},
	{"cipher-mode=cbc"},
	{"cipher-mode=cbc", "ivgen-alg=essiv", "hash-alg=sha512"},
	{"cipher-mode=cbc", "ivgen-alg=plain", "cipher-alg=aes-128"},
	{"cipher-mode=ecb"},
	{"cipher-mode=ctr", "ivgen-alg=essiv", "ivgen-hash-alg=sha256"},
	{"ivgen-alg=essiv"},
	{"cipher-alg=serpent-256", "hash-alg=ripemd160"},
	{"cipher-alg=serpent-128", "cipher-mode=cbc", "ivgen-alg=essiv", "ivgen-hash-alg=md5", "hash-alg=md5"},
	{"cipher-alg=twofish-256"},
	{"cipher-alg=twofish-128", "cipher-mode=cbc", "ivgen-alg=plain"},
	{"cipher-alg=cast5-128", "cipher-mode=cbc"},
	{"cipher-alg=cast5-128", "cipher-mode=ctr", "ivgen-alg=essiv", "ivgen-hash-alg=md5"},
}

// disk is what images hold.
func disk() []byte {
	b := make([]byte, 300<<10)
	for i := range b {
		b[i] = byte(i / 512 * 7)
	}
	clear(b[100<<10 : 200<<10])
	return b
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// description is the image as --image-opts has it.
func description(image string) string {
	return "driver=luks,key-secret=test,file.filename=" + image
}

// TestImagesOfOthers reads what cryptsetup and QEMU made: testdata/luks/make.sh says how.
func TestImagesOfOthers(t *testing.T) {
	list, err := os.ReadFile("../../testdata/luks/contents.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		b := peer.Gunzip(t, "../../testdata/luks/"+name)
		im, err := Open(t.Context(), blockdev.OpenRequest{Filename: name, File: blocktest.NewMemory(b), Options: blockdev.Values{"key-secret": "test"}})
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, im.Size())
		if _, err := im.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(p)); got != want {
			t.Errorf("%s: checksum %s, want %s", name, got, want)
		}
	}
}

// TestQEMUReadsOurs compares what QEMU reads, and what both tell of the header.
func TestQEMUReadsOurs(t *testing.T) {
	peer.Need(t, "qemu-img")
	for _, o := range ciphers {
		t.Run(strings.Join(o, " "), func(t *testing.T) {
			dir := t.TempDir()
			image, raw := filepath.Join(dir, "image"), write(t, filepath.Join(dir, "raw"), disk())
			convert(t, raw, image, quick(o...))
			peer.Run(t, "qemu-img", "compare", "--object", object, "--image-opts", description(image), "driver=raw,file.filename="+raw)
			sameInfo(t, image)
		})
	}
}

func convert(t *testing.T, raw, image string, o blockdev.Options) {
	t.Helper()
	err := img.Convert(context.Background(), img.ConvertOptions{
		Sources: []img.Source{{Filename: raw, Format: "raw"}}, Target: img.Source{Filename: image, Format: "luks"}, Create: o,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sameInfo(t *testing.T, image string) {
	t.Helper()
	info, err := img.ReadInfo(context.Background(), img.InfoOptions{Image: img.Source{Filename: image}})
	if err != nil {
		t.Fatal(err)
	}
	for output, ours := range map[string]string{"human": info.Text(), "json": info.JSON()} {
		if d := cmp.Diff(peer.Run(t, "qemu-img", "info", "--output="+output, image), ours); d != "" {
			t.Errorf("info (-theirs +ours)\n%s", d)
		}
	}
}

// TestWeReadQEMUs writes to its images too.
func TestWeReadQEMUs(t *testing.T) {
	blocktest.Sequential(t)
	peer.Need(t, "qemu-img")
	for _, o := range [][]string{nil, ciphers[5]} { // it takes seconds for each
		t.Run(strings.Join(o, " "), func(t *testing.T) {
			dir := t.TempDir()
			want := disk()
			image, raw := filepath.Join(dir, "image"), write(t, filepath.Join(dir, "raw"), want)
			options := strings.Join(append([]string{"key-secret=test", "iter-time=10"}, o...), ",")
			peer.Run(t, "qemu-img", "convert", "--object", object, "-f", "raw", "-O", "luks", "-o", options, raw, image)
			sameInfo(t, image)
			copy(want[1000:], bytes.Repeat([]byte{0xab}, 70000))
			change(t, image, want, 1000, 70000)
			write(t, raw, want)
			peer.Run(t, "qemu-img", "compare", "--object", object, "--image-opts", description(image), "driver=raw,file.filename="+raw)
		})
	}
}

// change writes a range of want to the image, and compares all of it.
func change(t *testing.T, image string, want []byte, off, n int) {
	t.Helper()
	var g blockdev.Graph
	v, err := g.Open(context.Background(), image, blockdev.OpenOptions{Driver: "luks",
		Options: blockdev.Options{"key-secret": "test"}, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt(want[off:off+n], int64(off)); err != nil {
		t.Error(err)
	}
	got := make([]byte, len(want))
	if _, err := v.Node.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("contents differ, %v", err)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

// TestCryptsetup opens ours, and we open its: the passphrase and the master key are
// compared, as mounting needs a kernel.
func TestCryptsetup(t *testing.T) {
	peer.Need(t, "cryptsetup")
	dir := t.TempDir()
	key := write(t, filepath.Join(dir, "key"), []byte(password))
	for _, mode := range []string{"xts-plain64", "cbc-essiv:sha256", "cbc-plain"} {
		t.Run(mode, func(t *testing.T) {
			image := write(t, filepath.Join(dir, strings.ReplaceAll(mode, ":", "-")), make([]byte, 4<<20))
			peer.Run(t, "cryptsetup", "-q", "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--cipher", "aes-"+mode, "--key-file", key, image)
			sameMasterKey(t, image, key)
		})
	}
	image, raw := filepath.Join(dir, "ours"), write(t, filepath.Join(dir, "raw"), disk())
	convert(t, raw, image, quick())
	peer.Run(t, "cryptsetup", "open", "--test-passphrase", "--key-file", key, image)
	sameMasterKey(t, image, key)
}

func sameMasterKey(t *testing.T, image, keyFile string) {
	t.Helper()
	master := filepath.Join(t.TempDir(), "master")
	peer.Run(t, "cryptsetup", "-q", "luksDump", "--dump-master-key", "--master-key-file", master, "--key-file", keyFile, image)
	want, err := os.ReadFile(master)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(t.Context(), blockdev.OpenRequest{Filename: image, File: blocktest.NewMemory(b), Options: blockdev.Values{"key-secret": "test"}})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := sectors.New(im.header.Spec, want)
	if err != nil {
		t.Fatal(err)
	}
	got, expected := make([]byte, sectorSize), make([]byte, sectorSize)
	im.cipher.Encrypt(got, 7)
	theirs.Encrypt(expected, 7)
	if !bytes.Equal(got, expected) {
		t.Error("the master key is not cryptsetup's")
	}
}

func TestKeysThatDoNotOpen(t *testing.T) {
	b := newImage(t)
	for id, want := range map[string]string{
		"":        "Parameter 'key-secret' is required for cipher",
		"missing": "No secret with id 'missing'",
		"wrong":   "Invalid password, cannot unlock any keyslot",
	} {
		_, err := Open(t.Context(), blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(b), Options: blockdev.Values{"key-secret": id}})
		if blockdev.Message(err) != want {
			t.Errorf("%q: %v, want %q", id, err, want)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	for option, want := range map[string]string{
		"cipher-alg=foo":    "Parameter 'cipher-alg' does not accept value 'foo'",
		"cipher-mode=foo":   "Parameter 'cipher-mode' does not accept value 'foo'",
		"ivgen-alg=foo":     "Parameter 'ivgen-alg' does not accept value 'foo'",
		"hash-alg=foo":      "Parameter 'hash-alg' does not accept value 'foo'",
		"cipher-alg=3des":   "Algorithm '3des' not supported",
		"iter-time=60001":   "iter-time is more than 60000 milliseconds",
		"preallocation=foo": "invalid parameter value: foo",
		"key-secret=":       "Parameter 'key-secret' is required for cipher",
		"key-secret=none":   "No secret with id 'none'",
	} {
		v, err := createOptions.Parse(quick(option))
		if err != nil {
			t.Fatal(err)
		}
		err = Create(t.Context(), blockdev.CreateRequest{Filename: "test", Size: 1 << 20, File: &blocktest.Memory{}, Options: v})
		if blockdev.Message(err) != want {
			t.Errorf("%s: %v, want %q", option, err, want)
		}
	}
}

func newImage(t testing.TB) []byte {
	t.Helper()
	v, err := createOptions.Parse(quick())
	if err != nil {
		t.Fatal(err)
	}
	file := &blocktest.Memory{}
	if err := Create(context.Background(), blockdev.CreateRequest{Filename: "test", Size: 64 << 10, File: file, Options: v}); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func set32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
}

func setText(off int, v string) func([]byte) {
	return func(b []byte) { copy(b[off:], v) }
}

// Offsets in the header, section 3 of the specification; slots are 48 bytes.
const (
	cipherName, cipherMode, hashSpec, payload, keyBytes, digestIter = 8, 40, 72, 104, 108, 164
	slot0, slot1, slotIter, slotOffset, slotStripes                 = 208, 256, 4, 40, 44
)

var damages = []formattest.Damage{
	{Name: "magic", Do: setText(0, "X"), Kind: blockdev.ErrFormat, Text: "Volume is not in LUKS format"},
	{Name: "version", Do: setText(6, "\x00\x03"), Kind: blockdev.ErrNotSupported, Text: "LUKS version 3 is not supported"},
	{Name: "cipher endless", Do: setText(cipherName, strings.Repeat("a", 32)), Kind: blockdev.ErrCorrupt, Text: "LUKS header cipher name is not NUL terminated"},
	{Name: "mode endless", Do: setText(cipherMode, strings.Repeat("a", 32)), Kind: blockdev.ErrCorrupt, Text: "LUKS header cipher mode is not NUL terminated"},
	{Name: "hash endless", Do: setText(hashSpec, strings.Repeat("a", 32)), Kind: blockdev.ErrCorrupt, Text: "LUKS header hash spec is not NUL terminated"},
	{Name: "cipher", Do: setText(cipherName, "foo\x00"), Kind: blockdev.ErrNotSupported, Text: "Algorithm 'foo' with key size 32 bytes not supported"},
	{Name: "mode without IV", Do: setText(cipherMode, "foo\x00"), Kind: blockdev.ErrCorrupt, Text: "Unexpected cipher mode string format 'foo'"},
	{Name: "IV", Do: setText(cipherMode, "xts-foo\x00"), Kind: blockdev.ErrNotSupported, Text: "IV generator 'foo' not supported"},
	{Name: "essiv without hash", Do: setText(cipherMode, "xts-essiv\x00"), Kind: blockdev.ErrNotSupported, Text: "Missing IV generator hash specification"},
	{Name: "essiv with foo", Do: setText(cipherMode, "xts-essiv:foo\x00"), Kind: blockdev.ErrNotSupported, Text: "Hash algorithm 'foo' not supported"},
	{Name: "essiv with sha1", Do: setText(cipherMode, "xts-essiv:sha1\x00"), Kind: blockdev.ErrNotSupported, Text: "No AES cipher with key size 20 available"},
	{Name: "hash", Do: setText(hashSpec, "foo\x00"), Kind: blockdev.ErrNotSupported, Text: "Hash algorithm 'foo' not supported"},
	{Name: "key of 0", Do: set32(keyBytes, 0), Kind: blockdev.ErrNotSupported, Text: "Algorithm 'aes' with key size 0 bytes not supported"},
	{Name: "key of 16", Do: set32(keyBytes, 16), Kind: blockdev.ErrNotSupported, Text: "Algorithm 'aes' with key size 8 bytes not supported"},
	{Name: "key odd", Do: set32(keyBytes, 33), Kind: blockdev.ErrCorrupt, Text: "XTS cipher key length should be a multiple of 2", Ours: true},
	{Name: "key huge", Do: set32(keyBytes, 0xfffffffe), Kind: blockdev.ErrNotSupported, Text: "Algorithm 'aes' with key size 2147483647 bytes not supported", Ours: true},
	{Name: "payload 0", Do: set32(payload, 0), Kind: blockdev.ErrCorrupt, Text: "LUKS payload is overlapping with the header"},
	{Name: "payload over slot", Do: set32(payload, 4030), Kind: blockdev.ErrCorrupt, Text: "Keyslot 7 is overlapping with the encrypted payload"},
	{Name: "payload past the end", Do: set32(payload, 0xffffffff), Kind: blockdev.ErrCorrupt, Text: "LUKS payload, at 2199023255040, is not in the file", Ours: true},
	{Name: "digest iterations 0", Do: set32(digestIter, 0), Kind: blockdev.ErrCorrupt, Text: "LUKS key iteration count is zero"},
	{Name: "digest iterations huge", Do: set32(digestIter, 0xffffffff), Kind: blockdev.ErrLimit, Text: "LUKS key asks for 4294967295 iterations, more than 134217728", Ours: true},
	{Name: "slot state", Do: set32(slot0, 5), Kind: blockdev.ErrCorrupt, Text: "Keyslot 0 state (active/disable) is corrupted"},
	{Name: "slot iterations 0", Do: set32(slot0+slotIter, 0), Kind: blockdev.ErrCorrupt, Text: "Keyslot 0 iteration count is zero"},
	{Name: "slot iterations huge", Do: set32(slot0+slotIter, 1<<30), Kind: blockdev.ErrLimit, Text: "Keyslot 0 asks for 1073741824 iterations, more than 134217728", Ours: true},
	{Name: "slot over the header", Do: set32(slot0+slotOffset, 0), Kind: blockdev.ErrCorrupt, Text: "Keyslot 0 is overlapping with the LUKS header"},
	{Name: "slot past the payload", Do: set32(slot0+slotOffset, 0xffffffff), Kind: blockdev.ErrCorrupt, Text: "Keyslot 0 is overlapping with the encrypted payload", Ours: true},
	{Name: "slot over slot", Do: set32(slot1+slotOffset, 9), Kind: blockdev.ErrCorrupt, Text: "Keyslots 0 and 1 are overlapping in the header"},
	{Name: "stripes", Do: set32(slot1+slotStripes, 1), Kind: blockdev.ErrCorrupt, Text: "Keyslot 1 is corrupted (stripes 1 != 4000)"},
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	formattest.RunDamages(t, "luks", newImage(t), damages)
}

// FuzzHeader opens for metadata only: deriving keys would take all the time.
func FuzzHeader(f *testing.F) {
	image := newImage(f)
	f.Add(image[:600])
	for _, d := range damages {
		b := bytes.Clone(image[:600])
		d.Do(b)
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, head []byte) {
		b := bytes.Clone(image)
		copy(b, head)
		im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(b), Mode: blockdev.Mode{NoIO: true}})
		if err == nil {
			_, _ = im.Info()
			_, _ = im.ReadAt(make([]byte, 1), 0)
		}
	})
}

func BenchmarkReadXTS(b *testing.B) {
	v, _ := createOptions.Parse(quick())
	file := &blocktest.Memory{}
	if err := Create(context.Background(), blockdev.CreateRequest{Size: 2 << 20, File: file, Options: v}); err != nil {
		b.Fatal(err)
	}
	im, err := Open(context.Background(), blockdev.OpenRequest{File: file, Options: blockdev.Values{"key-secret": "test"}})
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 2<<20)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := im.ReadAt(p, 0); err != nil {
			b.Fatal(fmt.Errorf("read: %w", err))
		}
	}
}
