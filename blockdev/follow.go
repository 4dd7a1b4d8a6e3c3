package blockdev

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// FollowGate follows every reference to a local file, as the command line does: relative
// names are relative to the directory of the image that refers, but for those of data files.
// What a reference says is a plain file name, whatever it looks like; names that look like a
// description or a protocol are refused, as they were meant to be more than that.
type FollowGate struct{}

// OpenReference opens ref.Name; o says how.
func (FollowGate) OpenReference(ctx context.Context, g *Graph, ref Reference, o OpenOptions) (*Vertex, error) {
	name, err := ResolveReference(ref)
	if err != nil {
		return nil, err
	}
	return g.OpenPlain(ctx, name, o)
}

// ResolveReference is the path that a reference means, without looking at any file. QEMU
// takes the name of a data file as it is, so relative to the working directory.
func ResolveReference(ref Reference) (string, error) {
	if len(ref.Name) > MaxFilename {
		return "", Errorf(ErrLimit, "open", ref.Parent, "reference is longer than %d bytes", MaxFilename)
	}
	if prefix, _, ok := strings.Cut(ref.Name, ":"); ok && !strings.Contains(prefix, "/") && !isDriveLetter(ref.Name) {
		if prefix == fileDriver {
			ref.Name = ref.Name[len(fileDriver)+1:]
		} else {
			return "", Errorf(ErrDenied, "open", ref.Parent,
				"reference to '%s' is not followed: an image may name plain files only, not '%s:'", ref.Name, prefix)
		}
	}
	if filepath.IsAbs(ref.Name) || ref.Kind == RefData {
		return ref.Name, nil
	}
	if strings.HasPrefix(ref.Parent, "json:") {
		return "", Errorf(ErrNotSupported, "open", ref.Parent, "Cannot generate a base directory for '%s'", ref.Parent)
	}
	dir := ref.Parent[:strings.LastIndexAny(ref.Parent, dirSeparators)+1]
	return dir + ref.Name, nil
}

// RestrictGate follows references to files below Dir only, symbolic links resolved.
type RestrictGate struct{ Dir string }

// OpenReference opens ref.Name if that is below r.Dir.
func (r RestrictGate) OpenReference(ctx context.Context, g *Graph, ref Reference, o OpenOptions) (*Vertex, error) {
	name, err := ResolveReference(ref)
	if err != nil {
		return nil, err
	}
	real, err := r.resolve(name)
	if err != nil {
		return nil, err
	}
	return g.OpenPlain(ctx, real, o)
}

// resolve gives the real path of name, and refuses what is not below Dir. os.Root checks
// again that no link on the way leads out; between that and the open somebody who may
// write in Dir could still replace a directory, which this gate does not guard against.
func (r RestrictGate) resolve(name string) (string, error) {
	dir, err := realPath(r.Dir)
	if err != nil {
		return "", err
	}
	path, err := realPath(name)
	if err != nil {
		return "", &Error{Op: "open", File: name, Offset: NoOffset, Text: "Could not open '" + name + "'", Err: err}
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", Errorf(ErrDenied, "open", name, "reference to '%s' is not followed: it is not below '%s'", name, r.Dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	_, err = root.Stat(rel)
	if err = firstError([]error{err, root.Close()}); err != nil {
		return "", &Error{Kind: ErrDenied, Op: "open", File: name, Offset: NoOffset, Err: err}
	}
	return path, nil
}

func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}
