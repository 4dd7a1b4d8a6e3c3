package monitor

import (
	"cmp"
	"context"
	"errors"
	"os"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/internal/qemuopts"
)

var mediaCommands = []Command{
	{
		Name: "change", Args: "device:B -f filename:F format:s? read-only-mode:s?",
		Params: "device [-f] filename [format [read-only-mode]]",
		Help:   "put another medium in; its format is probed if not given; -f does not ask the guest",
		Run:    change, Complete: completeChange,
	},
	{
		Name: "eject", Args: "-f device:B",
		Help: "take the medium out; -f does not ask the guest", Run: eject,
	},
	{
		Name: "drive_add", Args: "-n address:s options:s",
		Params: "[-n] address [file=file][,if=none][,id=name][,option=value]...",
		Help:   "make a drive from -drive's options; with -n make a node from -blockdev's",
		Run:    driveAdd,
	},
	{Name: "drive_del", Args: "device:B", Help: "take a drive away, with its medium", Run: driveDelete},
}

func notRemovable(name string) error {
	return blockdev.Errorf(blockdev.ErrNotSupported, "", "", "Device '%s' is not removable", name)
}

// eject takes the medium out, through the tray where there is one. A drive without a
// medium stays as it is, with its tray open.
func eject(_ context.Context, s *Session, a Args) error {
	d, err := s.Drive(a.String("device"))
	if err != nil {
		return err
	}
	if err := s.openTray(d, a.Flag("f")); err != nil {
		return err
	}
	v, err := d.Remove()
	if err != nil || v == nil {
		return err
	}
	return v.Unref()
}

// openTray opens the tray if the medium can be changed and the guest, or force, allows it.
func (s *Session) openTray(d *blockdev.Drive, force bool) error {
	if !d.Removable() {
		return notRemovable(d.Name())
	}
	if d.Locked() && !force && !d.TrayOpen() {
		d.RequestEject(false)
		return blockdev.Errorf(blockdev.ErrInUse, "", "",
			"Device '%s' is locked and force was not specified, wait for tray to open and try again", d.Name())
	}
	d.SetTray(true)
	return nil
}

// change opens the new medium before it touches the old one.
func change(ctx context.Context, s *Session, a Args) error {
	d, err := s.Drive(a.String("device"))
	if err != nil {
		return err
	}
	o, err := s.mediumOptions(d, a.String("format"), a.String("read-only-mode"))
	if err != nil {
		return err
	}
	v, err := s.monitor.config.Graph.Open(ctx, a.String("filename"), o)
	if errors.Is(err, blockdev.ErrInUse) && d.Medium() != nil && d.Removable() {
		return s.reopen(ctx, d, a, o, err)
	}
	if err != nil {
		return err
	}
	return s.swap(d, v, a.Flag("f"))
}

// mediumOptions says how change opens a medium.
func (s *Session) mediumOptions(d *blockdev.Drive, format, mode string) (blockdev.OpenOptions, error) {
	o := blockdev.OpenOptions{Driver: format, Gate: s.monitor.config.Gate}
	o.Mode.Cache = d.Config().Cache
	o.Mode.Unmap = true
	switch mode {
	case "", "retain":
		o.Mode.Writable = !d.Config().ReadOnly
		if v := d.Medium(); v != nil {
			o.Mode.Writable = v.Mode().Writable
		}
	case "read-only":
	case "read-write":
		o.Mode.Writable = true
	default:
		return o, blockdev.Errorf(blockdev.ErrInvalid, "", "", "invalid parameter value: %s", mode)
	}
	return o, nil
}

// swap puts v in place of the drive's medium, or closes v where that fails. The error may
// also be that of closing the old medium.
func (s *Session) swap(d *blockdev.Drive, v *blockdev.Vertex, force bool) error {
	old, err := s.exchange(d, v, force)
	if err != nil {
		return errors.Join(err, v.Unref())
	}
	d.SetTray(false)
	if old == nil {
		return nil
	}
	return old.Unref()
}

// exchange takes the medium out, through the tray, and puts v in. The old one stays if that
// fails.
func (s *Session) exchange(d *blockdev.Drive, v *blockdev.Vertex, force bool) (old *blockdev.Vertex, err error) {
	if err := s.openTray(d, force); err != nil {
		return nil, err
	}
	if old, err = d.Remove(); err != nil {
		return nil, err
	}
	if err = d.Insert(v); err != nil && old != nil {
		err = errors.Join(err, d.Insert(old))
	}
	return old, err
}

