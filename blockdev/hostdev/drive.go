package hostdev

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/file"
)

// Disk is an open drive of the host whose medium stays in it.
type Disk struct {
	*file.Node
	name  string // as the user gave it
	whole bool
}

var _ blockdev.HostDisk = (*Disk)(nil)

func openDisk(s system, r blockdev.OpenRequest) (blockdev.Node, error) {
	n, err := openFile(s, r, diskDriver)
	if err != nil {
		return nil, err
	}
	name, _ := r.Options["filename"].(string)
	path, _ := s.resolve(name) // it has been resolved by now
	return &Disk{Node: n, name: name, whole: s.wholeDisk(path)}, nil
}

// Filename is the name that opens the drive again.
func (d *Disk) Filename() string { return d.name }

// Map says that the bytes are on the drive.
func (d *Disk) Map(off, n int64) (blockdev.Extent, error) { return onDrive(d, off, n) }

func onDrive(node blockdev.Node, off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", node, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	return blockdev.Extent{Kind: blockdev.ExtentData, Len: n, Node: node, Host: off}, nil
}

// WholeDisk implements blockdev.HostDisk.
func (d *Disk) WholeDisk() bool { return d.whole }

// CD is an open CD drive of the host. Its medium comes and goes; without one it has no
// bytes.
type CD struct {
	*file.Node
	name   string
	system system

	present atomic.Bool
	locked  atomic.Bool

	mu      sync.Mutex // looks for a medium one at a time
	stop    chan struct{}
	watcher sync.WaitGroup
	watch   sync.Once
	end     sync.Once
	changed atomic.Pointer[func(present bool)]
}

var (
	_ blockdev.Node       = (*CD)(nil)
	_ blockdev.HostMedium = (*CD)(nil)
)

func openCD(s system, r blockdev.OpenRequest) (*CD, error) {
	n, err := openFile(s, r, cdDriver)
	if err != nil {
		return nil, err
	}
	name, _ := r.Options["filename"].(string)
	cd := &CD{Node: n, name: name, system: s, stop: make(chan struct{})}
	if _, err := cd.look(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return cd, nil
}

// Filename is the name that opens the drive again.
func (c *CD) Filename() string { return c.name }

// Present implements blockdev.HostMedium.
func (c *CD) Present() bool { return c.present.Load() }

// look asks the drive for its medium, and makes a new one's size known. It tells if the
// medium is another.
func (c *CD) look() (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var present bool
	err = c.Handle(func(f *os.File) error {
		present, changed, err = c.system.hasMedium(f)
		return err
	})
	if err != nil {
		return false, c.failed("status", err)
	}
	changed = changed || present != c.present.Load()
	if changed && present {
		if err := c.Examine(); err != nil {
			return false, err
		}
	}
	c.present.Store(present)
	return changed, nil
}

// Size is that of the medium, 0 if there is none.
func (c *CD) Size() int64 {
	if !c.Present() {
		return 0
	}
	return c.Node.Size()
}

// ReadAt reads the medium.
func (c *CD) ReadAt(p []byte, off int64) (int, error) {
	if !c.Present() {
		return 0, blockdev.Errorf(blockdev.ErrNoMedium, "read", c.name, "No medium found")
	}
	return c.Node.ReadAt(p, off)
}

// WriteAt writes to the medium, if that can be.
func (c *CD) WriteAt(p []byte, off int64) (int, error) {
	if !c.Present() {
		return 0, blockdev.Errorf(blockdev.ErrNoMedium, "write", c.name, "No medium found")
	}
	return c.Node.WriteAt(p, off)
}

// Map says that the bytes are in the drive.
func (c *CD) Map(off, n int64) (blockdev.Extent, error) { return onDrive(c, off, n) }

// Eject implements blockdev.HostMedium. What it does to the medium the watcher hears.
func (c *CD) Eject(open bool) error {
	if open && c.locked.Load() {
		if err := c.Lock(false); err != nil {
			return err
		}
	}
	if err := c.Handle(func(f *os.File) error { return c.system.eject(f, open) }); err != nil {
		return c.failed("eject", err)
	}
	return nil
}

// Lock implements blockdev.HostMedium.
func (c *CD) Lock(on bool) error {
	if err := c.Handle(func(f *os.File) error { return c.system.lock(f, on) }); err != nil {
		return c.failed("lock", err)
	}
	c.locked.Store(on)
	return nil
}

func (c *CD) failed(op string, err error) error {
	return &blockdev.Error{Op: op, File: c.name, Offset: blockdev.NoOffset, Err: err}
}

// lookEvery is how soon a medium is noticed that somebody puts into the drive by hand.
const lookEvery = time.Second

// Watch implements blockdev.HostMedium. A drive that does not answer has not changed.
func (c *CD) Watch(changed func(present bool)) {
	c.changed.Store(&changed)
	c.watch.Do(func() { c.watcher.Go(c.keepLooking) })
}

func (c *CD) keepLooking() {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
		}
		if changed, err := c.look(); err == nil && changed {
			(*c.changed.Load())(c.Present())
		}
	}
}

// Close lets the drive go: what locked it here unlocks it.
func (c *CD) Close() error {
	c.end.Do(func() { close(c.stop) })
	c.watcher.Wait()
	var err error
	if c.locked.Load() {
		err = c.Lock(false)
	}
	return errors.Join(err, c.Node.Close())
}
