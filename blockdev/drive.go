package blockdev

import "sync"

// Drive is what a machine's device holds: a name, a medium or none, the tray, and how
// requests are treated. All methods are safe for concurrent use.
//
//	device --> ReadAt, WriteAt, ... --> gate (Drain) --> medium --> Stats
//	monitor -> Insert, Remove, Tray --^
type Drive struct{ driveState }

type driveState struct {
	config DriveConfig

	// change is held by whoever exchanges the medium, so that two do not at once.
	change sync.Mutex

	mu       sync.Mutex
	idle     sync.Cond // inFlight or drains became zero
	inFlight int       // requests that have begun and not ended
	drains   int       // Drains that have not resumed
	medium   *Vertex
	through  Node   // how requests go to medium
	changes  uint64 // how often a medium came or went
	trayOpen bool
	locked   bool
	device   string
	events   DriveEvents
	stats    Stats
}

// DriveConfig describes a drive to be made.
type DriveConfig struct {
	Name      string // "ide0-hd0", or the user's id
	Removable bool   // the device lets the medium be changed: CD, floppy
	Tray      bool   // has a tray that opens (CD-ROM)
	ReadOnly  bool   // media are opened read-only
	Cache     CacheMode
	Errors    ErrorPolicy
	// Through, if set, puts something between the device's requests and a medium that can be
	// written, as copy-on-read. All others see the medium itself.
	Through func(Node) Node
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
func NewDrive(c DriveConfig) *Drive {
	d := &Drive{}
	d.config = c
	d.changes = 1
	d.idle.L = &d.mu
	return d
}

// Name is the drive's name.
func (d *Drive) Name() string { return d.config.Name }

// Config is what the drive was made with; its device says if media can be changed.
func (d *Drive) Config() DriveConfig {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}

// Medium is what is in the drive, nil for none. It is there also while the tray is open.
func (d *Drive) Medium() *Vertex {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.medium
}

// Insert puts a medium in: the drive must be empty. It takes over the reference.
func (d *Drive) Insert(v *Vertex) error {
	if v == nil {
		return Errorf(ErrInvalid, "insert", d.config.Name, "no medium to insert")
	}
	d.mu.Lock()
	if d.medium != nil {
		d.mu.Unlock()
		return Errorf(ErrExists, "insert", d.config.Name, "There already is a medium in device '%s'", d.config.Name)
	}
	d.setMedium(v)
	d.changes++
	events := d.events
	d.mu.Unlock()
	d.watchHost(v)
	if events != nil {
		events.MediumChanged(true)
	}
	return nil
}

// ReplaceMedium swaps the medium without the guest noticing: what commit, snapshots and
// the overlay of -snapshot need. Requests in flight finish first. It takes over the
// reference to v and drops the drive's to the old medium; an empty drive gives ErrNoMedium
// and takes nothing over.
func (d *Drive) ReplaceMedium(v *Vertex) error {
	d.change.Lock()
	defer d.change.Unlock()
	resume := d.Drain()
	defer resume()
	d.mu.Lock()
	old := d.medium
	if old != nil {
		d.setMedium(v)
	}
	d.mu.Unlock()
	if old == nil {
		return noMedium("replace", d.config.Name)
	}
	d.watchHost(v)
	return old.Unref()
}

// Remove takes the medium out, drained and flushed, and hands its reference over; nil if
// there was none. A flush that fails leaves the medium in.
func (d *Drive) Remove() (*Vertex, error) {
	v, err := d.remove()
	if v == nil || err != nil {
		return nil, err
	}
	// The device hears of it when requests go on, so that it may make some.
	if events := d.listener(); events != nil {
		events.MediumChanged(false)
	}
	return v, nil
}

func (d *Drive) remove() (*Vertex, error) {
	d.change.Lock()
	defer d.change.Unlock()
	resume := d.Drain()
	defer resume()
	v := d.Medium()
	if v == nil {
		return nil, nil
	}
	if err := v.Node.Flush(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setMedium(nil)
	d.changes++
	return v, nil
}

// setMedium puts v, nil for nothing, in the drive, which is locked.
func (d *Drive) setMedium(v *Vertex) {
	d.medium, d.through = v, nil
	if v == nil {
		return
	}
	d.through = v.Node
	if d.config.Through != nil && v.Mode().Writable && !d.config.ReadOnly {
		d.through = d.config.Through(v.Node)
	}
}

// Removable tells if the medium can be changed: the device is made for that, or there is
// none.
func (d *Drive) Removable() bool { return d.Config().Removable || d.Attached() == "" }

func noMedium(op, drive string) error { return Errorf(ErrNoMedium, op, drive, "No medium found") }

// TrayOpen tells if the tray is out; a medium in it cannot be read then.
func (d *Drive) TrayOpen() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trayOpen
}

// SetTray opens or closes the tray, and tells the device if that moved it. Drives without
// one ignore it. A tray that is out is not locked.
func (d *Drive) SetTray(open bool) {
	d.mu.Lock()
	open = open && d.config.Tray
	moved := open != d.trayOpen
	d.trayOpen = open
	d.locked = d.locked && !(open && moved)
	events := d.events
	d.mu.Unlock()
	if moved && events != nil {
		events.TrayMoved(open)
	}
}

// Locked tells if the guest prevents the medium's removal.
func (d *Drive) Locked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.locked
}

