package qcow2

import (
	"context"
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
	"github.com/qmon/qmon/formats/internal/sectors"
)

// Guest data may be encrypted, by sectors: with AES and the password as its key, numbered
// by their guest offsets, or as LUKS does, numbered by their offsets in the file. Tables
// and compressed clusters are not. Sections "Header", crypt_method, and "Full disk
// encryption header pointer".

// Encryption methods.
const (
	cryptNone = 0
	cryptAES  = 1
	cryptLUKS = 2
)

// cryptFormats are the names of the methods in options.
var cryptFormats = []string{cryptNone: "", cryptAES: "aes", cryptLUKS: "luks"}

const (
	// cryptPrefix is what options about encryption begin with.
	cryptPrefix = "encrypt."
	// cryptPointerSize is that of the extension that says where the LUKS header lies.
	cryptPointerSize = 16
)

// encryption is how guest data is encrypted.
type encryption struct {
	cipher *sectors.Cipher // nil if nothing is encrypted, or there is no key
	luks   *luks1.Header   // nil if it is another method
	volume *luks1.Volume   // with the key
}

// encrypted tells if guest data is.
func (im *Image) encrypted() bool { return im.hdr.cryptMethod != cryptNone }

// cryptArea is where the file has the LUKS header, with its key slots; nothing without one.
func (h *header) cryptArea() (off, n int64) {
	b := h.extensionData(extCrypto)
	if len(b) != cryptPointerSize {
		return 0, 0
	}
	return int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
}

// validateEncryption checks the extension against the header.
func (h *header) validateEncryption(name string) error {
	if h.cryptMethod > cryptLUKS {
		return blockdev.ErrorAt(blockdev.ErrNotSupported, "open", name, offCryptMethod,
			"Unsupported encryption method %d", h.cryptMethod)
	}
	b := h.extensionData(extCrypto)
	switch off, n := h.cryptArea(); {
	case b != nil && h.cryptMethod != cryptLUKS:
		return headerError(name, offCryptMethod, "CRYPTO header extension only expected with LUKS encryption method")
	case h.cryptMethod != cryptLUKS:
		return nil
	case b == nil:
		return headerError(name, offCryptMethod, "CRYPTO header extension is missing")
	case len(b) != cryptPointerSize:
		return headerError(name, offCryptMethod, "CRYPTO header extension size %d, but expected size %d", len(b), cryptPointerSize)
	case off%h.clusterSize() != 0:
		return headerError(name, offCryptMethod, "Encryption header offset '%d' is not a multiple of cluster size '%d'", uint64(off), h.clusterSize())
	case off <= 0 || n < luks1.HeaderBytes || n > maxHostOffset-off || off > maxHostOffset:
		return headerError(name, offCryptMethod, "Encryption header of %d bytes at offset %d is not in the file", uint64(n), uint64(off))
	}
	return nil
}

// openEncryption reads the LUKS header, and makes the cipher unless the image is opened for
// its metadata only.
func (im *Image) openEncryption(ctx context.Context, r blockdev.OpenRequest) error {
	method := im.hdr.cryptMethod
	if format, _ := r.Options[cryptPrefix+"format"].(string); format != "" && format != cryptFormats[method] {
		if method == cryptNone {
			return blockdev.Errorf(blockdev.ErrInvalid, "open", im.name, "No encryption in image header, but options specified format '%s'", format)
		}
		return blockdev.Errorf(blockdev.ErrInvalid, "open", im.name, "Header reported '%s' encryption format but options specify '%s'", cryptFormats[method], format)
	}
	if method == cryptLUKS {
		b := make([]byte, luks1.HeaderBytes)
		if err := readPadded(im.cryptStorage(), b, 0); err != nil {
			return err
		}
		var err error
		if im.crypt.luks, err = luks1.Parse(b, im.name, false); err != nil {
			return err
		}
	}
	if method == cryptNone || r.Mode.NoIO {
		return nil
	}
	return im.unlock(ctx, r)
}

func (im *Image) unlock(ctx context.Context, r blockdev.OpenRequest) error {
	passphrase, err := luks1.Passphrase(r.Options, cryptPrefix, "open", im.name)
	if err != nil {
		return err
	}
	if im.hdr.cryptMethod == cryptAES {
		im.crypt.cipher, err = sectors.NewPasswordAES(passphrase)
		return err
	}
	if im.crypt.volume, err = im.crypt.luks.Unlock(ctx, passphrase, im.cryptStorage(), im.name); err != nil {
		return err
	}
	im.crypt.cipher, err = im.crypt.volume.Cipher()
	return err
}

// cryptStorage is the part of the file with the LUKS header.
func (im *Image) cryptStorage() cryptStorage {
	off, n := im.hdr.cryptArea()
	return cryptStorage{im.file, im.name, off, n}
}

