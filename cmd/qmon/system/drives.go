package system

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/internal/warning"
	"github.com/qmon/qmon/vm"
)

// storage is the block layer of one run: graph, gate, and what makes drives.
type storage struct {
	graph   *blockdev.Graph
	gate    blockdev.Gate
	builder *driveopt.Builder
	board   personality
	nodes   []*blockdev.Vertex // made by -blockdev, held until the end
}

func newStorage(o *options, p personality, m *vm.Machine) *storage {
	s := &storage{graph: &blockdev.Graph{Notify: warning.Printer(os.Stderr, o.program)}, gate: o.gate, board: p}
	s.builder = &driveopt.Builder{
		Graph:    s.graph,
		Gate:     s.gate,
		Drives:   m.Drives(),
		Board:    p.board,
		Snapshot: o.snapshot,
		Warn:     func(text string) { fmt.Fprintln(os.Stderr, text) },
	}
	return s
}

// open makes the drives and nodes of the command line, then the board's defaults.
func (s *storage) open(ctx context.Context, o *options) error {
	for _, a := range o.blockdevs {
		if err := s.addNode(ctx, a); err != nil {
			return &usageError{a.text, blockdev.Message(err)}
		}
	}
	warn := s.builder.Warn
	defer func() { s.builder.Warn = warn }()
	for _, a := range o.drives {
		s.builder.Warn = func(text string) {
			if strings.HasPrefix(text, "warning: ") {
				text = o.program + ": " + a.text + ": " + text
			}
			warn(text)
		}
		if _, err := s.builder.Add(ctx, a.spec); err != nil {
			return &usageError{a.text, blockdev.Message(err)}
		}
	}
	if o.noDefaults {
		return nil
	}
	for _, spec := range s.board.defaults {
		// The board's own empty drive gives way to one of the user's in its place.
		if !s.occupied(spec) {
			if _, err := s.builder.Add(ctx, spec); err != nil {
				return err
			}
		}
	}
	return nil
}

// occupied tells if a default drive is not needed: the user gave one of its kind.
func (s *storage) occupied(spec driveopt.Spec) bool {
	for _, p := range s.builder.Placed() {
		same := p.Spec.Interface == spec.Interface
		if same && (spec.Interface != "ide" || p.Spec.CDROM || p.Spec.Bus == 1 && p.Spec.Unit == 0) {
			return true
		}
	}
	return false
}

// addNode opens the node of a -blockdev option.
func (s *storage) addNode(ctx context.Context, a argument) error {
	options := blockdev.Options{}
	if text := strings.TrimPrefix(a.text, "-blockdev "); strings.HasPrefix(text, "{") {
		var err error
		if options, err = blockdev.ParseJSONOptions(text); err != nil {
			return err
		}
	} else {
		for _, p := range a.list {
			options[p.Key] = p.Value
		}
	}
	if err := checkNode(options); err != nil {
		return err
	}
	v, err := s.graph.OpenDescription(ctx, options, blockdev.OpenOptions{
		Mode: blockdev.Mode{Writable: true, Unmap: options["discard"] == "unmap"},
		Gate: s.gate,
	})
	if err != nil {
		return err
	}
	s.nodes = append(s.nodes, v)
	return nil
}

// checkNode refuses what -blockdev's schema does, before anything is opened.
func checkNode(options blockdev.Options) error {
	bad := func(format string, args ...any) error {
		return blockdev.Errorf(blockdev.ErrInvalid, "", "", format, args...)
	}
	name, given := options["driver"]
	if !given {
		return bad("Parameter 'driver' is missing")
	}
	driver, err := blockdev.LookupDriver(name)
	if err != nil {
		return bad("Parameter 'driver' does not accept value '%s'", name)
	}
	_, hasFile := options["file"]
	_, hasChild := options["file.driver"]
	if !driver.Protocol && !hasFile && !hasChild {
		return bad("Parameter 'file' is missing")
	}
	if options["node-name"] == "" {
		return bad("'node-name' must be specified for the root node")
	}
	return nil
}

// driveFor finds the drive that a device's drive= means: a drive's id, or a node's name,
// for which a drive is made; model is the device's.
func (s *storage) driveFor(id, model string) (*blockdev.Drive, error) {
	if d, ok := s.builder.Drives.Get(id); ok {
		if d.Attached() != "" {
			return nil, blockdev.Errorf(blockdev.ErrInUse, "", "", "Drive '%s' is already in use by another block device", id)
		}
		return d, nil
	}
	v, ok := s.graph.Find(id)
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "", "", "Property '%s.drive' can't find value '%s'", model, id)
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{Name: id, ReadOnly: !v.Mode().Writable, Cache: v.Mode().Cache})
	if err := d.Insert(v.Ref()); err != nil {
		return nil, err
	}
	return d, s.builder.Drives.Add(d)
}

// close takes out and closes every medium and node.
func (s *storage) close() error {
	err := s.builder.Drives.Close()
	for _, v := range s.nodes {
		if e := v.Unref(); err == nil {
			err = e
		}
	}
	return err
}
