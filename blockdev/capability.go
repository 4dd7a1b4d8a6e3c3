package blockdev

import (
	"context"
	"time"
)

// The optional interfaces of nodes. Ask with a type assertion on the Node itself (a
// Vertex's Node field), or use the helper named after the capability, which falls back.

// OpaqueReader reads bytes that Map calls ExtentOpaque. Every node that returns such
// extents has it. The range does not cross an extent's end.
type OpaqueReader interface {
	ReadOpaque(p []byte, off int64) error
}

// ZeroWriter writes zeroes without being sent them. Fallback: [WriteZeroes] writes them.
type ZeroWriter interface {
	// WriteZeroes makes the range read as zeroes. With MayUnmap storage may be given
	// back; without it the range stays allocated where it was.
	WriteZeroes(off, n int64, flags ZeroFlags) error
}

// ZeroFlags refine WriteZeroes.
type ZeroFlags uint8

const (
	// ZeroMayUnmap allows the storage of the range to be given back.
	ZeroMayUnmap ZeroFlags = 1 << iota
	// ZeroNoFallback fails with ErrNotSupported instead of writing zeroes slowly.
	ZeroNoFallback
)

// Discarder gives storage back; the contents of the range become undefined unless the
// driver says more. Fallback: [Discard] does nothing, as a discard is advice.
type Discarder interface {
	Discard(off, n int64) error
}

// RangeCopier copies from another node inside the host, which may share the storage rather
// than move the bytes. Fallback: none, [Copy] reads and writes.
type RangeCopier interface {
	// CopyRange copies the n bytes at from in src to off. ErrNotSupported if these two nodes
	// have no such way, or not for this range, of which a part may be copied then.
	CopyRange(src Node, from, off, n int64) error
}

// Resizer changes Size. Fallback: none, [Resize] returns ErrNotSupported.
type Resizer interface {
	Resize(size int64, o ResizeOptions) error
}

// ResizeOptions of a Resizer.
type ResizeOptions struct {
	Preallocation string // "off" (also ""), "metadata", "falloc", "full"
	Shrink        bool   // allow Size to become smaller
	// Exact refuses a node of fixed size that is longer; otherwise it may be.
	Exact bool
}

// FixedSizer tells if a node's size cannot change, as that of a drive of the host. Its
// Resize only says whether there is room. Fallback: it can.
type FixedSizer interface {
	FixedSize() bool
}

// CompressedWriter writes whole clusters compressed. Fallback: none.
type CompressedWriter interface {
	// WriteCompressed stores p, a whole cluster (shorter only at the end of the node), at off.
	WriteCompressed(p []byte, off int64) error
}

// Backed is a node over another: what it maps as ExtentUnallocated is read from Backing.
type Backed interface {
	// BackingReference is what the image says its backing file is, Name "" if it has none.
	BackingReference() Reference
	// Backing is the node attached below, or nil.
	Backing() Node
	// SetBacking attaches the opened backing node (or nil). The image is not changed.
	SetBacking(Node)
	// ChangeBackingReference rewrites what the image says, name "" for none.
	ChangeBackingReference(name, format string) error
}

// Emptier forgets all guest data, as commit does with the image above: every range is
// unallocated afterwards. Fallback: none.
type Emptier interface {
	MakeEmpty() error
}

// Snapshotter keeps internal snapshots. Fallback: none.
type Snapshotter interface {
	Snapshots() ([]Snapshot, error)
	// CreateSnapshot makes the present contents a snapshot. The ID is chosen by the node
	// and returned in the Snapshot; Name, Date, VMClock, VMStateSize and ICount are stored.
	CreateSnapshot(s Snapshot) (Snapshot, error)
	// ApplySnapshot makes the contents of the snapshot the present ones.
	ApplySnapshot(id string) error
	DeleteSnapshot(id string) error
	// OpenSnapshot gives the disk, and the VM state, of a snapshot as a read-only node,
	// valid until closed; the image stays usable beside it.
	OpenSnapshot(id string) (Node, error)
}

// NoICount is the ICount of a snapshot made without instruction counting.
const NoICount = ^uint64(0)

