package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
)

var (
	masterKey = []byte("\xff\x00 binary, as keys of AES are. !")
	iv        = []byte("fedcba9876543210")
)

// encrypted is a passphrase under masterKey, in base64.
func encrypted(t *testing.T, passphrase string) string {
	t.Helper()
	b, err := aes.NewCipher(masterKey)
	if err != nil {
		t.Fatal(err)
	}
	n := aes.BlockSize - len(passphrase)%aes.BlockSize
	p := append([]byte(passphrase), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(b, iv).CryptBlocks(p, p)
	return base64.StdEncoding.EncodeToString(p)
}

// TestEncryptedSecrets gives the same to QEMU, which makes an image with the passphrase, and
// tells the same errors.
func TestEncryptedSecrets(t *testing.T) {
	master := "secret,id=m,format=base64,data=" + base64.StdEncoding.EncodeToString(masterKey)
	iv64 := ",iv=" + base64.StdEncoding.EncodeToString(iv)
	for _, c := range []struct{ name, master, options, plain, want string }{
		{"short", master, "keyid=m,format=base64" + iv64 + ",data=" + encrypted(t, "hunter2"), "hunter2", ""},
		{"whole blocks", master, "keyid=m,format=base64" + iv64 + ",data=" + encrypted(t, "sixteen bytes...") + "\n", "sixteen bytes...", ""},
		{"no text", master, "keyid=m,format=base64" + iv64 + ",data=" + encrypted(t, "a\xff"), "", "Data from secret s is not valid UTF-8"},
		{"NUL", master, "keyid=m,format=base64" + iv64 + ",data=" + encrypted(t, "a\x00"), "", "Data from secret s is not valid UTF-8"},
		{"iv alone", master, "data=abc" + iv64, "abc", ""},
		{"raw", master, "keyid=m" + iv64 + ",data=" + encrypted(t, "hunter2"), "", "Length 24 must be a multiple of block size 16"},
		{"no IV", master, "keyid=m,format=base64,data=" + encrypted(t, "hunter2"), "", "IV is required to decrypt secret"},
		{"short IV", master, "keyid=m,iv=AAAA,format=base64,data=" + encrypted(t, "hunter2"), "", "IV should be 16 bytes in length not 3"},
		{"wrong IV", master, "keyid=m,iv=A!,format=base64,data=" + encrypted(t, "hunter2"), "", "Base64 data contains invalid characters"},
		{"short data", master, "keyid=m,format=base64,data=AAAA" + iv64, "", "Length 3 must be a multiple of block size 16"},
		{"no master", master, "keyid=x,format=base64,data=AAAA" + iv64, "", "No secret with id 'x'"},
		{"short master", "secret,id=m,data=short", "keyid=m,format=base64" + iv64 + ",data=" + encrypted(t, "hunter2"), "", "Key should be 32 bytes in length"},
		{"spaces", master, "format=base64,data=YW Jj", "", "Base64 data contains invalid characters"},
		{"padding", master, "keyid=m,format=base64" + iv64 + ",data=" + badPadding(t), "", "Incorrect number of padding bytes (32) found on decrypted data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			object := "secret,id=s," + c.options
			if err := Define(parse(c.master)); err != nil {
				t.Fatal(err)
			}
			defer Remove("m")
			defer Remove("s")
			var got []byte
			err := Define(parse(object))
			if err == nil {
				got, err = Lookup("s")
			}
			if blockdev.Message(err) != c.want || string(got) != c.plain {
				t.Errorf("%q, %v, want %q, %q", got, err, c.plain, c.want)
			}
			peer.Need(t, "qemu-img")
			image := filepath.Join(t.TempDir(), "image")
			var out []byte
			for attempt := 1; attempt == 1 || peer.Again(attempt, string(out)); attempt++ {
				out, _ = exec.Command("qemu-img", "create", "-q", "-f", "luks", "--object", c.master, "--object", object, "-o", "key-secret=s,iter-time=1", image, "64k").CombinedOutput()
			}
			if text := strings.TrimSpace(string(out)); !strings.HasSuffix(text, c.want) || (text == "") != (c.want == "") {
				t.Errorf("QEMU says %s", text)
			}
			if c.want == "" {
				key := filepath.Join(t.TempDir(), "key")
				if err := os.WriteFile(key, []byte(c.plain), 0o600); err != nil {
					t.Fatal(err)
				}
				peer.Run(t, "cryptsetup", "open", "--test-passphrase", "--key-file", key, image)
			}
		})
	}
}

// badPadding is a block that decrypts to spaces.
func badPadding(t *testing.T) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(encrypted(t, strings.Repeat(" ", aes.BlockSize)))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b[:aes.BlockSize])
}
