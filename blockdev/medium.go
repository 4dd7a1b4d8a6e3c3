package blockdev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// Medium describes what is in a drive, so that it can be found again and known.
type Medium struct {
	Drive    string `json:"drive"`
	File     string `json:"file,omitempty"` // as the user named it; "" for nothing
	Folder   string `json:"folder,omitempty"`
	Driver   string `json:"driver,omitempty"`
	Writable bool   `json:"writable,omitempty"`
	Size     int64  `json:"size,omitempty"`
	// Digest is the SHA-256 of the beginning of a medium that is not written to.
	Digest   string `json:"digest,omitempty"`
	TrayOpen bool   `json:"tray-open,omitempty"`
	Locked   bool   `json:"locked,omitempty"`
}

// digestSize is how much of a medium its digest is about: the labels and directories of CDs
// and floppies are there, and reading it costs nothing beside a machine's RAM.
const digestSize = 1 << 20

// Describe tells what is in the drive.
func (d *Drive) Describe() (Medium, error) {
	m := Medium{Drive: d.Name(), TrayOpen: d.TrayOpen(), Locked: d.Locked()}
	v := d.Medium()
	if v == nil {
		return m, nil
	}
	return m, m.describe(v)
}

func (m *Medium) describe(v *Vertex) error {
	m.File, m.Driver = v.Filename, v.driverName()
	m.Writable, m.Size = v.Mode().Writable, v.Node.Size()
	m.Folder, _ = os.Getwd() // without it only absolute names will be found
	if m.Writable {
		return nil
	}
	p := make([]byte, min(m.Size, digestSize))
	if _, err := v.Node.ReadAt(p, 0); err != nil {
		return err
	}
	sum := sha256.Sum256(p)
	m.Digest = hex.EncodeToString(sum[:])
	return nil
}

// Is tells if v is the medium, for all that is known of it.
func (m Medium) Is(v *Vertex) (bool, error) {
	if v == nil || m.File == "" {
		return v == nil && m.File == "", nil
	}
	other := Medium{Drive: m.Drive}
	if err := other.describe(v); err != nil {
		return false, err
	}
	same := m.path() == other.path() && m.Driver == other.Driver && m.Writable == other.Writable
	return same && m.fits(other), nil
}

// fits tells if the contents can be the same. Of what is written to, only its own snapshots
// know.
func (m Medium) fits(other Medium) bool {
	return m.Writable || m.Size == other.Size && m.Digest == other.Digest
}

// path is the file's name as it is found from anywhere.
func (m Medium) path() string {
	if filepath.IsAbs(m.File) || strings.Contains(m.File, ":") || m.Folder == "" {
		return m.File
	}
	return filepath.Join(m.Folder, m.File)
}

// name is the file's name as it is found from here: the user's where that will do.
func (m Medium) name() string {
	if here, err := os.Getwd(); err == nil && here == m.Folder {
		return m.File
	}
	return m.path()
}

// SetOpener says how the set's media are opened again.
func (s *Drives) SetOpener(g *Graph, gate Gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.graph, s.gate = g, gate
}

// OpenMedium opens a medium that was described. It fails if that is another one now.
func (s *Drives) OpenMedium(ctx context.Context, m Medium) (*Vertex, error) {
	s.mu.Lock()
	g, gate := s.graph, s.gate
	s.mu.Unlock()
	if g == nil {
		return nil, Errorf(ErrNotSupported, "open", m.File, "'%s' cannot be opened: nobody said how", m.File)
	}
	o := OpenOptions{Driver: m.Driver, Mode: Mode{Writable: m.Writable, Unmap: true}, Gate: gate}
	if d, ok := s.Get(m.Drive); ok {
		o.Mode.Cache = d.Config().Cache
	}
	v, err := g.Open(ctx, m.name(), o)
	if err != nil {
		return nil, err
	}
	now := Medium{Drive: m.Drive}
	err = now.describe(v)
	if err == nil && !m.fits(now) {
		err = Errorf(ErrInvalid, "open", m.File, "'%s' has other contents now", m.File)
	}
	if err != nil {
		return nil, firstError([]error{err, v.Unref()})
	}
	return v, nil
}

// Content is what a drive holds, and how.
type Content struct {
	Medium           *Vertex // nil for nothing
	TrayOpen, Locked bool

	changes uint64 // of the drive it was taken from; 0 for content that comes from elsewhere
}

// Exchange puts other content in place of what there is, without a word to the device: loadvm
// does, which loads the device's state too. It takes over the reference to the medium, and
// hands over what was there; exchanging that again makes all of it undone.
func (d *Drive) Exchange(c Content) Content {
	d.change.Lock()
	defer d.change.Unlock()
	resume := d.Drain()
	defer resume()
	d.watchHost(c.Medium)
	d.mu.Lock()
	defer d.mu.Unlock()
	old := Content{d.medium, d.trayOpen, d.locked, d.changes}
	d.setMedium(c.Medium)
	d.trayOpen, d.locked = c.TrayOpen && d.config.Tray, c.Locked
	if c.changes != 0 {
		d.changes = c.changes
	} else if c.Medium != old.Medium {
		d.changes++
	}
	return old
}
