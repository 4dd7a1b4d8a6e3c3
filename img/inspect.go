package img

import (
	"context"
	"errors"

	"github.com/qmon/qmon/blockdev"
)

// InspectOptions of [Inspect].
type InspectOptions struct {
	Session
	Image Source
	// Follow opens, through the gate, what the image refers to, and what that refers to, and
	// so on. Without it nothing but the image itself is opened.
	Follow bool
}

// Report is what [Inspect] found, in the order in which the images were met: the one asked
// for, then with Follow what it refers to.
type Report struct {
	Images []InspectedImage
	// Complete is set if every reference was followed and every image could be opened: only
	// then is it known what the disk is made of.
	Complete bool
}

// InspectedImage is what one image says of itself. Of an image that could not be opened
// only the name, the references found until then and the error are known.
type InspectedImage struct {
	Info
	// Probed is set where the format was guessed from the contents.
	Probed     bool
	References []InspectedReference
	Corrupt    bool
	Compressed bool
	Bitmaps    int
	// Err says why the image cannot be opened.
	Err error
}

// InspectedReference is another file that an image names.
type InspectedReference struct {
	Kind blockdev.ReferenceKind
	// Name and Format are as the image has them. Path is what Name means; "" if it is no
	// plain file name, which nobody here follows.
	Name, Format, Path string
	// Followed is set if the file was opened; else Err, if it was to be, says why not.
	Followed bool
	Err      error
}

// Inspect tells what an image from a stranger is and what it refers to, for those who are
// to decide if it may be used. Nothing that the image names is opened, created or looked
// at unless o.Follow is set; then the gate decides, [blockdev.RestrictGate] as a rule. No
// locks are taken and no guest data is read.
func Inspect(ctx context.Context, o InspectOptions) (*Report, error) {
	i := &inspection{o: o, seen: map[string]bool{}}
	o.Image.ForceShare = true
	i.inspect(o.Image.label(), func(g *blockdev.Graph, gate blockdev.Gate) (*blockdev.Vertex, error) {
		return Session{Gate: gate}.openIn(ctx, g, o.Image, access{noIO: true, noBacking: true})
	})
	if first := i.report.Images[0]; first.Err != nil && len(first.References) == 0 {
		return nil, first.Err
	}
	for next := 0; next < len(i.report.Images); next++ {
		i.follow(ctx, next)
	}
	i.report.Complete = i.complete()
	return &i.report, nil
}

// inspection is one run of Inspect.
type inspection struct {
	o      InspectOptions
	report Report
	seen   map[string]bool // paths
}

// inspect opens one image and notes what it says.
func (i *inspection) inspect(name string, open func(*blockdev.Graph, blockdev.Gate) (*blockdev.Vertex, error)) {
	r := &recorder{}
	if i.o.Follow {
		r.gate = i.gate()
	}
	var found InspectedImage
	v, err := open(&blockdev.Graph{}, r)
	if err == nil {
		found, err = inspectVertex(v)
	}
	if err != nil {
		found.Filename, found.Err = name, err
	}
	found.References = append(r.found, found.References...)
	i.report.Images = append(i.report.Images, found)
}

func (i *inspection) gate() blockdev.Gate {
	if i.o.Gate == nil {
		return blockdev.DenyGate{}
	}
	return i.o.Gate
}

func inspectVertex(v *blockdev.Vertex) (found InspectedImage, err error) {
	defer release(v, &err)
	info, err := InfoOf(v)
	if err != nil {
		return found, err
	}
	found.Info, found.Probed = *info, v.Probed
	if n, ok := v.Node.(blockdev.Informer); ok {
		told, err := n.Info()
		if err != nil && !errors.Is(err, blockdev.ErrNotSupported) {
			return found, err
		}
		found.Corrupt, found.Compressed = told.Corrupt, told.Compressed
	}
	if n, ok := v.Node.(blockdev.BitmapStore); ok {
		list, err := n.Bitmaps()
		if err != nil && !errors.Is(err, blockdev.ErrNotSupported) {
			return found, err
		}
		found.Bitmaps = len(list)
	}
	if b, ok := v.Node.(blockdev.Backed); ok {
		if ref := b.BackingReference(); ref.Name != "" {
			ref.Parent = v.Filename
			found.References = append(found.References, inspectedReference(ref))
		}
	}
	return found, nil
}

