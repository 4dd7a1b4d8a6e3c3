package vhdx

import (
	"github.com/qmon/qmon/blockdev"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "vhdx",
		Probe:         probe,
		CreateOptions: createOptionTable,
		Open:          Open,
		Create:        Create,
	})
}

func probe(head []byte, _ string) int {
	if len(head) >= len(fileSignature) && string(head[:len(fileSignature)]) == fileSignature {
		return 100
	}
	return 0
}

// createOptionTable lists the options in the order that QEMU shows those of a new image.
var createOptionTable = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size; max of 64TB."},
	{Name: "log_size", Type: blockdev.OptSize, Default: "1048576", Help: "Log size; min 1MB."},
	{Name: "block_size", Type: blockdev.OptSize, Default: "0", Help: "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size."},
	{Name: "subformat", Type: blockdev.OptString, Help: "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."},
	{Name: "block_state_zero", Type: blockdev.OptBool, Help: "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using 'qemu-img convert' with subformat=dynamic."},
}

// createOptions are the options of Create, decoded.
type createOptions struct {
	LogSize   int64  `option:"log_size"`
	BlockSize int64  `option:"block_size"`
	Subformat string `option:"subformat"`
	StateZero bool   `option:"block_state_zero"`
}

const (
	subformatDynamic = "dynamic"
	subformatFixed   = "fixed"
)

// maxCreateLog is the first size of a log that its field cannot hold.
const maxCreateLog = 4 << 30

// normalize brings the sizes into their ranges, or says what is wrong.
func (o *createOptions) normalize(r blockdev.CreateRequest) error {
	fail := func(kind error, text string) error {
		return blockdev.Errorf(kind, "create", r.Filename, "%s", text)
	}
	if r.Size < 0 || r.Size > maxDiskSize {
		return fail(blockdev.ErrLimit, "Image size too large; max of 64TB")
	}
	switch o.Subformat {
	case "":
		o.Subformat = subformatDynamic
	case subformatDynamic, subformatFixed:
	default:
		return fail(blockdev.ErrInvalid, "Parameter 'subformat' does not accept value '"+o.Subformat+"'")
	}
	if o.LogSize >= maxCreateLog {
		return fail(blockdev.ErrLimit, "Log size must be smaller than 4 GB")
	}
	o.LogSize = max(mib, (o.LogSize+mib-1)/mib*mib)
	if o.BlockSize == 0 {
		o.BlockSize = defaultBlockSize(r.Size)
	}
	o.BlockSize = min((o.BlockSize+mib-1)/mib*mib, maxBlockSize)
	if o.BlockSize&(o.BlockSize-1) != 0 {
		return fail(blockdev.ErrInvalid, "Block size must be a power of two")
	}
	if o.LogSize > maxCreateLog-mib {
		return fail(blockdev.ErrLimit, "Log size must be smaller than 4 GB")
	}
	return nil
}

// defaultBlockSize grows with the disk, as QEMU's does.
func defaultBlockSize(size int64) int64 {
	switch {
	case size > 32*tib:
		return 64 * mib
	case size > 100<<30:
		return 32 * mib
	case size > 1<<30:
		return 16 * mib
	}
	return 8 * mib
}
