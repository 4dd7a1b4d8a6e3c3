package qcow2

import (
	"context"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
)

// Preallocation modes.
const (
	preallocOff      = "off"
	preallocMetadata = "metadata"
	preallocFalloc   = "falloc"
	preallocFull     = "full"
)

// What the options of those names may say; empty is the default.
var (
	preallocations = []string{preallocOff, preallocMetadata, preallocFalloc, preallocFull}
	compressions   = []string{"zlib", "zstd"}
)

// createOptionTable lists the options as QEMU shows those of a new image. Their words are
// checked by Create, in its order; size and backing file are in the request.
var createOptionTable = append(blockdev.OptionTable{
	{Name: "encryption", Type: blockdev.OptBool, Help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"},
	{Name: "encrypt.format", Type: blockdev.OptString, Help: "Encrypt the image, format choices: 'aes', 'luks'"},
	{Name: "encrypt.key-secret", Type: blockdev.OptString, Help: "ID of secret providing qcow AES key or LUKS passphrase"},
}, append(luks1.CreateTable(cryptPrefix), blockdev.OptionTable{
	{Name: "cluster_size", Type: blockdev.OptSize, Default: "65536", Help: "qcow2 cluster size"},
	{Name: "extended_l2", Type: blockdev.OptBool, Default: "off", Help: "Extended L2 tables"},
	{Name: "preallocation", Type: blockdev.OptString, Help: "Preallocation mode (allowed values: off, metadata, falloc, full)"},
	{Name: "compression_type", Type: blockdev.OptString, Default: "zlib", Help: "Compression method used for image cluster compression"},
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "compat", Type: blockdev.OptString, Help: "Compatibility level (v2 [0.10] or v3 [1.1])"},
	{Name: "backing_file", Type: blockdev.OptString, Help: "File name of a base image"},
	{Name: "backing_fmt", Type: blockdev.OptString, Help: "Image format of the base image"},
	{Name: "data_file", Type: blockdev.OptString, Help: "File name of an external data file"},
	{Name: "data_file_raw", Type: blockdev.OptBool, Help: "The external data file must stay valid as a raw image"},
	{Name: "lazy_refcounts", Type: blockdev.OptBool, Default: "off", Help: "Postpone refcount updates"},
	{Name: "refcount_bits", Type: blockdev.OptInt, Default: "16", Help: "Width of a reference count entry in bits"},
}...)...)

// createOptions are the options of Create, decoded.
type createOptions struct {
	ClusterSize   int64   `option:"cluster_size"`
	Compat        string  `option:"compat"`
	Compression   string  `option:"compression_type"`
	DataFile      *string `option:"data_file"`
	DataFileRaw   bool    `option:"data_file_raw"`
	ExtendedL2    bool    `option:"extended_l2"`
	LazyRefcounts bool    `option:"lazy_refcounts"`
	Preallocation string  `option:"preallocation"`
	RefcountBits  int64   `option:"refcount_bits"`
}

// parseCreateOptions reads the options of a new image over their defaults.
func parseCreateOptions(v blockdev.Values) (createOptions, error) {
	o := createOptions{
		ClusterSize: 1 << defaultClusterBits, Compat: "v3", RefcountBits: 1 << defaultRefcountOrder,
		Preallocation: preallocOff, Compression: "zlib",
	}
	return o, v.Decode(&o)
}

// Create makes an image in r.File: a minimal one, which then grows to its size.
func Create(ctx context.Context, r blockdev.CreateRequest) error {
	o, err := parseCreateOptions(r.Options)
	if err != nil {
		return err
	}
	encryption, err := parseEncryption(r)
	if err != nil {
		return err
	}
	h, err := o.header(r)
	if err != nil {
		return err
	}
	if encryption.method != cryptNone && o.DataFileRaw {
		return o.errorf(r, blockdev.ErrNotSupported, "A data file that is to be a valid raw image cannot be encrypted")
	}
	data, err := o.createData(ctx, r)
	if err != nil {
		return err
	}
	if err := writeEmpty(r.File, h, r.Filename); err != nil {
		return err
	}
	im, err := Open(ctx, blockdev.OpenRequest{
		Filename: r.Filename, File: r.File, Mode: blockdev.Mode{Writable: true},
		OpenReference: func(context.Context, blockdev.Reference) (blockdev.Node, error) { return data, nil },
	})
	if err != nil {
		return err
	}
	size := (r.Size + sectorSize - 1) &^ (sectorSize - 1)
	if err := im.fit(size, encryption, o.Preallocation); err != nil {
		// The error is this one, whatever Close says.
		_ = im.Close()
		return err
	}
	return im.Close()
}

