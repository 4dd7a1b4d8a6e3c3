package blockdev

import (
	"context"
	"time"
)

// Drive is what a machine's device holds: a name, a medium or none, the tray, and how
// requests are treated. All methods are safe for concurrent use.
type Drive struct{ driveState }

type driveState struct{}

// DriveConfig describes a drive to be made.
type DriveConfig struct {
	Name      string // "ide0-hd0", or the user's id
	Removable bool   // the medium can be changed: CD, floppy, and drives with no device
	Tray      bool   // has a tray that opens (CD-ROM)
	ReadOnly  bool   // media are opened read-only
	Cache     CacheMode
	Errors    ErrorPolicy
}

// ErrorPolicy says what a failing request does to the machine.
type ErrorPolicy struct {
	Read  ErrorAction // rerror=
	Write ErrorAction // werror=
}

// ErrorAction is one of rerror= and werror='s words.
type ErrorAction uint8

const (
	ErrorReport ErrorAction = iota // the guest sees the error
	ErrorIgnore                    // the guest sees success
	ErrorStop                      // the machine stops; the request is retried on cont
	ErrorENOSPC                    // stop if there is no space, else report
)

// NewDrive makes an empty drive.
func NewDrive(c DriveConfig) *Drive { panic("being written") }

func (d *Drive) Name() string        { panic("being written") }
func (d *Drive) Config() DriveConfig { panic("being written") }

// Medium is what is in the drive, nil for none. It is there also while the tray is open.
func (d *Drive) Medium() *Vertex { panic("being written") }

// Insert puts a medium in: the drive must be empty. It takes over the reference.
func (d *Drive) Insert(v *Vertex) error { panic("being written") }

// ReplaceMedium swaps the medium without the guest noticing: what commit, snapshots and
// the overlay of -snapshot need. Requests in flight finish first.
func (d *Drive) ReplaceMedium(v *Vertex) error { panic("being written") }

// Remove takes the medium out, drained and flushed, and hands its reference over; nil if
// there was none.
func (d *Drive) Remove() (*Vertex, error) { panic("being written") }

// Tray and lock. A guest locks the medium (PREVENT MEDIUM REMOVAL), opens and closes the
// tray; the monitor asks for both.
func (d *Drive) TrayOpen() bool    { panic("being written") }
func (d *Drive) SetTray(open bool) { panic("being written") }
func (d *Drive) Locked() bool      { panic("being written") }
func (d *Drive) SetLocked(on bool) { panic("being written") }

// RequestEject asks the device for the medium with EjectRequested: what the monitor does
// when the guest has locked it.
func (d *Drive) RequestEject(force bool) { panic("being written") }

// Resize changes the size of the medium (smaller, too) between requests, and tells the
// device. ErrNoMedium if there is none.
func (d *Drive) Resize(size int64) error { panic("being written") }

// Attach names the device that uses the drive (a QOM path, or any name of the
// embedder's), "" for none; Attached tells. events receives what happens to the medium.
func (d *Drive) Attach(device string, events DriveEvents) error { panic("being written") }
func (d *Drive) Detach()                                        { panic("being written") }
func (d *Drive) Attached() string                               { panic("being written") }

// DriveEvents is what a device that uses a drive hears. Calls come from the goroutine
// that changed the drive; implementations hand over to their own.
type DriveEvents interface {
	MediumChanged(loaded bool) // the medium was taken out or a new one put in
	EjectRequested(force bool) // the monitor wants the medium out and the guest locked it
	Resized()                  // the medium has a new Size
}

// Requests. They go to the medium with the cache mode, statistics and limits of the
// drive; ErrNoMedium if there is none or the tray is open, ErrReadOnly as it says.
func (d *Drive) Size() (int64, error)                            { panic("being written") }
func (d *Drive) ReadAt(p []byte, off int64) (int, error)         { panic("being written") }
func (d *Drive) WriteAt(p []byte, off int64) (int, error)        { panic("being written") }
func (d *Drive) Flush() error                                    { panic("being written") }
func (d *Drive) Discard(off, n int64) error                      { panic("being written") }
func (d *Drive) WriteZeroes(off, n int64, flags ZeroFlags) error { panic("being written") }

// ReadOnly tells if writes are refused: by the drive's configuration or its medium.
func (d *Drive) ReadOnly() bool { panic("being written") }

// Drain holds back new requests and waits for those in flight; the function returned
// lets requests go on. Drains nest.
func (d *Drive) Drain() (resume func()) { panic("being written") }

// Stats are the counters of a drive.
type Stats struct {
	ReadBytes, WriteBytes          int64
	ReadOps, WriteOps, FlushOps    int64
	DiscardBytes, DiscardOps       int64
	FailedReads, FailedWrites      int64
	ReadTime, WriteTime, FlushTime time.Duration
	LastAccess                     time.Time // zero if never
	WriteHighest                   int64     // end of the highest byte written
}

// Stats returns the counters.
func (d *Drive) Stats() Stats { panic("being written") }

// Drives is an ordered set of drives with unique names: the drives of a machine.
// The zero value is ready.
type Drives struct{ drivesState }

type drivesState struct{}

func (s *Drives) Add(d *Drive) error             { panic("being written") }
func (s *Drives) Remove(name string) error       { panic("being written") }
func (s *Drives) Get(name string) (*Drive, bool) { panic("being written") }
func (s *Drives) All() []*Drive                  { panic("being written") }

// Close takes out and closes all media.
func (s *Drives) Close() error { panic("being written") }

// Commit writes what the drive's medium holds into its backing file and empties it, as
// HMP commit and qemu-img commit do. Errors in QEMU's words.
func (d *Drive) Commit(ctx context.Context) error { panic("being written") }
