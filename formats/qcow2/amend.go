package qcow2

import (
	"context"
	"math/bits"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
)

var amendOptionTable = append(luks1.AmendTable(cryptPrefix), blockdev.OptionTable{
	{Name: "backing_file", Type: blockdev.OptString, Help: "File name of a base image"},
	{Name: "backing_fmt", Type: blockdev.OptString, Help: "Image format of the base image"},
	{Name: "compat", Type: blockdev.OptString, Help: "Compatibility level (v2 [0.10] or v3 [1.1])"},
	{Name: "data_file", Type: blockdev.OptString, Help: "File name of an external data file"},
	{Name: "data_file_raw", Type: blockdev.OptBool, Help: "The external data file must stay valid as a raw image"},
	{Name: "lazy_refcounts", Type: blockdev.OptBool, Help: "Postpone refcount updates"},
	{Name: "refcount_bits", Type: blockdev.OptInt, Help: "Width of a reference count entry in bits"},
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
}...)

// amendment is what Amend is to change; nil fields stay as they are.
type amendment struct {
	BackingFile   *string `option:"backing_file"`
	BackingFormat *string `option:"backing_fmt"`
	Compat        *string `option:"compat"`
	DataFile      *string `option:"data_file"`
	DataFileRaw   *bool   `option:"data_file_raw"`
	LazyRefcounts *bool   `option:"lazy_refcounts"`
	RefcountBits  *int64  `option:"refcount_bits"`
	Size          *int64  `option:"size"`

	values     blockdev.Values
	encryption *luks1.Amendment
	force      bool

	ctx      context.Context
	progress func(done, total int64)
}

// Amend changes what the options say, one after the other. Each change is whole or not
// there after a crash.
func (im *Image) Amend(ctx context.Context, o blockdev.AmendOptions) error {
	if err := im.checkWritable("amend"); err != nil {
		return err
	}
	a := amendment{ctx: ctx, progress: o.Progress, values: o.Values, force: o.Force}
	if err := o.Values.Decode(&a); err != nil {
		return err
	}
	if a.progress == nil {
		a.progress = func(int64, int64) {}
	}
	if err := im.validateAmendment(&a); err != nil {
		return err
	}
	for _, step := range []func(*amendment) error{
		im.upgrade, im.amendEncryption, im.amendRefcountBits, im.amendDataFile, im.amendLazyRefcounts, im.amendSize, im.downgrade,
	} {
		if err := step(&a); err != nil {
			return err
		}
	}
	return nil
}

func (im *Image) refuseAmendment(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "amend", im.name, format, args...)
}

// validateAmendment refuses what cannot be, in QEMU's order.
func (im *Image) validateAmendment(a *amendment) error {
	im.mu.RLock()
	defer im.mu.RUnlock()
	h := im.hdr
	if err := im.parseAmendEncryption(a); err != nil {
		return err
	}
	if a.Compat != nil && compatVersion(*a.Compat) == 0 {
		return im.refuseAmendment("Unknown compatibility level %s", *a.Compat)
	}
	if a.RefcountBits != nil && !validRefcountBits(*a.RefcountBits) {
		return im.refuseAmendment(wrongRefcountBits)
	}
	later := a.version(h) >= 3
	for _, rule := range []struct {
		broken bool
		text   string
	}{
		{!later && a.RefcountBits != nil && *a.RefcountBits != 1<<v2RefcountOrder,
			"Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)"},
		{a.BackingFile != nil && *a.BackingFile != h.backingName || a.BackingFormat != nil && *a.BackingFormat != h.backingFormat(),
			"Cannot amend the backing file\nYou can use 'qemu-img rebase' instead."},
		{a.DataFile != nil && h.incompatible&incompatDataFile == 0,
			"data-file can only be set for images that use an external data file"},
		{a.DataFileRaw != nil && *a.DataFileRaw && h.autoclear&autoclearRawData == 0,
			"data-file-raw cannot be set on existing images"},
		{!later && a.LazyRefcounts != nil && *a.LazyRefcounts,
			"Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)"},
	} {
		if rule.broken {
			return im.refuseAmendment("%s", rule.text)
		}
	}
	return nil
}

// version is the version that the image is to have.
func (a *amendment) version(h *header) uint32 {
	if a.Compat == nil {
		return h.version
	}
	return compatVersion(*a.Compat)
}

func (im *Image) amendRefcountBits(a *amendment) error {
	if a.RefcountBits == nil {
		return nil
	}
	w := refWidth(bits.TrailingZeros64(uint64(*a.RefcountBits)))
	return im.exclusive(func() error { return im.changeRefWidth(a, w) })
}

// amendDataFile changes what the header says of the data file; the file itself stays.
func (im *Image) amendDataFile(a *amendment) error {
	return im.exclusive(func() error {
		h := *im.hdr
		if a.DataFileRaw != nil && !*a.DataFileRaw {
			h.autoclear &^= autoclearRawData
		}
		if a.DataFile != nil {
			var name []byte
			if *a.DataFile != "" {
				name = []byte(*a.DataFile)
			}
			h.setExtension(extDataFile, name)
		}
		if h.autoclear == im.hdr.autoclear && h.dataFile() == im.hdr.dataFile() {
			return nil
		}
		if err := im.commitAll(); err != nil {
			return err
		}
		if err := im.rewriteHeader(&h); err != nil {
			return err
		}
		im.dataRaw.Store(h.autoclear&autoclearRawData != 0)
		return nil
	})
}

func (im *Image) amendLazyRefcounts(a *amendment) error {
	if a.LazyRefcounts == nil {
		return nil
	}
	return im.exclusive(func() error {
		v := im.hdr.compatible &^ compatLazyRefcounts
		if *a.LazyRefcounts {
			v |= compatLazyRefcounts
		}
		if v == im.hdr.compatible {
			return nil
		}
		if err := im.endLaziness(); err != nil {
			return err
		}
		if err := im.setFeatures(offCompatible, &im.hdr.compatible, v); err != nil {
			return err
		}
		im.lazy = im.options.lazyRefcounts(im.hdr)
		return nil
	})
}

// endLaziness writes refcounts that were postponed, and clears the dirty bit.
func (im *Image) endLaziness() error {
	im.lazy = false
	if err := im.commitAll(); err != nil {
		return err
	}
	return im.setDirty(false)
}

func (im *Image) amendSize(a *amendment) error {
	if a.Size == nil {
		return nil
	}
	return im.Resize(*a.Size, blockdev.ResizeOptions{Shrink: true})
}
