package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/authz"
	"github.com/qmon/qmon/blockdev/nbd/server"
	"github.com/qmon/qmon/blockdev/tlscreds"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/internal/warning"
)

// serve serves the image until a signal comes or, unless it is to persist, the last client
// has left.
func (t *tool) serve(ctx context.Context, o *options) (err error) {
	secure, err := o.serverTLS()
	if err != nil {
		return err
	}
	g := &blockdev.Graph{Notify: warning.Printer(t.stderr, t.prog)}
	v, err := t.open(ctx, g, o)
	if err != nil {
		return err
	}
	drive := blockdev.NewDrive(blockdev.DriveConfig{ReadOnly: o.readOnly, Cache: o.cache})
	if err := drive.Insert(v); err != nil {
		return errors.Join(err, v.Unref())
	}
	defer func() {
		v, rerr := drive.Remove()
		if v != nil {
			rerr = errors.Join(rerr, v.Unref())
		}
		err = errors.Join(err, rerr)
	}()
	bitmaps, err := findBitmaps(v.Node, o.bitmaps)
	if err != nil {
		return err
	}
	e := server.Export{
		Name: o.name, Description: o.description, Backend: server.FromDrive(drive), Size: v.Node.Size(),
		ReadOnly: o.readOnly, SingleConn: o.shared == 1, AllocationDepth: o.depth, Bitmaps: bitmaps,
		Alignment: server.AlignmentOf(v.Node),
	}
	if o.device != "" {
		return t.attach(ctx, o, e)
	}
	return t.export(ctx, o, e, secure)
}

// serverTLS is what --tls-creds and --tls-authz say; nil without.
func (o *options) serverTLS() (*tls.Config, error) {
	if o.tlsCreds == nil {
		return nil, nil
	}
	creds, err := tlscreds.Lookup(*o.tlsCreds, true)
	if err != nil {
		return nil, fmt.Errorf("Failed to get TLS creds: %s", blockdev.Message(err))
	}
	secure := creds.ServerConfig()
	if o.tlsAuthz != nil {
		list, err := authz.Lookup(*o.tlsAuthz)
		if err != nil {
			return nil, err
		}
		authz.GuardTLS(secure, list)
	}
	return secure, nil
}

// findBitmaps looks for dirty bitmaps in the image and the images below it.
func findBitmaps(top blockdev.Node, names []string) ([]server.Bitmap, error) {
	var out []server.Bitmap
	for _, name := range names {
		b, err := findBitmap(top, name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(had server.Bitmap) bool { return had.Name == name }) {
			continue
		}
		out = append(out, server.Bitmap{Name: name, Dirty: b})
	}
	slices.Reverse(out) // the order in which qemu-nbd lists them
	return out, nil
}

func findBitmap(top blockdev.Node, name string) (*blockdev.DirtyBitmap, error) {
	for n := top; n != nil; n = blockdev.BackingOf(n) {
		store, ok := n.(blockdev.BitmapStore)
		if !ok {
			continue
		}
		b, err := store.DirtyBitmap(name)
		switch {
		case errors.Is(err, blockdev.ErrNotFound):
			continue
		case err == nil && b.Size() != top.Size():
			err = blockdev.Errorf(blockdev.ErrInvalid, "export", "", "Bitmap '%s' is for %d bytes, and the export has %d", name, b.Size(), top.Size())
		}
		return b, err
	}
	return nil, blockdev.Errorf(blockdev.ErrNotFound, "export", "", "Bitmap '%s' is not found", name)
}

