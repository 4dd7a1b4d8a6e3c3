package qcow2

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
	"github.com/qmon/qmon/formats/internal/sectors"
)

// newEncryption is what a new image is to be encrypted with.
type newEncryption struct {
	method uint32
	cipher *sectors.Cipher // of cryptAES
	luks   luks1.Recipe
}

// parseEncryption reads the options about encryption, with QEMU's refusals.
func parseEncryption(r blockdev.CreateRequest) (e newEncryption, err error) {
	refuse := func(kind error, format string, args ...any) (newEncryption, error) {
		return e, blockdev.Errorf(kind, "create", r.Filename, format, args...)
	}
	format, given := r.Options[cryptPrefix+"format"].(string)
	alias, aliased := r.Options["encryption"].(bool)
	switch {
	case given && aliased:
		return refuse(blockdev.ErrInvalid, "'encrypt.format' and its alias 'encryption' can't be used at the same time")
	case alias:
		format, given = cryptFormats[cryptAES], true
	}
	name := anyOption(r.Options, luks1.CreateTable(cryptPrefix))
	switch {
	case !given && (name != "" || r.Options.Has(cryptPrefix+luks1.KeySecret)):
		return refuse(blockdev.ErrInvalid, "Parameter 'encrypt.format' is missing")
	case !given:
		return e, nil
	case format == "" || !slices.Contains(cryptFormats, format):
		return refuse(blockdev.ErrInvalid, "Parameter 'format' does not accept value '%s'", format)
	}
	e.method = uint32(slices.Index(cryptFormats, format))
	if e.method == cryptLUKS {
		e.luks, err = luks1.ParseCreate(r.Options, cryptPrefix, r.Filename)
		return e, err
	}
	if name != "" {
		return refuse(blockdev.ErrInvalid, "Parameter '%s' is unexpected", name)
	}
	passphrase, err := luks1.Passphrase(r.Options, cryptPrefix, "create", r.Filename)
	if err != nil {
		return e, err
	}
	e.cipher, err = sectors.NewPasswordAES(passphrase)
	return e, err
}

// anyOption is the first of a table's options that was given, "" for none.
func anyOption(v blockdev.Values, table blockdev.OptionTable) string {
	names := make([]string, len(table))
	for i, opt := range table {
		names[i] = opt.Name
	}
	slices.SortFunc(names, strings.Compare)
	for _, name := range names {
		if v.Has(name) {
			return name
		}
	}
	return ""
}

// encrypt makes a new image, which holds nothing yet, an encrypted one.
func (im *Image) encrypt(e newEncryption) error {
	if e.method == cryptNone {
		return nil
	}
	return im.exclusive(func() error {
		im.crypt.cipher = e.cipher
		var pointer []byte
		if e.method == cryptLUKS {
			var err error
			if pointer, err = im.writeVolume(e.luks); err != nil {
				return err
			}
		}
		// Not before: what was allocated may have moved the refcount table.
		h := *im.hdr
		h.cryptMethod = e.method
		if pointer != nil {
			h.addExtension(extCrypto, pointer)
		}
		return im.rewriteHeader(&h)
	})
}

// writeVolume writes a LUKS header with its key slots into new clusters. The result is the
// extension that says where they are.
func (im *Image) writeVolume(r luks1.Recipe) ([]byte, error) {
	n, err := r.HeaderSize()
	if err != nil {
		return nil, err
	}
	run, err := im.allocate("", im.clustersFor(n), true)
	if err != nil {
		return nil, err
	}
	st := cryptStorage{im.file, im.name, run.first << im.clusterBits, n}
	if im.crypt.volume, err = luks1.New(r, st); err != nil {
		return nil, err
	}
	im.crypt.luks = im.crypt.volume.Header
	if im.crypt.cipher, err = im.crypt.volume.Cipher(); err != nil {
		return nil, err
	}
	if end := run.end() << im.clusterBits; im.file.Size() < end {
		if _, err := im.file.WriteAt([]byte{0}, end-1); err != nil {
			return nil, err
		}
	}
	pointer := binary.BigEndian.AppendUint64(nil, uint64(st.off))
	return binary.BigEndian.AppendUint64(pointer, uint64(n)), im.commitAll()
}

// addExtension adds an extension in front of the feature names, where QEMU has it.
func (h *header) addExtension(kind uint32, data []byte) {
	at := slices.IndexFunc(h.extensions, func(e extension) bool { return e.kind == extFeatureNames })
	if at < 0 {
		at = len(h.extensions)
	}
	h.extensions = slices.Insert(slices.Clone(h.extensions), at, extension{kind, data})
}
