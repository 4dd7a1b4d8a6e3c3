package qcow

import (
	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
	"github.com/qmon/qmon/formats/internal/luks1"
	"github.com/qmon/qmon/formats/internal/sectors"
)

// Clusters may be encrypted with AES and the password as its key, by sectors, which are
// numbered by their guest offsets. Tables and compressed clusters are not.

// Encryption methods.
const (
	cryptNone = 0
	cryptAES  = 1
)

const (
	// cryptPrefix is what options about encryption begin with.
	cryptPrefix    = "encrypt."
	optCryptFormat = cryptPrefix + "format"
	optEncryption  = "encryption"
	formatAES      = "aes"
	formatLUKS     = "luks" // of qcow2 only
)

var openOptions = blockdev.OptionTable{
	{Name: optCryptFormat, Type: blockdev.OptString, Help: "Encryption of the image, which its header tells: 'aes'"},
	{Name: cryptPrefix + luks1.KeySecret, Type: blockdev.OptString, Help: "ID of the secret that provides the AES encryption key"},
}

// openCipher makes the cipher, unless nothing is encrypted or the image is opened for its
// metadata only.
func openCipher(h *header, r blockdev.OpenRequest) (bat.Cipher, error) {
	format, _ := r.Options[optCryptFormat].(string)
	switch {
	case h.crypt == cryptNone && format != "":
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename, "No encryption in image header, but options specified format '%s'", format)
	case h.crypt == cryptNone:
		return nil, nil
	case format != "" && format != formatAES:
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename, "Header reported '%s' encryption format but options specify '%s'", formatAES, format)
	case r.Mode.NoIO:
		return nil, nil
	}
	passphrase, err := luks1.Passphrase(r.Options, cryptPrefix, "open", r.Filename)
	if err != nil {
		return nil, err
	}
	return sectors.NewPasswordAES(passphrase)
}

// createCrypt is the method of a new image, with QEMU's refusals. The key is not stored,
// but it has to be there.
func createCrypt(r blockdev.CreateRequest) (uint32, error) {
	refuse := func(kind error, format string, args ...any) (uint32, error) {
		return 0, blockdev.Errorf(kind, "create", r.Filename, format, args...)
	}
	format, given := r.Options[optCryptFormat].(string)
	alias, _ := r.Options[optEncryption].(bool)
	switch {
	case given && alias:
		return refuse(blockdev.ErrInvalid, "'encrypt.format' and its alias 'encryption' can't be used at the same time")
	case alias:
		format = formatAES
	case !given && r.Options.Has(cryptPrefix+luks1.KeySecret):
		return refuse(blockdev.ErrInvalid, "Parameter 'encrypt.format' is missing")
	case !given:
		return cryptNone, nil
	}
	switch format {
	case formatAES:
		_, err := luks1.Passphrase(r.Options, cryptPrefix, "create", r.Filename)
		return cryptAES, err
	case formatLUKS:
		return refuse(blockdev.ErrNotSupported, "Unsupported encryption format")
	}
	return refuse(blockdev.ErrInvalid, "Parameter 'format' does not accept value '%s'", format)
}
