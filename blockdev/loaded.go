package blockdev

// Loaded is a drive as a device last saw it: with one medium, or none. Requests fail with
// ErrNoMedium once another medium, or none, is in the drive, so that what was asked of one
// never happens to the next. [Drive.ReplaceMedium] does not count as a change.
type Loaded struct {
	drive   *Drive
	changes uint64
	any     bool
}

// Loaded is the drive with what is in it now.
func (d *Drive) Loaded() Loaded {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Loaded{drive: d, changes: d.changes}
}

// Any is the drive with whatever is in it when a request comes.
func (d *Drive) Any() Loaded { return Loaded{drive: d, any: true} }

// usable is the medium if it may be used, else nil. The drive is locked.
func (l Loaded) usable() *Vertex {
	if l.drive.trayOpen || !l.any && l.changes != l.drive.changes {
		return nil
	}
	return l.drive.medium
}

// Size is the medium's, ErrNoMedium if there is none.
func (l Loaded) Size() (int64, error) {
	l.drive.mu.Lock()
	v := l.usable()
	l.drive.mu.Unlock()
	if m := hostMedium(v); v == nil || m != nil && !m.Present() {
		return 0, noMedium("size", l.drive.config.Name)
	}
	return v.Node.Size(), nil
}

// ReadAt reads from the medium.
func (l Loaded) ReadAt(p []byte, off int64) (int, error) {
	err := l.request(requestRead, off, int64(len(p)), func(_ *Vertex, n Node) error {
		_, err := n.ReadAt(p, off)
		return err
	})
	return completed(p, err)
}

// WriteAt writes to the medium.
func (l Loaded) WriteAt(p []byte, off int64) (int, error) {
	err := l.request(requestWrite, off, int64(len(p)), func(v *Vertex, n Node) error {
		return l.drive.writeThrough(n, writeDetecting(n, v.detectZeroes, p, off))
	})
	return completed(p, err)
}

// Flush makes what was written survive a crash.
func (l Loaded) Flush() error {
	return l.request(requestFlush, 0, 0, func(_ *Vertex, n Node) error { return n.Flush() })
}

// Discard tells the medium that the range is not needed; media that are not opened to
// pass it on ignore it.
func (l Loaded) Discard(off, length int64) error {
	return l.request(requestDiscard, off, length, func(v *Vertex, n Node) error {
		if !v.Mode().Unmap {
			return nil
		}
		return Discard(n, off, length)
	})
}

// WriteZeroes makes the range read as zeroes.
func (l Loaded) WriteZeroes(off, length int64, flags ZeroFlags) error {
	return l.request(requestWrite, off, length, func(_ *Vertex, n Node) error {
		return l.drive.writeThrough(n, WriteZeroes(n, off, length, flags))
	})
}
