package raw

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
)

// store is what a file is that keeps snapshots itself, as a Sheepdog VDI does.
type store interface {
	blockdev.Snapshotter
	blockdev.VMStateStore
}

// storedImage is a raw disk in such a file: its snapshots are the file's.
type storedImage struct {
	*Image
	store
}

var (
	_ blockdev.Node         = (*storedImage)(nil)
	_ blockdev.Snapshotter  = (*storedImage)(nil)
	_ blockdev.VMStateStore = (*storedImage)(nil)
)

// withSnapshots gives a disk that is the whole file what the file can do.
func withSnapshots(m *Image) blockdev.Node {
	if s, ok := m.file.(store); ok && m.offset == 0 && m.fixed < 0 {
		return &storedImage{m, s}
	}
	return m
}

// OpenSnapshot opens the file's snapshot as a raw disk.
func (s *storedImage) OpenSnapshot(id string) (blockdev.Node, error) {
	n, err := s.store.OpenSnapshot(id)
	if err != nil {
		return nil, err
	}
	view := &snapshotView{&Image{file: n, fixed: -1}}
	if state, ok := n.(blockdev.VMStateStore); ok {
		return &stateView{view, state}, nil
	}
	return view, nil
}

// snapshotView is an open snapshot, which its node belongs to.
type snapshotView struct{ *Image }

// Close closes the file's snapshot too.
func (v *snapshotView) Close() error { return errors.Join(v.Image.Close(), v.file.Close()) }

// stateView is a snapshotView with a machine's state.
type stateView struct {
	*snapshotView
	blockdev.VMStateStore
}

var (
	_ blockdev.Node         = (*snapshotView)(nil)
	_ blockdev.VMStateStore = (*stateView)(nil)
)