// open opens the image as the options say: its snapshot, an overlay, a part of it.
func (t *tool) open(ctx context.Context, g *blockdev.Graph, o *options) (*blockdev.Vertex, error) {
	gate := o.gate
	if gate == nil {
		gate = blockdev.FollowGate{}
	}
	open := blockdev.OpenOptions{
		Driver: o.format, Gate: gate, Options: blockdev.Options{},
		Mode: blockdev.Mode{Writable: !o.readOnly && !o.snapshot, Cache: o.cache, Unmap: o.unmap},
	}
	filename := o.filename
	if o.describe {
		for _, p := range qemuopts.Parse(filename, "file") {
			open.Options[p.Key] = p.Value
		}
		filename = ""
	}
	if o.detectZeroes != "off" && o.offset == 0 {
		open.Options["detect-zeroes"] = o.detectZeroes
	}
	v, err := g.Open(ctx, filename, open)
	if err != nil {
		return nil, fmt.Errorf("Failed to blk_new_open '%s': %s", o.filename, blockdev.Message(err))
	}
	if v.Probed && v.Driver.Name == "raw" && !o.readOnly {
		fmt.Fprint(t.stderr, img.ProbedRawWarning(o.filename))
	}
	if o.loadSnapshot != "" {
		if v, err = reopenSnapshot(ctx, g, v, filename, open, o.loadSnapshot); err != nil {
			return nil, err
		}
	}
	if o.snapshot {
		if v, err = overlay(ctx, g, v); err != nil {
			return nil, err
		}
	}
	return window(ctx, g, v, o)
}

// reopenSnapshot exchanges v for the internal snapshot id.
func reopenSnapshot(ctx context.Context, g *blockdev.Graph, v *blockdev.Vertex, filename string, open blockdev.OpenOptions, id string) (*blockdev.Vertex, error) {
	if err := v.Unref(); err != nil {
		return nil, err
	}
	open.Snapshot = id
	v, err := g.Open(ctx, filename, open)
	if err != nil {
		return nil, fmt.Errorf("Failed to load snapshot: %s", blockdev.Message(err))
	}
	return v, nil
}

func overlay(ctx context.Context, g *blockdev.Graph, v *blockdev.Vertex) (*blockdev.Vertex, error) {
	top, err := g.OpenOverlay(ctx, v, "")
	if err != nil {
		return nil, errors.Join(err, v.Unref())
	}
	return top, nil
}

// window cuts the offset off the beginning. v is handed over.
func window(ctx context.Context, g *blockdev.Graph, v *blockdev.Vertex, o *options) (*blockdev.Vertex, error) {
	if o.offset == 0 {
		return v, nil
	}
	description := blockdev.Options{"driver": "raw", "file": v.Name, "offset": strconv.FormatInt(o.offset, 10), "detect-zeroes": o.detectZeroes}
	w, err := g.OpenDescription(ctx, description, blockdev.OpenOptions{Mode: v.Mode()})
	if err = errors.Join(err, v.Unref()); err != nil { // w has its own reference
		return nil, err
	}
	return w, nil
}

// export listens and serves.
func (t *tool) export(ctx context.Context, o *options, e server.Export, secure *tls.Config) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	options := t.serverOptions(o, secure)
	options.Disconnected = func(active int) {
		if active == 0 && !o.persistent {
			stop()
		}
	}
	s := server.New(options)
	if err := s.Add(e); err != nil {
		return err
	}
	l, err := listen(o)
	if err != nil {
		return err
	}
	if err := t.ready(o); err != nil {
		return errors.Join(err, l.Close())
	}
	err = s.Serve(ctx, l)
	if ctx.Err() != nil {
		err = nil // asked to end, or done
	}
	return errors.Join(err, s.Close())
}

// serverOptions are those that do not depend on how clients come.
func (t *tool) serverOptions(o *options, secure *tls.Config) server.Options {
	out := server.Options{TLS: secure, MaxConnections: o.shared}
	if o.shared == 0 || o.shared > maxShared {
		out.MaxConnections = maxShared
	}
	if o.verbose {
		out.Log = func(text string) { t.report(errors.New(text)) }
	}
	return out
}

// maxShared is how many clients there are at a time if that is left open: more than a
// process usually may have files.
const maxShared = math.MaxInt16

// ready tells the world that clients can connect.
func (t *tool) ready(o *options) error {
	if o.pidFile != "" {
		f, err := writePIDFile(o.pidFile)
		if err != nil {
			return err
		}
		t.pidFile = f
	}
	if o.background() {
		return tellParent()
	}
	return nil
}
