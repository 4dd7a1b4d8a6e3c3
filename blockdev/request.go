package blockdev

import (
	"sync"
	"syscall"
	"time"
)

// The requests of a device. They go to the medium with the cache mode, statistics and
// limits of the drive; ErrNoMedium if there is none or the tray is open, ErrReadOnly as
// it says. Requests of several goroutines run beside each other.

// Size is the medium's, ErrNoMedium if there is none.
func (d *Drive) Size() (int64, error) { return d.Any().Size() }

// ReadAt reads from the medium.
func (d *Drive) ReadAt(p []byte, off int64) (int, error) { return d.Any().ReadAt(p, off) }

// WriteAt writes to the medium.
func (d *Drive) WriteAt(p []byte, off int64) (int, error) { return d.Any().WriteAt(p, off) }

// Flush makes what was written survive a crash.
func (d *Drive) Flush() error { return d.Any().Flush() }

// Discard tells the medium that the range is not needed; media that are not opened to
// pass it on ignore it.
func (d *Drive) Discard(off, n int64) error { return d.Any().Discard(off, n) }

// WriteZeroes makes the range read as zeroes.
func (d *Drive) WriteZeroes(off, n int64, flags ZeroFlags) error {
	return d.Any().WriteZeroes(off, n, flags)
}

// completed is what an all-or-nothing request returns.
func completed(p []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeDetecting writes p, as zeroes if it is nothing else and that is asked for.
func writeDetecting(n Node, detect DetectZeroes, p []byte, off int64) error {
	if detect != DetectZeroesOff && IsZero(p) {
		var flags ZeroFlags
		if detect == DetectZeroesUnmap {
			flags = ZeroMayUnmap
		}
		return WriteZeroes(n, off, int64(len(p)), flags)
	}
	_, err := n.WriteAt(p, off)
	return err
}

// writeThrough flushes behind a write that succeeded, if the cache mode says so.
func (d *Drive) writeThrough(n Node, err error) error {
	if err == nil && d.config.Cache.WriteThrough {
		err = n.Flush()
	}
	return err
}

// ReadOnly tells if writes are refused: by the drive's configuration or its medium.
func (d *Drive) ReadOnly() bool {
	v := d.Medium()
	return d.config.ReadOnly || v != nil && !v.Mode().Writable
}

// request checks a request, does it between begin and end, and counts it.
func (l Loaded) request(kind requestKind, off, n int64, do func(*Vertex, Node) error) error {
	d := l.drive
	start := time.Now()
	v, through := l.begin()
	err := d.check(kind, v, off, n)
	if err == nil {
		err = do(v, through)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.count(kind, off, n, start, err)
	d.inFlight--
	if d.inFlight == 0 {
		d.idle.Broadcast()
	}
	return err
}

// begin waits while the drive is drained, and enters a request. The medium it returns, with
// the way to it, is nil if there is none to be used; it stays in the drive until the request
// has ended.
func (l Loaded) begin() (*Vertex, Node) {
	d := l.drive
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.drains > 0 {
		d.idle.Wait()
	}
	d.inFlight++
	return l.usable(), d.through
}

// check refuses what cannot be done to v.
func (d *Drive) check(kind requestKind, v *Vertex, off, n int64) error {
	if v == nil {
		return noMedium(kind.String(), d.config.Name)
	}
	if (kind == requestWrite || kind == requestDiscard) && (d.config.ReadOnly || !v.Mode().Writable) {
		return Errorf(ErrReadOnly, kind.String(), d.config.Name, "Block node is read-only")
	}
	if size := v.Node.Size(); off < 0 || n < 0 || off > size || n > size-off {
		return &Error{Kind: ErrRange, Op: kind.String(), File: d.config.Name, Offset: off, Err: syscall.EIO}
	}
	return nil
}

func (k requestKind) String() string {
	return [...]string{"read", "write", "flush", "discard"}[k]
}

// Drain holds back new requests and waits for those in flight, which no limit makes wait any
// more; the function returned lets requests go on. Drains nest.
func (d *Drive) Drain() (resume func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drains++
	end := d.medium.beginDrain()
	for d.inFlight > 0 {
		d.idle.Wait()
	}
	return sync.OnceFunc(func() {
		end()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.drains--
		if d.drains == 0 {
			d.idle.Broadcast()
		}
	})
}

// beginDrain begins a drain of v, which may be nil, and of every [Drainer] below it.
func (v *Vertex) beginDrain() (end func()) {
	var ends []func()
	if v != nil {
		for _, image := range v.Chain() {
			for ; image != nil; image = image.File() {
				if n, ok := image.Node.(Drainer); ok {
					ends = append(ends, n.BeginDrain())
				}
			}
		}
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}