// cryptStorage is a part of a file, which does not reach further.
type cryptStorage struct {
	blockdev.Node
	name   string
	off, n int64
}

func (s cryptStorage) Size() int64 { return min(s.n, max(0, s.Node.Size()-s.off)) }

func (s cryptStorage) check(op string, p []byte, off int64) error {
	if off < 0 || off > s.n-int64(len(p)) {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, op, s.name, s.off, "Encryption header has no %d bytes at offset %d", len(p), off)
	}
	return nil
}

func (s cryptStorage) ReadAt(p []byte, off int64) (int, error) {
	if err := s.check("read", p, off); err != nil {
		return 0, err
	}
	if err := readPadded(s.Node, p, s.off+off); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s cryptStorage) WriteAt(p []byte, off int64) (int, error) {
	if err := s.check("write", p, off); err != nil {
		return 0, err
	}
	return s.Node.WriteAt(p, s.off+off)
}

// sectorNumber is what the sector at a place is encrypted with.
func (im *Image) sectorNumber(host, guest int64) uint64 {
	if im.hdr.cryptMethod == cryptAES {
		return uint64(guest / sectorSize)
	}
	return uint64(host / sectorSize)
}

// readData reads guest data that lies at host. What the file does not have reads as zeroes.
func (im *Image) readData(p []byte, host, guest int64) error {
	c := im.crypt.cipher
	n := im.inFile(host, int64(len(p)))
	in := host % sectorSize
	clear(p[n:])
	switch {
	case n == 0:
		return nil
	case c == nil:
		_, err := im.data.ReadAt(p[:n], host)
		return err
	case in == 0 && n%sectorSize == 0:
		if _, err := im.data.ReadAt(p[:n], host); err != nil {
			return err
		}
		c.Decrypt(p[:n], im.sectorNumber(host, guest))
		return nil
	}
	whole := make([]byte, (in+n+sectorSize-1)&^(sectorSize-1))
	if err := readPadded(im.data, whole, host-in); err != nil {
		return err
	}
	c.Decrypt(whole, im.sectorNumber(host-in, guest-in))
	copy(p[:n], whole[in:])
	return nil
}

// writeData writes guest data to host. Where it is encrypted nobody else writes to sectors
// that it fills in part.
func (im *Image) writeData(p []byte, host, guest int64) error {
	c := im.crypt.cipher
	if c == nil {
		_, err := im.data.WriteAt(p, host)
		return err
	}
	in := host % sectorSize
	for len(p) > 0 {
		n := min(int64(len(p)), maxSealed-in)
		if err := im.writeSealed(c, p[:n], host, guest); err != nil {
			return err
		}
		p, host, guest, in = p[n:], host+n, guest+n, 0
	}
	return nil
}

// maxSealed is how much is encrypted at once, and so the memory that a request needs: the
// caller's stays as it is.
const maxSealed = 1 << 20

// writeSealed writes one piece. The sectors at its ends are read first where it does not
// fill them.
func (im *Image) writeSealed(c *sectors.Cipher, p []byte, host, guest int64) error {
	buf := im.sealed.Get().(*[]byte)
	defer im.sealed.Put(buf)
	in := host % sectorSize
	b := (*buf)[:(in+int64(len(p))+sectorSize-1)&^(sectorSize-1)]
	host, guest = host-in, guest-in
	if in != 0 {
		if err := im.readData(b[:sectorSize], host, guest); err != nil {
			return err
		}
	}
	if last := int64(len(b) - sectorSize); (in+int64(len(p)))%sectorSize != 0 && (last > 0 || in == 0) {
		if err := im.readData(b[last:], host+last, guest+last); err != nil {
			return err
		}
	}
	copy(b[in:], p)
	c.Encrypt(b, im.sectorNumber(host, guest))
	_, err := im.data.WriteAt(b, host)
	return err
}

// writeZeroesAt writes zeroes as guest data.
func (im *Image) writeZeroesAt(host, guest, n int64) error {
	if im.crypt.cipher == nil {
		return writeZeroData(im.data, host, n)
	}
	zeroes := make([]byte, min(n, maxSealed))
	for n > 0 {
		k := min(n, maxSealed)
		if err := im.writeData(zeroes[:k], host, guest); err != nil {
			return err
		}
		host, guest, n = host+k, guest+k, n-k
	}
	return nil
}

// partSectors tells if a write of guest data would have to read a sector first: nobody else
// may write to that meanwhile.
func (im *Image) partSectors(off, n int64) bool {
	return im.crypt.cipher != nil && (off|n)%sectorSize != 0
}

// cryptFields are what info tells of the encryption.
func (im *Image) cryptFields() []blockdev.InfoField {
	format := cryptFormats[im.hdr.cryptMethod]
	if im.crypt.luks != nil {
		return im.crypt.luks.Fields(format)
	}
	return []blockdev.InfoField{{Key: "format", Value: format}}
}