// Snapshot describes one internal snapshot.
type Snapshot struct {
	ID          string
	Name        string
	VMStateSize int64         // bytes, 0 for a disk-only snapshot
	DiskSize    int64         // virtual size at the time of the snapshot, bytes
	Date        time.Time     // host time, nanoseconds
	VMClock     time.Duration // virtual clock of the guest
	ICount      uint64        // executed instructions, NoICount if not counted
}

// VMStateStore holds a machine's state beside the guest disk: the area belongs to the
// present contents until CreateSnapshot moves it into a snapshot. Fallback: none.
type VMStateStore interface {
	// ReadVMState and WriteVMState work as ReadAt and WriteAt do on the state area; it
	// grows by being written, and unwritten bytes read as zeroes.
	ReadVMState(p []byte, off int64) (int, error)
	WriteVMState(p []byte, off int64) (int, error)
	// DiscardVMState frees what the area holds.
	DiscardVMState() error
}

// SnapshotUsage is an optional companion of Snapshotter: how many bytes of the image file
// only the given snapshot holds, that is what deleting it would free.
type SnapshotUsage interface {
	SnapshotExclusive(id string) (int64, error)
}

// Unfinisher can be marked while it is filled for the first time, so that nobody takes what
// an interrupted program left for a complete image. Fallback: none.
type Unfinisher interface {
	// SetUnfinished sets or takes away the mark, durably. Without it in this version of the
	// format it does nothing.
	SetUnfinished(on bool) error
}

// BitmapStore keeps dirty bitmaps with the image. Fallback: none.
type BitmapStore interface {
	// Bitmaps lists the bitmaps in the order of the image. ErrNotSupported if an image like
	// this cannot have any.
	Bitmaps() ([]BitmapInfo, error)
	// DirtyBitmap gives the contents of a bitmap. While the node is writable and the bitmap
	// enabled they go on to follow the writes; the caller must not change them.
	DirtyBitmap(name string) (*DirtyBitmap, error)
	// AddBitmap makes a clean bitmap. A granularity of 0 is the node's choice.
	AddBitmap(b BitmapInfo) error
	RemoveBitmap(name string) error
	ClearBitmap(name string) error
	// EnableBitmap makes a bitmap follow writes from now on, or not any more.
	EnableBitmap(name string, on bool) error
	// MergeBitmap makes dirty what is dirty in from too.
	MergeBitmap(name string, from *DirtyBitmap) error
}

// BitmapInfo describes a dirty bitmap that is kept with an image.
type BitmapInfo struct {
	Name        string
	Granularity int64 // bytes that a bit stands for, a power of two
	Enabled     bool  // follows writes
	// Inconsistent: its last user did not store it. It can only be removed.
	Inconsistent bool
}

// Checker verifies an image's metadata. Fallback: none; raw has nothing to check.
type Checker interface {
	Check(ctx context.Context, o CheckOptions) (CheckResult, error)
}

// CheckOptions of a Checker.
type CheckOptions struct {
	RepairLeaks  bool
	RepairErrors bool
	// Report, if set, is called with each finding as it is made, in QEMU's words.
	Report func(Finding)
}

// Finding is one thing a Checker found wrong.
type Finding struct {
	Kind FindingKind
	Text string
}

// FindingKind sorts findings.
type FindingKind uint8

const (
	// FindingCorruption: data may be lost if the image is used.
	FindingCorruption FindingKind = iota + 1
	// FindingLeak: space is wasted, nothing else.
	FindingLeak
	// FindingError: the check itself could not look somewhere.
	FindingError
)

// CheckResult is what a Checker found. Counts are after repair where that was asked for.
type CheckResult struct {
	Corruptions      int64
	Leaks            int64
	CheckErrors      int64
	CorruptionsFixed int64
	LeaksFixed       int64
	ImageEndOffset   int64 // bytes
	// Clusters of the guest disk: all, and those that are allocated, lie apart from
	// their predecessor, or are compressed.
	TotalClusters      int64
	AllocatedClusters  int64
	FragmentedClusters int64
	CompressedClusters int64
}

// Amender changes properties of an image that exists already: those of Driver.AmendOptions.
// Fallback: none.
type Amender interface {
	Amend(ctx context.Context, o AmendOptions) error
}