// fit gives a new, empty image its size and what goes with it.
func (im *Image) fit(size int64, e newEncryption, preallocation string) error {
	if e.method == cryptNone {
		return im.Resize(size, blockdev.ResizeOptions{Preallocation: preallocation})
	}
	if err := im.Resize(size, blockdev.ResizeOptions{}); err != nil {
		return err
	}
	if err := im.encrypt(e); err != nil {
		return err
	}
	return im.preallocate(0, size, preallocation)
}

// createData makes the external data file, nil if there is to be none.
func (o *createOptions) createData(ctx context.Context, r blockdev.CreateRequest) (blockdev.Node, error) {
	if !o.hasDataFile() {
		return nil, nil
	}
	if r.CreateFile == nil {
		return nil, o.errorf(r, blockdev.ErrNotSupported, "External data files cannot be made here")
	}
	return r.CreateFile(ctx, *o.DataFile)
}

// header makes the header of a new image, or says what is wrong with the options.
func (o *createOptions) header(r blockdev.CreateRequest) (*header, error) {
	if err := o.validate(r); err != nil {
		return nil, err
	}
	h := &header{
		version:       3,
		clusterBits:   uint32(bits.TrailingZeros64(uint64(o.ClusterSize))),
		refcountOrder: uint32(bits.TrailingZeros64(uint64(o.RefcountBits))),
		length:        headerLengthV3,
		backingName:   r.Backing.Name,
	}
	if o.LazyRefcounts {
		h.compatible = compatLazyRefcounts
	}
	if o.Compression == "zstd" {
		h.compression = compressionZstd
		h.incompatible |= incompatCompression
	}
	if o.ExtendedL2 {
		h.incompatible |= incompatExtendedL2
	}
	if o.DataFile != nil {
		h.incompatible |= incompatDataFile
	}
	if o.DataFileRaw {
		h.autoclear = autoclearRawData
	}
	if o.version() == 2 {
		h.version, h.length = 2, headerLengthV2
	}
	if r.Backing.Format != "" {
		h.extensions = append(h.extensions, extension{extBackingFormat, []byte(r.Backing.Format)})
	}
	if o.hasDataFile() {
		h.extensions = append(h.extensions, extension{extDataFile, []byte(*o.DataFile)})
	}
	if h.version >= 3 {
		h.extensions = append(h.extensions, extension{extFeatureNames, featureTable()})
	}
	if r.Size < 0 || h.l1Needed(r.Size) > maxL1Bytes/8 {
		return nil, o.errorf(r, blockdev.ErrLimit, "The image size is too large for file format 'qcow2' (try using a larger cluster size)")
	}
	return h, nil
}

func (o *createOptions) hasDataFile() bool { return o.DataFile != nil }

func (o *createOptions) version() int { return int(compatVersion(o.Compat)) }

// compatVersion is the version that a compatibility level stands for, 0 for none.
func compatVersion(level string) uint32 {
	switch level {
	case "0.10", "v2":
		return 2
	case "1.1", "v3":
		return 3
	}
	return 0
}

func (o *createOptions) errorf(r blockdev.CreateRequest, kind error, format string, args ...any) error {
	return blockdev.Errorf(kind, "create", r.Filename, format, args...)
}

func powerOfTwo(n int64) bool { return n > 0 && n&(n-1) == 0 }

const (
	wrongRefcountBits = "Refcount width must be a power of two and may not exceed 64 bits"
	extendedTooSmall  = "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"
)