// reopen is change where the new medium is locked: by the old one, if it is the same
// image. The old one is let go first, and comes back if that did not help.
func (s *Session) reopen(ctx context.Context, d *blockdev.Drive, a Args, o blockdev.OpenOptions, locked error) error {
	old := d.Medium()
	if !sameFile(old.Filename, a.String("filename")) {
		return locked
	}
	back := blockdev.OpenOptions{Driver: old.Driver.Name, Mode: old.Mode(), Gate: s.monitor.config.Gate}
	if err := s.openTray(d, a.Flag("f")); err != nil {
		return err
	}
	if _, err := d.Remove(); err != nil {
		return err
	}
	if err := old.Unref(); err != nil {
		return err
	}
	v, err := s.monitor.config.Graph.Open(ctx, a.String("filename"), o)
	if err != nil {
		if v, _ = s.monitor.config.Graph.Open(ctx, old.Filename, back); v == nil {
			return err
		}
	}
	return errors.Join(err, s.swap(d, v, true))
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return a == b
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// busTypes are the numbers by which QEMU's message calls the interfaces of -drive.
var busTypes = map[string]int{
	"none": 0, "ide": 1, "scsi": 2, "floppy": 3, "pflash": 4, "mtd": 5, "sd": 6, "virtio": 7, "xen": 8,
}

// driveAdd makes a drive for devices to come: only those with no place on a board can be
// added to a machine that is switched on. The address is not looked at.
func driveAdd(ctx context.Context, s *Session, a Args) error {
	if a.Flag("n") {
		return s.addNode(ctx, a.String("options"))
	}
	spec, err := driveopt.Parse(a.String("options"))
	if err != nil {
		return Verbatim("%s", blockdev.Message(err))
	}
	d, err := s.monitor.config.Drives.Add(ctx, spec)
	if err != nil {
		return Verbatim("%s", blockdev.Message(err))
	}
	placed := s.monitor.config.Drives.Placed()
	if on := placed[len(placed)-1].Spec.Interface; on != "none" {
		return cmp.Or(s.removeDrive(d), Verbatim("Can't hot-add drive to type %d", busTypes[on]))
	}
	s.Println("OK")
	return nil
}

// addNode is -blockdev at the console.
func (s *Session) addNode(ctx context.Context, text string) error {
	description := blockdev.Options{}
	for _, o := range qemuopts.Parse(text, "") {
		description[o.Key] = o.Value
	}
	name := description["node-name"]
	if name == "" {
		return Verbatim("'node-name' needs to be specified")
	}
	v, err := s.monitor.config.Graph.OpenDescription(ctx, description, blockdev.OpenOptions{
		Mode: blockdev.Mode{Writable: true},
		Gate: s.monitor.config.Gate,
	})
	if err != nil {
		return Verbatim("%s", blockdev.Message(err))
	}
	s.monitor.mu.Lock()
	defer s.monitor.mu.Unlock()
	s.monitor.nodes[name] = v
	return nil
}

func driveDelete(_ context.Context, s *Session, a Args) error {
	name := a.String("device")
	if d, err := s.Drive(name); err == nil {
		return s.removeDrive(d)
	}
	s.monitor.mu.Lock()
	defer s.monitor.mu.Unlock()
	v, ok := s.monitor.nodes[name]
	if !ok {
		if _, exists := s.monitor.config.Graph.Find(name); exists {
			return Verbatim("Block device %s is in use", name)
		}
		return Verbatim("Device '%s' not found", name)
	}
	delete(s.monitor.nodes, name)
	return v.Unref()
}

// removeDrive takes a drive off the machine. A device that uses it finds it empty. A medium
// that cannot be flushed is closed as well: nobody could get at it again.
func (s *Session) removeDrive(d *blockdev.Drive) error {
	if err := s.Machine().Drives().Remove(d.Name()); err != nil {
		return err
	}
	v, err := d.Remove()
	if v == nil {
		v = d.Medium()
	}
	if v == nil {
		return err
	}
	return errors.Join(err, v.Unref())
}