// AmendOptions of an Amender.
type AmendOptions struct {
	// Values are validated against Driver.AmendOptions; what is absent stays as it is.
	Values Values
	// Force allows what cannot be undone, such as erasing the last key of an image.
	Force bool
	// Progress, if set, is called with how many of total steps are done.
	Progress func(done, total int64)
}

// Informer tells about an image beyond what the graph knows.
type Informer interface {
	Info() (ImageInfo, error)
}

// ImageInfo is what Informer tells. Absent things are zero.
type ImageInfo struct {
	ClusterSize int64 // bytes
	// VMStateOffset is where the area of VMStateStore begins in the format's own count of
	// guest bytes; 0 for none.
	VMStateOffset int64
	Encrypted     bool
	Compressed    bool // all clusters are compressed (streamOptimized and the like)
	DirtyFlag     bool
	Corrupt       bool
	// Specific is the format's own part: ordered fields, or nil.
	Specific []InfoField
}

// InfoField is one line of the format-specific part: the QMP key, which with '-' turned
// to ' ' is also the human one, and a value: string, bool, int64, uint64 or []InfoField.
type InfoField struct {
	Key   string
	Value any
}

// AllocatedSizer tells how much of the host's storage a protocol node takes, in bytes.
type AllocatedSizer interface {
	AllocatedSize() (int64, error)
}

// Reopener switches between read-only and read-write without closing, as commit needs
// for the backing file. Fallback: none.
type Reopener interface {
	ReopenWritable(writable bool) error
}

// HostDisk is a drive of the host.
type HostDisk interface {
	// WholeDisk tells if it is a disk as a whole, so that a guest that writes to it may
	// destroy what the host keeps there.
	WholeDisk() bool
}

// HostMedium is a drive of the host whose medium comes and goes by itself. A [Drive] that
// holds it does to it what the guest does to its tray. Fallback: none.
type HostMedium interface {
	Present() bool // there is a medium that can be read
	// Watch calls changed whenever a medium has come or gone, or is another, until the
	// node is closed or watched by somebody else.
	Watch(changed func(present bool))
	Eject(open bool) error
	Lock(on bool) error
}

// Limiter tells what requests suit a node best. Fallback: [LimitsOf] gives 1-byte
// alignment.
type Limiter interface {
	Limits() Limits
}

// Limits of a node's requests, in bytes. Zero means no limit.
type Limits struct {
	Alignment        int64 // of every offset and length
	ZeroAlignment    int64 // preferred for WriteZeroes
	DiscardAlignment int64 // preferred for Discard
	OptimalTransfer  int64
	MaxTransfer      int64
}

// Filter is a node that shows what another holds and does something beside. Questions
// about the image behind it go to that.
type Filter interface {
	Filtered() Node
}

// Drainer holds requests back by itself, as limits of a drive do. Fallback: it does not.
type Drainer interface {
	// BeginDrain lets those that wait, and all that come before end is called, go on at once.
	// Drains nest.
	BeginDrain() (end func())
}

// Breaker suspends requests at events of a driver above it ("l2_update"), for tests.
// Fallback: none.
type Breaker interface {
	// SetBreakpoint suspends the next request that meets the event, under a tag.
	SetBreakpoint(event, tag string) error
	RemoveBreakpoint(tag string) error
	// Resume lets the request of that tag go on.
	Resume(tag string) error
	// WaitSuspended returns when a request is suspended under the tag, or ctx is done.
	WaitSuspended(ctx context.Context, tag string) error
	// ResumeAll lets every suspended request go on and forgets all breakpoints.
	ResumeAll()
	// Announce makes f be called with a line of text as a request is suspended or goes on.
	// f must not call the node.
	Announce(f func(line string))
}

// NewContents tells what storage that was never written reads as. Fallback:
// [IsZeroWhenNew] says zeroes.
type NewContents interface {
	// ZeroWhenNew is false if it reads as anything, as it does where bytes are encrypted.
	ZeroWhenNew() bool
}

// IsZeroWhenNew tells if a new image reads as zeroes, and one that grew, where it did.
func IsZeroWhenNew(n Node) bool {
	c, ok := n.(NewContents)
	return !ok || c.ZeroWhenNew()
}