func validRefcountBits(n int64) bool { return powerOfTwo(n) && n <= 1<<maxRefcountOrder }

// validate checks the options in the order that QEMU does.
func (o *createOptions) validate(r blockdev.CreateRequest) error {
	v := o.version()
	cs := o.ClusterSize
	for _, rule := range []struct {
		broken bool
		kind   error
		text   string
	}{
		{v == 0, blockdev.ErrInvalid, "Parameter 'version' does not accept value '" + o.Compat + "'"},
		{!blockdev.KnownFormat(r.Backing.Format), blockdev.ErrInvalid,
			"Parameter 'backing-fmt' does not accept value '" + r.Backing.Format + "'"},
		{!slices.Contains(preallocations, o.Preallocation), blockdev.ErrInvalid,
			"Parameter 'preallocation' does not accept value '" + o.Preallocation + "'"},
		{!slices.Contains(compressions, o.Compression), blockdev.ErrInvalid,
			"Parameter 'compression-type' does not accept value '" + o.Compression + "'"},
		{!powerOfTwo(cs) || cs < 1<<minClusterBits || cs > 1<<maxClusterBits, blockdev.ErrInvalid,
			"Cluster size must be a power of two between 512 and 2048k"},
		{o.Preallocation != preallocOff && r.Backing.Name != "" && !o.ExtendedL2, blockdev.ErrInvalid,
			"Backing file and preallocation can only be used at the same time if extended_l2 is on"},
		{v == 2 && o.LazyRefcounts, blockdev.ErrInvalid,
			"Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)"},
		{!validRefcountBits(o.RefcountBits), blockdev.ErrInvalid, wrongRefcountBits},
		{v == 2 && o.RefcountBits != 1<<v2RefcountOrder, blockdev.ErrInvalid,
			"Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)"},
		{v == 2 && o.Compression == "zstd", blockdev.ErrInvalid,
			"Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)"},
		{v == 2 && o.ExtendedL2, blockdev.ErrInvalid,
			"Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)"},
		{o.ExtendedL2 && cs < 1<<minExtendedClusterBits, blockdev.ErrInvalid, extendedTooSmall},
		{o.DataFileRaw && !o.hasDataFile(), blockdev.ErrInvalid, "data-file-raw requires data-file"},
		{o.DataFileRaw && r.Backing.Name != "", blockdev.ErrInvalid, "Backing file and data-file-raw cannot be used at the same time"},
		{v == 2 && o.hasDataFile(), blockdev.ErrInvalid,
			"External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)"},
		{len(r.Backing.Name) > maxBackingName, blockdev.ErrInvalid, "Backing file name too long"},
	} {
		if rule.broken {
			return o.errorf(r, rule.kind, "%s", rule.text)
		}
	}
	return nil
}

// writeEmpty writes an image of size 0: header, refcount table, one refcount block.
func writeEmpty(file blockdev.Node, h *header, name string) error {
	cs := h.clusterSize()
	h.refTableOffset, h.refTableClusters = cs, 1
	first, err := h.encode(name, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 3*cs)
	copy(b, first)
	binary.BigEndian.PutUint64(b[cs:], uint64(2*cs))
	for i := range int64(3) {
		refWidth(h.refcountOrder).put(b[2*cs:], i, 1)
	}
	_, err = file.WriteAt(b, 0)
	return err
}

// zeroFile makes a range of the file read as zeroes. What is past its end does already.
func zeroFile(file blockdev.Node, off, n int64, flags blockdev.ZeroFlags) error {
	if flags&blockdev.ZeroMayUnmap != 0 {
		n = min(n, max(file.Size()-off, 0))
		if n == 0 {
			return nil
		}
	}
	return blockdev.WriteZeroes(file, off, n, flags)
}

// writeZeroData writes zeroes as data.
func writeZeroData(file blockdev.Node, off, n int64) error {
	buf := make([]byte, min(n, maxZeroBuffer))
	for n > 0 {
		k := min(n, int64(len(buf)))
		if _, err := file.WriteAt(buf[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// maxZeroBuffer is how many zeroes are written at once.
const maxZeroBuffer = 2 << 20
