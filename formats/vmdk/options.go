package vmdk

import (
	"path/filepath"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "vmdk",
		Probe:         probe,
		CreateOptions: createOptionTable,
		Open:          blockdev.Opener(Open),
		Create:        Create,
	})
}

func probe(head []byte, _ string) int {
	if len(head) >= 4 && (string(head[:4]) == sparseMagic || string(head[:4]) == cowdMagic) || isDescriptor(head) {
		return 100
	}
	return 0
}

// createOptionTable lists the options in the order that QEMU shows those of a new image.
var createOptionTable = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "adapter_type", Type: blockdev.OptString, Help: "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX"},
	{Name: "backing_file", Type: blockdev.OptString, Help: "File name of a base image"},
	{Name: "backing_fmt", Type: blockdev.OptString, Help: "Must be 'vmdk' if present"},
	{Name: "compat6", Type: blockdev.OptBool, Default: "off", Help: "VMDK version 6 image"},
	{Name: "hwversion", Type: blockdev.OptString, Default: "undefined", Help: "VMDK hardware version"},
	{Name: "toolsversion", Type: blockdev.OptString, Help: "VMware guest tools version"},
	{Name: "subformat", Type: blockdev.OptString, Help: "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} "},
	{Name: "zeroed_grain", Type: blockdev.OptBool, Help: "Enable efficient zero writes using the zeroed-grain GTE feature"},
}

// createOptions are the options of Create, decoded.
type createOptions struct {
	Adapter    string `option:"adapter_type"`
	Compat6    bool   `option:"compat6"`
	HWVersion  string `option:"hwversion"`
	Subformat  string `option:"subformat"`
	Tools      string `option:"toolsversion"`
	ZeroGrains bool   `option:"zeroed_grain"`
}

// The subformats that can be created.
const (
	monolithicSparse = "monolithicSparse"
	monolithicFlat   = "monolithicFlat"
	splitSparse      = "twoGbMaxExtentSparse"
	splitFlat        = "twoGbMaxExtentFlat"
	streamOptimized  = "streamOptimized"
)

// normalize fills in what is left open, or says what is wrong, in QEMU's order.
func (o *createOptions) normalize(r blockdev.CreateRequest) error {
	fail := func(text string) error { return blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "%s", text) }
	if o.Compat6 {
		if o.HWVersion != "undefined" && o.HWVersion != "" {
			return fail("compat6 cannot be enabled with hwversion set")
		}
		o.HWVersion = "6"
	}
	if o.HWVersion == "undefined" || o.HWVersion == "" {
		o.HWVersion = "4"
	}
	if o.Tools == "" {
		o.Tools = "2147483647"
	}
	if o.Adapter == "" {
		o.Adapter = "ide"
	}
	if !contains([]string{"ide", "buslogic", "lsilogic", "legacyESX"}, o.Adapter) {
		return fail("invalid parameter value: " + o.Adapter)
	}
	if o.Subformat == "" {
		o.Subformat = monolithicSparse
	}
	if !contains([]string{monolithicSparse, monolithicFlat, splitSparse, splitFlat, streamOptimized}, o.Subformat) {
		return fail("invalid parameter value: " + o.Subformat)
	}
	switch {
	case strings.ContainsAny(filepath.Base(r.Filename)+r.Backing.Name+o.HWVersion+o.Tools, "\"\n\r"):
		return fail("VMDK descriptors have no quotes and line ends in names")
	case o.flat() && r.Backing.Name != "":
		return fail("Flat image can't have backing file")
	case o.flat() && o.ZeroGrains:
		return fail("Flat image can't enable zeroed grain")
	}
	return nil
}

func (o *createOptions) flat() bool { return o.Subformat == monolithicFlat || o.Subformat == splitFlat }

func (o *createOptions) split() bool { return o.Subformat == splitSparse || o.Subformat == splitFlat }
