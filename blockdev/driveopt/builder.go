package driveopt

import (
	"context"
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/filter/copyonread"
	"github.com/qmon/qmon/blockdev/filter/throttle"
)

// Board says which drives a machine has room for, and under which names.
type Board struct {
	// Default is the interface of a drive that names none.
	Default string
	// Interfaces that the board has controllers for. "none" is always there.
	Interfaces map[string]Controller
}

// Controller is the room on one kind of interface.
type Controller struct {
	Buses int
	// Units per bus; 0: any number, all on bus 0.
	Units int
}

// Builder makes drives and adds them to a machine's.
type Builder struct {
	Graph  *blockdev.Graph
	Gate   blockdev.Gate
	Drives *blockdev.Drives
	Board  Board
	// Snapshot puts a temporary overlay over every medium: -snapshot.
	Snapshot bool
	// TempDir is where overlays lie; "" for the system's.
	TempDir string
	// Warn receives warnings, whole lines without a newline; nil drops them.
	Warn func(string)

	placed []Placed
}

// Placed is a drive with its place on the board.
type Placed struct {
	Spec  Spec
	Drive *blockdev.Drive
}

// Placed lists the drives that were added for the board, in order.
func (b *Builder) Placed() []Placed { return b.placed }

// Add makes the drive that s describes, opens its medium, and adds it to Drives.
func (b *Builder) Add(ctx context.Context, s Spec) (*blockdev.Drive, error) {
	if err := b.place(&s); err != nil {
		return nil, err
	}
	name, err := b.name(s)
	if err != nil {
		return nil, err
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{
		Name:      name,
		Removable: s.CDROM || s.Interface == "floppy",
		Tray:      s.CDROM,
		ReadOnly:  s.ReadOnly || s.CDROM,
		Cache:     s.Cache,
		Errors:    s.Errors,
		Through:   b.through(s),
	})
	if s.File != "" || len(s.Options) > 0 {
		v, err := b.openMedium(ctx, s)
		if err == nil && s.Throttle != nil {
			v, err = b.throttled(ctx, s, name, v)
		}
		if err != nil {
			return nil, err
		}
		if err := d.Insert(v); err != nil {
			return nil, errors.Join(err, v.Unref())
		}
	} else if s.Format != "" {
		return nil, invalid(`A block device must be specified for "file"`)
	}
	if err := b.Drives.Add(d); err != nil {
		return nil, errors.Join(err, empty(d))
	}
	b.placed = append(b.placed, Placed{s, d})
	return d, nil
}

// empty takes the medium out of a drive that is not to be.
func empty(d *blockdev.Drive) error {
	v, err := d.Remove()
	if v == nil {
		return err
	}
	return errors.Join(err, v.Unref())
}

// place settles interface, bus and unit.
func (b *Builder) place(s *Spec) error {
	if s.Interface == "" {
		s.Interface = b.Board.Default
	}
	if s.ErrorsGiven && s.Interface == "floppy" {
		return invalid("werror is not supported by this bus type")
	}
	c := b.Board.Interfaces[s.Interface]
	if s.Index >= 0 {
		s.Bus, s.Unit = 0, s.Index
		if c.Units > 0 {
			s.Bus, s.Unit = s.Index/c.Units, s.Index%c.Units
		}
	}
	given := s.Unit >= 0
	s.Bus = max(s.Bus, 0)
	if !given {
		s.Unit = 0
		for b.taken(*s) {
			s.Unit++
			if c.Units > 0 && s.Unit == c.Units {
				s.Unit = 0
				s.Bus++
			}
		}
	}
	if c.Units > 0 && s.Unit >= c.Units {
		return invalid("unit %d too big (max is %d)", s.Unit, c.Units-1)
	}
	if given && b.taken(*s) {
		index := s.Unit
		if c.Units > 0 {
			index += s.Bus * c.Units
		}
		return invalid("drive with bus=%d, unit=%d (index=%d) exists", s.Bus, s.Unit, index)
	}
	if s.Interface != "none" && s.Bus >= c.Buses {
		return invalid("machine type does not support %s", s)
	}
	return nil
}

