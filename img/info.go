package img

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/qmon/qmon/blockdev"
)

// InfoOptions of [ReadInfo].
type InfoOptions struct {
	Session
	Image Source
	// Chain follows the backing files, through the gate, and fills Info.Backing.
	Chain bool
}

// Info is what is known of an image without reading its contents.
type Info struct {
	Filename    string
	Format      string
	VirtualSize int64 // bytes
	// ActualSize is what the image takes on the host, in bytes; nil where that is unknown.
	ActualSize  *int64
	ClusterSize int64 // bytes, 0 for none
	Encrypted   bool
	// Dirty is set if the image was not closed properly; nil for nodes that cannot tell.
	Dirty *bool
	// BackingFilename as the image records it, and as it is opened from here.
	BackingFilename     string
	FullBackingFilename string
	BackingFormat       string
	Snapshots           []blockdev.Snapshot
	// Specific is the format's own part, nil for none.
	Specific []blockdev.InfoField
	// Backing is the next image of the chain, where that was asked for.
	Backing *Info
}

// ReadInfo opens an image for its metadata and tells what it says of itself. The files
// that it refers to are reported, and not opened unless o.Chain is set.
func ReadInfo(ctx context.Context, o InfoOptions) (*Info, error) {
	g := o.graph()
	v, err := o.openIn(ctx, g, o.Image, access{noIO: true, noBacking: true})
	if err != nil {
		return nil, err
	}
	top, err := inspectAndClose(v)
	if err != nil || !o.Chain {
		return top, err
	}
	seen := map[string]bool{o.Image.label(): true}
	for info := top; info.BackingFilename != ""; info = info.Backing {
		name := info.FullBackingFilename
		if seen[name] {
			return nil, blockdev.Errorf(blockdev.ErrCorrupt, "info", o.Image.label(),
				"Backing file '%s' creates an infinite loop.", name)
		}
		seen[name] = true
		v, err := o.openBacking(ctx, g, info)
		if err != nil {
			return nil, couldNotOpen(name, err)
		}
		if info.Backing, err = inspectAndClose(v); err != nil {
			return nil, err
		}
	}
	return top, nil
}

// openBacking opens the backing file of an image, without that file's own.
func (o InfoOptions) openBacking(ctx context.Context, g *blockdev.Graph, of *Info) (*blockdev.Vertex, error) {
	gate := o.Gate
	if gate == nil {
		gate = blockdev.DenyGate{}
	}
	return gate.OpenReference(ctx, g, blockdev.Reference{
		Kind:   blockdev.RefBacking,
		Parent: of.Filename,
		Name:   of.BackingFilename,
		Format: of.BackingFormat,
	}, blockdev.OpenOptions{
		Driver:    of.BackingFormat,
		NoBacking: true,
		Gate:      o.Gate,
		Mode:      blockdev.Mode{ForceShare: o.Image.ForceShare, NoIO: true},
	})
}

func inspectAndClose(v *blockdev.Vertex) (info *Info, err error) {
	defer release(v, &err)
	return InfoOf(v)
}

// InfoOf is what is known of an opened image. Backing is not filled: ask for the vertices
// below, see [ChainInfo].
func InfoOf(v *blockdev.Vertex) (*Info, error) {
	info := &Info{
		Filename:    v.Filename,
		Format:      v.Driver.Name,
		VirtualSize: v.Node.Size(),
	}
	if n, ok := allocatedSize(v); ok {
		info.ActualSize = &n
	}
	if err := info.addFormat(v); err != nil {
		return nil, wrap("info", v.Filename, "", err)
	}
	if b, ok := v.Node.(blockdev.Backed); ok {
		info.addBacking(v, b.BackingReference())
	}
	if s, ok := v.Node.(blockdev.Snapshotter); ok {
		var err error
		if info.Snapshots, err = s.Snapshots(); err != nil {
			return nil, wrap("info", v.Filename, "", err)
		}
	}
	return info, nil
}

// ChainInfo is InfoOf for v and everything below it that is open.
func ChainInfo(v *blockdev.Vertex) (*Info, error) {
	var top *Info
	next := &top
	for _, w := range v.Chain() {
		info, err := InfoOf(w)
		if err != nil {
			return nil, err
		}
		*next, next = info, &info.Backing
	}
	return top, nil
}

// addFormat asks the first node on the way to the bytes that has something to tell: raw
// passes on what its file says.
func (info *Info) addFormat(v *blockdev.Vertex) error {
	for w := v; w != nil; w = w.File() {
		i, ok := w.Node.(blockdev.Informer)
		if !ok && w.File() != nil && w.Driver != nil && w.Driver.Name != "raw" {
			return nil // a format that tells nothing
		}
		if !ok {
			continue
		}
		told, err := i.Info()
		if errors.Is(err, blockdev.ErrNotSupported) {
			return nil // a format that has nothing to tell, not even of being dirty
		}
		if err != nil {
			return err
		}
		info.ClusterSize = told.ClusterSize
		info.Encrypted = told.Encrypted
		info.Dirty = &told.DirtyFlag
		if w == v {
			info.Specific = told.Specific
		}
		return nil
	}
	if holdsFile(v) {
		info.Dirty = new(bool)
	}
	return nil
}

// holdsFile tells if the bytes of v are in a file or on a drive of the host, which is never
// dirty.
func holdsFile(v *blockdev.Vertex) bool {
	for v.File() != nil {
		v = v.File()
	}
	switch v.Driver.Name {
	case "file", "host_device", "host_cdrom":
		return true
	}
	return false
}

func (info *Info) addBacking(v *blockdev.Vertex, ref blockdev.Reference) {
	if ref.Name == "" {
		return
	}
	info.BackingFilename = ref.Name
	info.BackingFormat = ref.Format
	info.FullBackingFilename = resolveIn(v, ref.Name)
}

// resolveIn is the path that name means in the image v, "" if it cannot be told.
func resolveIn(v *blockdev.Vertex, name string) string {
	parent, err := v.BaseName()
	if err != nil && !filepath.IsAbs(name) {
		return ""
	}
	return resolve(parent, name)
}

// resolve is the path that name means in the image parent. A name that no gate follows is
// given as it is.
func resolve(parent, name string) string {
	path, err := blockdev.ResolveReference(blockdev.Reference{Parent: parent, Name: name})
	if err != nil {
		return name
	}
	return path
}

// allocatedSize asks v, or the files that it keeps its bytes in.
func allocatedSize(v *blockdev.Vertex) (int64, bool) {
	for w := v; w != nil; w = w.File() {
		if a, ok := w.Node.(blockdev.AllocatedSizer); ok {
			n, err := a.AllocatedSize()
			return n, err == nil
		}
	}
	return 0, false
}
