// Package driveopt reads -drive's options and makes drives of them: for an emulator's
// command line, for -hda and its kin, and for the monitor's drive_add.
//
//	"file=a.qcow2,if=ide,index=0"  --Parse-->  Spec  --Builder.Add-->  *blockdev.Drive
package driveopt

import (
	"fmt"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/filter/throttle"
	"github.com/qmon/qmon/internal/qemuopts"
)

// Spec is a drive as asked for.
type Spec struct {
	ID        string
	Interface string // if=: "ide", "floppy", "virtio", "none", ...; "" for the board's default
	Bus, Unit int    // -1 if not given
	Index     int    // -1 if not given
	CDROM     bool   // media=cdrom
	File      string // "" for an empty drive
	Format    string // "" to probe
	ReadOnly  bool
	Snapshot  bool // put a temporary overlay over the medium
	Cache     blockdev.CacheMode
	Unmap     bool // discard=unmap; off, a guest's discards are ignored
	// DetectZeroes is what is done about zeroes that a guest writes.
	DetectZeroes blockdev.DetectZeroes
	Errors       blockdev.ErrorPolicy
	// ErrorsGiven tells if werror= or rerror= were, which not every interface takes.
	ErrorsGiven bool
	// CopyOnRead keeps what is read from the backing file in the image.
	CopyOnRead bool
	// Throttle are the limits of the drive, those of a group if it names one; nil for none.
	Throttle      *throttle.Limits
	ThrottleGroup string
	// Options are the rest: the driver's own, with dotted keys.
	Options blockdev.Options
}

func invalid(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "", "", format, args...)
}

// interfaces that if= knows; each board takes some of them.
var interfaces = map[string]bool{
	"none": true, "ide": true, "scsi": true, "floppy": true, "pflash": true, "mtd": true,
	"sd": true, "virtio": true, "xen": true,
}

// New is a Spec with nothing but a file and an interface position.
func New(file, iface string, index int) Spec {
	return Spec{File: file, Interface: iface, Bus: -1, Unit: -1, Index: index, Options: blockdev.Options{}}
}

// Parse reads -drive's option string.
func Parse(text string) (Spec, error) {
	l := qemuopts.Parse(text, "")
	s := Spec{Options: blockdev.Options{}}
	for _, step := range []func(*qemuopts.List) error{s.takePlace, s.takeMedium, s.takeModes, s.takeErrors, s.takeThrottle} {
		if err := step(&l); err != nil {
			return Spec{}, err
		}
	}
	for _, p := range l {
		s.Options[p.Key] = p.Value
	}
	return s, nil
}

// takePlace reads what says where the drive is on the board.
func (s *Spec) takePlace(l *qemuopts.List) (err error) {
	given := false
	if s.ID, given = l.Take("id"); given {
		if err := qemuopts.CheckID(s.ID); err != nil {
			return invalid("%s", err)
		}
	}
	if s.Interface, given = l.Take("if"); given && !interfaces[s.Interface] {
		return invalid("unsupported bus type '%s'", s.Interface)
	}
	for _, o := range []struct {
		key string
		to  *int
	}{{"bus", &s.Bus}, {"unit", &s.Unit}, {"index", &s.Index}} {
		if *o.to, err = l.TakeInt(o.key, -1); err != nil {
			return invalid("%s", err)
		}
	}
	if s.Index >= 0 && (s.Bus >= 0 || s.Unit >= 0) {
		return invalid("index cannot be used with bus and unit")
	}
	return nil
}

// takeMedium reads what is in the drive.
func (s *Spec) takeMedium(l *qemuopts.List) (err error) {
	switch media, given := l.Take("media"); {
	case media == "cdrom":
		s.CDROM = true
	case given && media != "disk":
		return invalid("'%s' invalid media", media)
	}
	s.File, _ = l.Take("file")
	format, given := l.Take("format")
	if given && format == "" {
		return invalid("Unknown driver ''")
	}
	s.Format = format
	if _, ok := l.Get("driver"); ok && s.Format != "" {
		return invalid("Cannot specify both 'driver' and 'format'")
	}
	for _, o := range []struct {
		key, shown string
		to         *bool
	}{{"readonly", "read-only", &s.ReadOnly}, {"snapshot", "snapshot", &s.Snapshot}} {
		if *o.to, err = l.TakeBool(o.key, false); err != nil {
			return invalid("Parameter '%s' expects 'on' or 'off'", o.shown)
		}
	}
	if ro, ok := l.Take("read-only"); ok {
		if s.ReadOnly, err = qemuopts.Bool("read-only", ro); err != nil {
			return invalid("%s", err)
		}
	}
	return nil
}

