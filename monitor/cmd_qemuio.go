package monitor

import (
	"cmp"
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/qemuio"
)

var qemuioCommands = []Command{{
	Name: "qemu-io", Args: "-d device:B command:s", Params: `[-d] [device] "[command]"`,
	Help: "read and write a disk with qemu-io's commands; -d: the disk of that device",
	Run:  exercise, Complete: completeExercised,
}}

// exercise runs a command of qemu-io on a drive or a named node. What the command prints
// goes to the program's own output, as in QEMU, and only what is about the disk itself to
// the console.
func exercise(ctx context.Context, s *Session, a Args) (err error) {
	d, done, err := s.exercised(a.String("device"), a.Flag("d"))
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, done()) }()
	e := qemuio.New(d, qemuio.Config{
		Out:     s.monitor.config.Stdout,
		Err:     s.monitor.config.Stderr,
		Console: s.out,
		Report:  s.Println,
	})
	failed := e.Run(ctx, a.String("command"))
	e.Wait()
	if failed != nil {
		return Verbatim("") // it has told why
	}
	return nil
}

// exercised finds a drive by its name, by that of the device that uses it, or makes one
// for a named node. done is called when the drive is no longer needed.
func (s *Session) exercised(name string, isDevice bool) (d *blockdev.Drive, done func() error, err error) {
	nothing := func() error { return nil }
	for _, d := range s.Machine().Drives().All() {
		if !isDevice && d.Name() == name || isDevice && d.Attached() == name {
			return d, nothing, nil
		}
	}
	if isDevice {
		return nil, nil, blockdev.Errorf(blockdev.ErrNotFound, "", "", "Device '%s' not found", name)
	}
	v, ok := s.monitor.config.Graph.Find(name)
	if !ok {
		return nil, nil, blockdev.Errorf(blockdev.ErrNotFound, "", "", "Cannot find device='' nor node-name='%s'", name)
	}
	d = blockdev.NewDrive(blockdev.DriveConfig{Name: name})
	if err := d.Insert(v.Ref()); err != nil {
		return nil, nil, cmp.Or(err, v.Unref())
	}
	return d, func() error {
		v, err := d.Remove()
		if v == nil {
			return err
		}
		return cmp.Or(err, v.Unref())
	}, nil
}

// completeExercised offers the words of qemu-io, and the drives as everywhere.
func completeExercised(s *Session, argument, _ string) []string {
	if argument != "command" {
		return nil
	}
	return qemuio.New(nil, qemuio.Config{}).Names()
}