func (b *Builder) taken(s Spec) bool {
	for _, p := range b.placed {
		if p.Spec.Interface == s.Interface && p.Spec.Bus == s.Bus && p.Spec.Unit == s.Unit && !p.gone(b.Drives) {
			return true
		}
	}
	return false
}

// gone tells if the drive was deleted since.
func (p Placed) gone(all *blockdev.Drives) bool {
	d, ok := all.Get(p.Drive.Name())
	return !ok || d != p.Drive
}

// name is the user's id or what QEMU calls a drive at that place.
func (b *Builder) name(s Spec) (string, error) {
	if s.ID != "" {
		if _, ok := b.Drives.Get(s.ID); ok {
			return "", blockdev.Errorf(blockdev.ErrExists, "", "", "Duplicate ID '%s' for drive", s.ID)
		}
		return s.ID, nil
	}
	media := ""
	if s.Interface == "ide" || s.Interface == "scsi" {
		media = "-hd"
		if s.CDROM {
			media = "-cd"
		}
	}
	if b.Board.Interfaces[s.Interface].Units > 0 {
		return fmt.Sprintf("%s%d%s%d", s.Interface, s.Bus, media, s.Unit), nil
	}
	return fmt.Sprintf("%s%s%d", s.Interface, media, s.Unit), nil
}

// openMedium opens what the Spec names, with an overlay over it if asked for.
func (b *Builder) openMedium(ctx context.Context, s Spec) (*blockdev.Vertex, error) {
	overlay := s.Snapshot || b.Snapshot
	v, err := b.Graph.Open(ctx, s.File, blockdev.OpenOptions{
		Driver:  s.Format,
		Options: s.Options,
		Mode: blockdev.Mode{
			Writable:     !s.ReadOnly && !s.CDROM && !overlay,
			AutoReadOnly: s.Interface == "floppy", // a floppy may be write-protected
			Cache:        s.Cache,
			Unmap:        s.Unmap,
		},
		DetectZeroes: s.DetectZeroes,
		Gate:         b.Gate,
	})
	if err != nil {
		return nil, err
	}
	if v.Probed && v.Driver.Name == "raw" && !s.ReadOnly && !s.CDROM {
		b.warnProbed(s.File)
	}
	if warning := blockdev.DiskWarning(v); warning != "" && b.Warn != nil {
		b.Warn(warning)
	}
	if !overlay {
		return v, nil
	}
	over, err := b.Graph.OpenOverlay(ctx, v, b.TempDir)
	if err != nil {
		return nil, errors.Join(err, v.Unref())
	}
	return over, nil
}

// through is what requests go through on their way to a drive's media; nil for nothing.
func (b *Builder) through(s Spec) func(blockdev.Node) blockdev.Node {
	switch {
	case !s.CopyOnRead:
		return nil
	case s.ReadOnly || s.CDROM:
		if b.Warn != nil {
			b.Warn("warning: disabling copy-on-read on read-only drive")
		}
		return nil
	}
	return func(n blockdev.Node) blockdev.Node { return copyonread.New(n) }
}

// throttled puts the drive's limits over its medium. Drives of one group share the limits,
// which are those that were given last.
func (b *Builder) throttled(ctx context.Context, s Spec, name string, v *blockdev.Vertex) (*blockdev.Vertex, error) {
	group := s.ThrottleGroup
	if group == "" {
		group = name
	}
	throttle.SetLimits(group, *s.Throttle)
	o := blockdev.Options{"driver": "throttle", "throttle-group": group, "file": v.Name}
	over, err := b.Graph.OpenDescription(ctx, o, blockdev.OpenOptions{Mode: v.Mode()})
	return over, errors.Join(err, v.Unref()) // over holds a reference of its own
}

func (b *Builder) warnProbed(file string) {
	if b.Warn == nil {
		return
	}
	b.Warn(fmt.Sprintf("WARNING: Image format was not specified for '%s' and probing guessed raw.\n"+
		"         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n"+
		"         Specify the 'raw' format explicitly to remove the restrictions.", file))
}