// cacheModes are the values of cache=.
var cacheModes = map[string]blockdev.CacheMode{
	"none":         {Direct: true},
	"off":          {Direct: true},
	"writethrough": {WriteThrough: true},
	"writeback":    {},
	"directsync":   {WriteThrough: true, Direct: true},
	"unsafe":       {NoFlush: true},
}

// CacheMode finds the meaning of a word of cache=.
func CacheMode(word string) (blockdev.CacheMode, bool) {
	c, ok := cacheModes[word]
	return c, ok
}

// takeModes reads how the medium is used.
func (s *Spec) takeModes(l *qemuopts.List) error {
	if word, ok := l.Take("cache"); ok {
		if s.Cache, ok = CacheMode(word); !ok {
			return invalid("invalid cache option")
		}
	}
	if err := s.takeCacheSwitches(l); err != nil {
		return err
	}
	switch v, ok := l.Take("discard"); {
	case v == "unmap", v == "on":
		s.Unmap = true
	case !ok, v == "ignore", v == "off":
	default:
		return invalid("Invalid discard option")
	}
	switch v, ok := l.Take("aio"); {
	case !ok, v == "threads", v == "native", v == "io_uring":
	default:
		return invalid("invalid aio option")
	}
	if err := s.takeDetectZeroes(l); err != nil {
		return err
	}
	var err error
	if s.CopyOnRead, err = l.TakeBool("copy-on-read", false); err != nil {
		return invalid("%s", err)
	}
	return nil
}

// takeCacheSwitches reads the three switches that cache= combines.
func (s *Spec) takeCacheSwitches(l *qemuopts.List) error {
	writeback, err := l.TakeBool("cache.writeback", !s.Cache.WriteThrough)
	if err != nil {
		return invalid("%s", err)
	}
	s.Cache.WriteThrough = !writeback
	for _, o := range []struct {
		key string
		to  *bool
	}{{"cache.direct", &s.Cache.Direct}, {"cache.no-flush", &s.Cache.NoFlush}} {
		if *o.to, err = l.TakeBool(o.key, *o.to); err != nil {
			return invalid("%s", err)
		}
	}
	return nil
}

func (s *Spec) takeDetectZeroes(l *qemuopts.List) error {
	switch v, ok := l.Take("detect-zeroes"); {
	case !ok, v == "off":
	case v == "on":
		s.DetectZeroes = blockdev.DetectZeroesOn
	case v == "unmap":
		s.DetectZeroes = blockdev.DetectZeroesUnmap
	default:
		return invalid("invalid parameter value: %s", v)
	}
	return nil
}

// errorActions are the values of werror= and rerror=.
var errorActions = map[string]blockdev.ErrorAction{
	"ignore": blockdev.ErrorIgnore,
	"report": blockdev.ErrorReport,
	"stop":   blockdev.ErrorStop,
	"enospc": blockdev.ErrorENOSPC,
}

func (s *Spec) takeErrors(l *qemuopts.List) error {
	s.Errors = blockdev.ErrorPolicy{Read: blockdev.ErrorReport, Write: blockdev.ErrorENOSPC}
	if w, ok := l.Take("werror"); ok {
		if s.Errors.Write, ok = errorActions[w]; !ok {
			return invalid("'%s' invalid write error action", w)
		}
		s.ErrorsGiven = true
	}
	if r, ok := l.Take("rerror"); ok {
		if s.Errors.Read, ok = errorActions[r]; !ok || r == "enospc" {
			return invalid("'%s' invalid read error action", r)
		}
		s.ErrorsGiven = true
	}
	return nil
}

// takeThrottle reads the limits.
func (s *Spec) takeThrottle(l *qemuopts.List) error {
	given := blockdev.Options{}
	for _, p := range *l {
		if strings.HasPrefix(p.Key, "throttling.") {
			given[p.Key] = p.Value
		}
	}
	for key := range given {
		l.Take(key)
	}
	s.ThrottleGroup, _ = given.Take("throttling.group")
	if len(given) == 0 {
		return nil
	}
	limits, err := throttle.ParseLimits(given)
	if err != nil {
		return invalid("%s", blockdev.Message(err))
	}
	s.Throttle = &limits
	return nil
}

// String is the Spec's place as messages name it.
func (s Spec) String() string { return fmt.Sprintf("if=%s,bus=%d,unit=%d", s.Interface, s.Bus, s.Unit) }
