package qcow2

import (
	"math"
	"time"

	"github.com/qmon/qmon/blockdev"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "qcow2",
		Children:      []blockdev.Child{{Name: "file"}, {Name: dataChild}},
		Probe:         probe,
		OpenOptions:   openOptionTable,
		CreateOptions: createOptionTable,
		AmendOptions:  amendOptionTable,
		Open:          blockdev.Opener(Open),
		Create:        Create,
		Measure:       measure,
	})
}

// probe knows an image by its magic number and version.
func probe(head []byte, _ string) int {
	if len(head) >= 8 && string(head[:4]) == "QFI\xfb" && head[4] == 0 && head[5] == 0 && head[6] == 0 && head[7] >= 2 {
		return 100
	}
	return 0
}

const (
	// defaultCacheBytes bounds each table cache: with 64 KiB clusters this much of L2
	// tables covers 256 GiB of disk.
	defaultCacheBytes = 32 << 20
	// defaultRefcountCacheBytes is less: allocation goes from block to block.
	defaultRefcountCacheBytes = 4 << 20
	// maxCacheBytes is the most that is kept, whatever options ask for.
	maxCacheBytes = 16 << 30
)

// cacheOptions share one budget, so that a new share says all.
var cacheOptions = []string{"cache-size", "l2-cache-size", "refcount-cache-size"}

var openOptionTable = append(overlapOptionTable(), blockdev.OptionTable{
	{Name: "encrypt.format", Type: blockdev.OptString, Help: "Encryption format: aes, luks"},
	{Name: "encrypt.key-secret", Type: blockdev.OptString, Help: "ID of secret providing qcow AES key or LUKS passphrase"},
	{Name: "lazy-refcounts", Type: blockdev.OptBool, Help: "Postpone refcount updates"},
	{Name: "pass-discard-request", Type: blockdev.OptBool, Help: "Pass guest discard requests to the layer below"},
	{Name: "pass-discard-snapshot", Type: blockdev.OptBool, Default: "on", Help: "Generate discard requests when snapshot related space is freed"},
	{Name: "pass-discard-other", Type: blockdev.OptBool, Default: "off", Help: "Generate discard requests when other clusters are freed"},
	{Name: "cache-size", Type: blockdev.OptSize, Help: "Maximum combined metadata (L2 tables and refcount blocks) cache size", Supersedes: cacheOptions},
	{Name: "l2-cache-size", Type: blockdev.OptSize, Help: "Maximum L2 table cache size", Supersedes: cacheOptions},
	{Name: "l2-cache-entry-size", Type: blockdev.OptSize, Help: "Size of each entry in the L2 cache"},
	{Name: "refcount-cache-size", Type: blockdev.OptSize, Help: "Maximum refcount block cache size", Supersedes: cacheOptions},
	{Name: "cache-clean-interval", Type: blockdev.OptInt, Help: "Clean unused cache entries after this time (in seconds)"},
}...)

// openOptions are the options of Open, decoded. The entry size is checked and has no
// effect: tables are cached whole.
type openOptions struct {
	overlap             overlapChecks
	cleanInterval       time.Duration // 0 for never
	l2EntrySize         *int64
	lazy                *bool
	passDiscardRequest  bool
	passDiscardSnapshot bool
	passDiscardOther    bool
	l2CacheSize         int64
	refcountCacheSize   int64
}

// lazyRefcounts: the option, else what the image says.
func (o openOptions) lazyRefcounts(h *header) bool {
	if o.lazy != nil {
		return *o.lazy
	}
	return h.compatible&compatLazyRefcounts != 0
}

func parseOpenOptions(r blockdev.OpenRequest) (openOptions, error) {
	o := openOptions{
		passDiscardRequest:  r.Mode.Unmap,
		passDiscardSnapshot: true,
		l2CacheSize:         defaultCacheBytes,
		refcountCacheSize:   defaultRefcountCacheBytes,
	}
	var in struct {
		Lazy            *bool  `option:"lazy-refcounts"`
		DiscardRequest  *bool  `option:"pass-discard-request"`
		DiscardSnapshot *bool  `option:"pass-discard-snapshot"`
		DiscardOther    *bool  `option:"pass-discard-other"`
		CacheSize       *int64 `option:"cache-size"`
		L2CacheSize     *int64 `option:"l2-cache-size"`
		RefCacheSize    *int64 `option:"refcount-cache-size"`
		EntrySize       *int64 `option:"l2-cache-entry-size"`
		CleanInterval   int64  `option:"cache-clean-interval"`
	}
	if err := r.Options.Decode(&in); err != nil {
		return o, err
	}
	set(&o.passDiscardRequest, in.DiscardRequest)
	set(&o.passDiscardSnapshot, in.DiscardSnapshot)
	set(&o.passDiscardOther, in.DiscardOther)
	o.lazy = in.Lazy
	o.l2EntrySize = in.EntrySize
	if in.CleanInterval > math.MaxUint32 {
		return o, blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename, "Cache clean interval too big")
	}
	o.cleanInterval = time.Duration(in.CleanInterval) * time.Second
	var err error
	if o.overlap, err = parseOverlapChecks(r.Options); err != nil {
		return o, err
	}
	return o, o.setCacheSizes(in.CacheSize, in.L2CacheSize, in.RefCacheSize)
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// checkCaches refuses entries that no table can be cut into, and caches of more entries than
// QEMU can count.
func (o *openOptions) checkCaches(name string, h *header) error {
	clusterSize := h.clusterSize()
	entry := clusterSize
	set(&entry, o.l2EntrySize)
	if n := o.l2EntrySize; n != nil && (!powerOfTwo(*n) || *n < 1<<minClusterBits || *n > clusterSize) {
		return blockdev.Errorf(blockdev.ErrInvalid, "open", name,
			"L2 cache entry size must be a power of two between %d and the cluster size (%d)", 1<<minClusterBits, clusterSize)
	}
	tooBig := func(what string) error {
		return blockdev.Errorf(blockdev.ErrInvalid, "open", name, "%s cache size too big", what)
	}
	allL2 := int64(h.l1Size) * clusterSize
	switch {
	case min(o.l2CacheSize, allL2)/entry >= math.MaxInt32:
		return tooBig("L2")
	case o.refcountCacheSize/clusterSize > math.MaxInt32:
		return tooBig("Refcount")
	}
	o.l2CacheSize = min(o.l2CacheSize, maxCacheBytes)
	o.refcountCacheSize = min(o.refcountCacheSize, maxCacheBytes)
	return nil
}

// setCacheSizes shares a combined size out as QEMU does: what the other two leave open,
// the L2 tables first.
func (o *openOptions) setCacheSizes(combined, l2, ref *int64) error {
	if combined != nil {
		switch {
		case l2 != nil && ref != nil:
			return blockdev.Errorf(blockdev.ErrInvalid, "open", "", "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time")
		case l2 != nil && *l2 > *combined:
			return blockdev.Errorf(blockdev.ErrInvalid, "open", "", "l2-cache-size may not exceed cache-size")
		case ref != nil && *ref > *combined:
			return blockdev.Errorf(blockdev.ErrInvalid, "open", "", "refcount-cache-size may not exceed cache-size")
		case l2 != nil:
			o.refcountCacheSize = *combined - *l2
		case ref != nil:
			o.l2CacheSize = *combined - *ref
		default:
			o.l2CacheSize = min(*combined, o.l2CacheSize)
			o.refcountCacheSize = *combined - o.l2CacheSize
		}
	}
	set(&o.l2CacheSize, l2)
	set(&o.refcountCacheSize, ref)
	return nil
}
