package monitor

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
)

var externalCommands = []Command{{
	Name: "snapshot_blkdev", Args: "-n device:B file:F? format:s?", Params: "[-n] device [new-image-file] [format]",
	Help: "leave a disk as it is and go on in a new image over it (format: qcow2); -n takes one that is there",
	Run:  snapshotExternal,
}}

// externalFormat is what new images are made in.
const externalFormat = "qcow2"

// snapshotExternal puts an image over the medium of a drive, which is written no more.
func snapshotExternal(ctx context.Context, s *Session, a Args) error {
	if !a.Has("file") {
		return blockdev.Errorf(blockdev.ErrInvalid, "", "", "Parameter 'snapshot-file' is missing")
	}
	d, ok := s.Machine().Drives().Get(a.String("device"))
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotFound, "", "", "Cannot find device='%s' nor node-name=''", a.String("device"))
	}
	below := d.Medium()
	if below == nil {
		return blockdev.Errorf(blockdev.ErrNoMedium, "", "", "Device '%s' has no medium", d.Name())
	}
	if strings.HasPrefix(below.Filename, "json:") && !a.Flag("n") {
		return blockdev.Errorf(blockdev.ErrNotSupported, "", "",
			"an image cannot name what is in '%s' as its backing file; make one without and use -n", d.Name())
	}
	format := cmp.Or(a.String("format"), externalFormat)
	if !a.Flag("n") {
		if err := s.createOver(ctx, below, a.String("file"), format); err != nil {
			return err
		}
	}
	return s.goOnIn(ctx, d, below, a.String("file"), format)
}

// createOver makes an image whose backing file is that of below.
func (s *Session) createOver(ctx context.Context, below *blockdev.Vertex, file, format string) error {
	size := below.Node.Size()
	return img.Create(ctx, img.CreateOptions{
		Session:  img.Session{Graph: s.monitor.config.Graph, Gate: s.monitor.config.Gate},
		Filename: file, Format: format, Size: &size,
		Backing: below.Filename, BackingFormat: below.Driver.Name,
		Announce: func(line string) { fmt.Fprintln(s.monitor.config.Stdout, line) },
	})
}

// goOnIn opens the image over below and puts it into the drive.
func (s *Session) goOnIn(ctx context.Context, d *blockdev.Drive, below *blockdev.Vertex, file, format string) error {
	mode := below.Mode()
	mode.Writable = true
	v, err := s.monitor.config.Graph.Open(ctx, file, blockdev.OpenOptions{
		Driver: format, Mode: mode, NoBacking: true, Gate: s.monitor.config.Gate,
	})
	if err != nil {
		return err
	}
	resume := d.Drain()
	defer resume()
	if err := below.Node.Flush(); err != nil {
		return cmp.Or(err, v.Unref())
	}
	if err := v.SetBacking(below.Ref()); err != nil {
		return cmp.Or(err, below.Unref(), v.Unref())
	}
	if err := d.ReplaceMedium(v); err != nil {
		return cmp.Or(err, v.Unref())
	}
	return below.ReopenWritable(false)
}
