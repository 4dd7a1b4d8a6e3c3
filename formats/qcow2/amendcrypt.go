package qcow2

import "github.com/qmon/qmon/formats/internal/luks1"

// amendEncryption fills or erases key slots of the LUKS header.
func (im *Image) amendEncryption(a *amendment) error {
	if a.encryption == nil {
		return nil
	}
	return im.exclusive(func() error {
		return im.crypt.volume.Amend(a.ctx, a.encryption, a.force, im.cryptStorage())
	})
}

// parseAmendEncryption reads the options about key slots, if there are any.
func (im *Image) parseAmendEncryption(a *amendment) (err error) {
	if anyOption(a.values, luks1.AmendTable(cryptPrefix)) == "" {
		return nil
	}
	switch im.hdr.cryptMethod {
	case cryptNone:
		return im.refuseAmendment("Can't amend encryption options - encryption not present")
	case cryptAES:
		return im.refuseAmendment("Only LUKS encryption options can be amended")
	}
	a.encryption, err = luks1.ParseAmend(a.values, cryptPrefix, im.name)
	return err
}
