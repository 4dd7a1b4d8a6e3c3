package blockdev

import (
	"context"
	"os"
)

// overlayDriver is the format of temporary overlays. It is the one format that this
// package knows by name; its driver comes from the registry as any other.
const overlayDriver = "qcow2"

// overlayName is the pattern of a temporary file's name, QEMU's.
const overlayName = "vl.*"

// overlayFolder is where overlays lie if nobody says: TMPDIR, else where QEMU puts them,
// as /tmp is often in memory and a disk's changes are many.
func overlayFolder() string {
	const large = "/var/tmp"
	if os.Getenv("TMPDIR") == "" {
		if info, err := os.Stat(large); err == nil && info.IsDir() {
			return large
		}
	}
	return os.TempDir()
}

// TemporaryFolder is where a driver may keep what a guest wrote, as overlays do.
func TemporaryFolder() string { return overlayFolder() }

// OpenOverlay puts a temporary qcow2 over v in dir ("" for TMPDIR, or /var/tmp): -snapshot.
// The file is unlinked as soon as it is open. The overlay takes over the caller's
// reference to v, but on failure.
func (g *Graph) OpenOverlay(ctx context.Context, v *Vertex, dir string) (*Vertex, error) {
	if dir == "" {
		dir = overlayFolder()
	}
	f, err := os.CreateTemp(dir, overlayName)
	if err != nil {
		return nil, &Error{Op: "create", Offset: NoOffset, Text: "Could not get temporary filename", Err: err}
	}
	name := f.Name()
	if err := f.Close(); err != nil {
		return nil, firstError([]error{err, os.Remove(name)})
	}
	o, err := g.createOverlay(ctx, name, v)
	if err != nil {
		_ = os.Remove(name) // the reason for giving up is reported instead
		return nil, err
	}
	if os.Remove(name) != nil {
		o.temporary = name // Windows lets nobody unlink an open file: remove it at the end
	}
	return o, nil
}

// createOverlay makes the image and opens it over v. The image does not name v: nobody
// will open it again. Nothing needs to survive a crash, so flushes are ignored.
func (g *Graph) createOverlay(ctx context.Context, name string, v *Vertex) (*Vertex, error) {
	if err := g.Create(ctx, overlayDriver, name, v.Node.Size(), nil, Reference{}); err != nil {
		return nil, err
	}
	mode := v.Mode()
	mode.Writable, mode.ForceShare, mode.AutoReadOnly = true, false, false
	mode.Cache = CacheMode{NoFlush: true}
	o, err := g.Open(ctx, name, OpenOptions{Driver: overlayDriver, Mode: mode, NoBacking: true, DetectZeroes: v.detectZeroes})
	if err != nil {
		return nil, err
	}
	if err := o.SetBacking(v); err != nil {
		return nil, firstError([]error{err, o.Unref()})
	}
	o.Filename = o.describe(true)
	return o, nil
}