func inspectedReference(ref blockdev.Reference) InspectedReference {
	r := InspectedReference{Kind: ref.Kind, Name: ref.Name, Format: ref.Format}
	if r.Kind == 0 {
		r.Kind = blockdev.RefBacking
	}
	r.Path, r.Err = blockdev.ResolveReference(ref)
	return r
}

// follow opens what an image refers to. The report grows by what is found there.
func (i *inspection) follow(ctx context.Context, image int) {
	if !i.o.Follow {
		return
	}
	parent, references := i.report.Images[image].Filename, i.report.Images[image].References
	for n := range references {
		r := &references[n]
		switch {
		case r.Path == "":
		case i.seen[r.Path]:
			r.Followed = true
		case len(i.report.Images) > blockdev.MaxBackingChain:
			r.Err = blockdev.Errorf(blockdev.ErrLimit, "inspect", r.Path, "there are more than %d images", blockdev.MaxBackingChain)
		default:
			i.followOne(ctx, parent, r)
		}
	}
}

func (i *inspection) followOne(ctx context.Context, parent string, r *InspectedReference) {
	ref := blockdev.Reference{Kind: r.Kind, Parent: parent, Name: r.Name, Format: r.Format}
	if r.Kind != blockdev.RefBacking {
		ref.Format = "raw" // what the bytes of a part mean is known to the image alone
	}
	i.seen[r.Path] = true
	i.inspect(r.Path, func(g *blockdev.Graph, gate blockdev.Gate) (*blockdev.Vertex, error) {
		return i.gate().OpenReference(ctx, g, ref, blockdev.OpenOptions{
			Driver: ref.Format, NoBacking: true, Gate: gate, Mode: blockdev.Mode{ForceShare: true, NoIO: true},
		})
	})
	found := &i.report.Images[len(i.report.Images)-1]
	if r.Err = found.Err; errors.Is(found.Err, blockdev.ErrDenied) {
		i.report.Images = i.report.Images[:len(i.report.Images)-1]
		return
	}
	r.Followed = found.Err == nil
}

func (i *inspection) complete() bool {
	for _, image := range i.report.Images {
		if image.Err != nil {
			return false
		}
		for _, r := range image.References {
			if !r.Followed {
				return false
			}
		}
	}
	return true
}

// recorder is a gate that notes what is asked of it. It gives a blank disk, or with a gate
// what that gives.
type recorder struct {
	gate  blockdev.Gate
	found []InspectedReference
}

// OpenReference opens nothing by itself.
func (r *recorder) OpenReference(ctx context.Context, g *blockdev.Graph, ref blockdev.Reference, o blockdev.OpenOptions) (*blockdev.Vertex, error) {
	r.found = append(r.found, inspectedReference(ref))
	if r.gate != nil {
		if v, err := r.gate.OpenReference(ctx, g, ref, o); err == nil {
			return v, nil
		}
	}
	return g.Add(&blank{}, "", blockdev.Mode{})
}

// blank is an endless disk that nothing was written to.
type blank struct{ _ byte }

func (*blank) Size() int64 { return blockdev.MaxSize }

func (*blank) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

func (*blank) WriteAt([]byte, int64) (int, error) {
	return 0, blockdev.Errorf(blockdev.ErrReadOnly, "write", "", "Operation not permitted")
}

func (*blank) Map(_, n int64) (blockdev.Extent, error) {
	return blockdev.Extent{Kind: blockdev.ExtentZero, Len: n}, nil
}

func (*blank) Flush() error { return nil }
func (*blank) Close() error { return nil }
