package scsi

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

// Kind is what a unit is.
type Kind uint8

const (
	Disk   Kind = iota
	CDROM       // removable medium of blocks of 2048 bytes, read-only
	Floppy      // a disk with a removable medium
)

// Config describes a unit to be made.
type Config struct {
	Machine *vm.Machine
	Drive   *blockdev.Drive
	Kind    Kind
	// Removable makes a disk one whose medium can be changed; the other kinds are.
	Removable bool
	// Vendor and Product are what INQUIRY says, at most 8 and 16 bytes; "" for the usual.
	Vendor, Product string
	Serial          string // "" for none; at most 36 bytes count
	ID              string // the user's, may be empty
	// Address is the unit's place on its bus, and Host the name of that: parts of the name
	// in the saved state.
	Address Address
	Host    string
	// Path is what the drive says it is attached to.
	Path string
	// Changed is told that the capacity is another; nil if nobody wants to know.
	Changed func()
}

// Address is a unit's place on a bus.
type Address struct{ Channel, Target, LUN int }

// Unit is a logical unit. Except for Task.Run and the methods of blockdev.DriveEvents, all of
// it belongs to the machine's goroutine.
type Unit struct {
	machine   *vm.Machine
	drive     *blockdev.Drive
	kind      Kind
	removable bool
	vendor    string
	product   string
	serial    string
	id        string
	host      string
	address   Address
	changed   func()

	medium    blockdev.Loaded // what the guest has been told is there
	blocks    uint64          // of it, as the command at hand found it; 0 with no medium
	attention Sense           // waits to be reported; zero for nothing
	sense     Sense           // of the last command that failed
	// replaced: after the attention that the medium was removed comes one that there is a new.
	replaced   bool
	mediaEvent byte // for GET EVENT STATUS NOTIFICATION
	ejectAsked bool // the monitor wants the medium
	opened     bool // the guest opened the tray
	writeback  bool // written data may be in a cache until SYNCHRONIZE CACHE
}

var (
	_ vm.Device            = (*Unit)(nil)
	_ blockdev.DriveEvents = (*Unit)(nil)
)

// New makes a unit and attaches it to its drive. A disk that cannot be removed needs a medium.
func New(c Config) (*Unit, error) {
	u := &Unit{
		machine: c.Machine, drive: c.Drive, kind: c.Kind, removable: c.Removable || c.Kind != Disk,
		vendor: c.Vendor, product: c.Product, serial: c.Serial, id: c.ID,
		host: c.Host, address: c.Address, changed: c.Changed,
		writeback: true,
	}
	u.nameItself()
	if _, err := c.Drive.Size(); err != nil && !u.removable {
		return nil, errors.New("Device needs media, but drive is empty")
	}
	attach := func() error { return c.Drive.Attach(c.Path, u) }
	if u.removable {
		attach = func() error { return c.Drive.AttachRemovable(c.Path, u) }
	}
	if err := attach(); err != nil {
		return nil, err
	}
	u.Reset()
	return u, nil
}

// nameItself fills in what INQUIRY says where the user does not.
func (u *Unit) nameItself() {
	if u.vendor == "" {
		u.vendor = "QEMU" // drivers and udev rules know it
	}
	if u.product == "" {
		u.product = map[Kind]string{Disk: "QEMU HARDDISK", CDROM: "QEMU CD-ROM", Floppy: "QEMU FLOPPY"}[u.kind]
	}
}

// Drive is the drive behind the unit.
func (u *Unit) Drive() *blockdev.Drive { return u.drive }

// Address is the unit's place on its bus.
func (u *Unit) Address() Address { return u.address }

// Reset implements vm.Device: power on, or a reset of the unit or its bus. The tray goes in, and
// nothing keeps it shut.
func (u *Unit) Reset() {
	u.drive.SetLocked(false)
	u.drive.SetTray(false)
	u.medium = u.drive.Loaded()
	u.attention, u.sense = attentionReset, Sense{}
	u.replaced, u.mediaEvent, u.ejectAsked, u.opened = false, eventNone, false, false
	u.writeback = true
}

// Detach ends the unit's use of its drive.
func (u *Unit) Detach() { u.drive.Detach() }

// blockSize is the length of a logical block in bytes.
func (u *Unit) blockSize() int64 {
	if u.kind == CDROM {
		return opticalBlock
	}
	return diskBlock
}

const (
	diskBlock    = 512
	opticalBlock = 2048
)

// look looks at the medium, which may be taken away at any time: a command sees it as it was at
// its beginning. It tells if there is one.
func (u *Unit) look() bool {
	n, err := u.medium.Size()
	u.blocks = uint64(n / u.blockSize())
	return err == nil
}

// takeAttention takes the unit attention condition that waits. After the one about a removed
// medium comes the one about a new one, if there is: guests that ask for neither in between see
// both.
func (u *Unit) takeAttention() Sense {
	s := u.attention
	u.attention = Sense{}
	if u.replaced {
		u.replaced = false
		u.attention = attentionMediumChanged
	}
	return s
}

// attend makes a unit attention condition wait. That there was a reset is more than anything
// else (SAM-5, 5.14); of the rest the newest counts.
func (u *Unit) attend(s Sense) {
	if u.attention != attentionReset {
		u.attention = s
	}
}