// SetLocked is the guest's PREVENT ALLOW MEDIUM REMOVAL.
func (d *Drive) SetLocked(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locked = on
}

// RequestEject asks the device for the medium with EjectRequested: what the monitor does
// when the guest has locked it.
func (d *Drive) RequestEject(force bool) {
	if events := d.listener(); events != nil {
		events.EjectRequested(force)
	}
}

// Resize changes the size of the medium (smaller, too) between requests, and tells the
// device. ErrNoMedium if there is none.
func (d *Drive) Resize(size int64) error { return d.ResizeWith(size, ResizeOptions{Shrink: true}) }

// ResizeWith is Resize with options.
func (d *Drive) ResizeWith(size int64, o ResizeOptions) error {
	if err := d.resize(size, o); err != nil {
		return err
	}
	if events := d.listener(); events != nil {
		events.Resized()
	}
	return nil
}

func (d *Drive) resize(size int64, o ResizeOptions) error {
	resume := d.Drain()
	defer resume()
	v := d.Medium()
	switch {
	case v == nil:
		return noMedium("resize", d.config.Name)
	case !v.Mode().Writable:
		return Errorf(ErrReadOnly, "resize", d.config.Name, "Block node is read-only")
	}
	return Resize(v.Node, size, o)
}

// AttachRemovable is Attach for a device whose medium can be changed, through a tray or
// something that counts as one, whatever the drive was made for.
func (d *Drive) AttachRemovable(device string, events DriveEvents) error {
	if err := d.Attach(device, events); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config.Removable, d.config.Tray = true, true
	return nil
}

// Attach names the device that uses the drive (a QOM path, or any name of the
// embedder's). events, which may be nil, receives what happens to the medium.
func (d *Drive) Attach(device string, events DriveEvents) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.device != "" {
		return Errorf(ErrInUse, "attach", d.config.Name, "Drive '%s' is already in use by another device", d.config.Name)
	}
	d.device, d.events = device, events
	return nil
}

// Detach ends what Attach began; the guest's lock goes with its device.
func (d *Drive) Detach() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.device, d.events, d.locked = "", nil, false
}

// Attached is the device that uses the drive, "" for none.
func (d *Drive) Attached() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.device
}

func (d *Drive) listener() DriveEvents {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.events
}

// DriveEvents is what a device that uses a drive hears. Calls come from the goroutine
// that changed the drive; implementations hand over to their own.
type DriveEvents interface {
	MediumChanged(loaded bool) // the medium was taken out or a new one put in
	TrayMoved(open bool)       // somebody opened or closed the tray
	EjectRequested(force bool) // the monitor wants the medium out and the guest locked it
	Resized()                  // the medium has a new Size
}
