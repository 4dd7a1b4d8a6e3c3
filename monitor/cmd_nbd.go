package monitor

import (
	"context"
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

var nbdCommands = []Command{
	{
		Name: "nbd_server_start", Args: "-a -w uri:s", Params: "nbd_server_start [-a] [-w] host:port",
		Help: "serve block devices on the given host and port (-a: all that hold a medium; -w: for writing, too)",
		Run:  nbdServerStart,
	},
	{
		Name: "nbd_server_add", Args: "-w device:B name:s?", Params: "nbd_server_add [-w] device [name]",
		Help: "export a block device via NBD (-w: for writing, too)", Run: nbdServerAdd,
	},
	{
		Name: "nbd_server_remove", Args: "-f name:s", Params: "nbd_server_remove [-f] name",
		Help: "remove an export previously exposed via NBD (-f: also while clients use it)", Run: nbdServerRemove,
	},
	{
		Name: "nbd_server_stop", Params: "nbd_server_stop",
		Help: "stop serving block devices using the NBD protocol", Run: nbdServerStop,
	},
}

// nbdServer is the server that nbd_server_start has started; nil if there is none.
func (m *Monitor) nbdServer() (*server.Server, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nbd == nil {
		return nil, errors.New("NBD server not running")
	}
	return m.nbd, nil
}

func nbdServerStart(_ context.Context, s *Session, a Args) error {
	if a.Flag("w") && !a.Flag("a") {
		return errors.New("-w only valid together with -a")
	}
	address, err := nbd.ParseAddress(a.String("uri"))
	if err != nil {
		return err
	}
	if err := s.monitor.startNBD(address); err != nil {
		return err
	}
	if !a.Flag("a") {
		return nil
	}
	for _, d := range s.Machine().Drives().All() {
		if d.Medium() == nil {
			continue
		}
		if err := s.exportDrive(d, d.Name(), a.Flag("w")); err != nil {
			return errors.Join(err, s.monitor.stopNBD())
		}
	}
	return nil
}

// startNBD listens, and serves until stopNBD.
func (m *Monitor) startNBD(address nbd.Address) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nbd != nil {
		return errors.New("NBD server already running")
	}
	l, err := address.Listen()
	if err != nil {
		return err
	}
	m.nbd = server.New(server.Options{})
	serving := m.nbd
	m.running.Go(func() { _ = serving.Serve(m.ctx, l) }) // ends with the server; nobody waits for why
	return nil
}

// stopNBD ends all connections and waits for their requests.
func (m *Monitor) stopNBD() error {
	m.mu.Lock()
	s := m.nbd
	m.nbd = nil
	m.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.Close()
}

func nbdServerAdd(_ context.Context, s *Session, a Args) error {
	device := a.String("device")
	d, ok := s.Machine().Drives().Get(device)
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotFound, "", "", "Cannot find device='%s' nor node-name='%s'", device, device)
	}
	if d.Medium() == nil {
		return blockdev.Errorf(blockdev.ErrNoMedium, "", "", "Device '%s' has no medium", device)
	}
	name := a.String("name")
	if name == "" {
		name = device
	}
	return s.exportDrive(d, name, a.Flag("w"))
}

// exportDrive exports what is in d. A disk that a device of the machine writes to is not
// for others to write to: neither would know what the other did.
func (s *Session) exportDrive(d *blockdev.Drive, name string, writable bool) error {
	v := d.Medium()
	writable = writable && !d.ReadOnly()
	if writable && d.Attached() != "" {
		return blockdev.Errorf(blockdev.ErrInUse, "export", d.Name(),
			"Permission conflict on node '%s': permissions 'write' are both required by an unnamed block device"+
				" (uses node '%s' as 'root' child) and unshared by block device '%s' (uses node '%s' as 'root' child).",
			v.Name, v.Name, d.Name(), v.Name)
	}
	nbdServer, err := s.monitor.nbdServer()
	if err != nil {
		return err
	}
	err = nbdServer.Add(server.Export{
		Name: name, Backend: server.FromDrive(d), Size: v.Node.Size(), ReadOnly: !writable,
		Alignment: server.AlignmentOf(v.Node),
	})
	if errors.Is(err, blockdev.ErrExists) {
		return fmt.Errorf("Block export id '%s' is already in use", name)
	}
	return err
}

func nbdServerRemove(_ context.Context, s *Session, a Args) error {
	name := a.String("name")
	notFound := blockdev.Errorf(blockdev.ErrNotFound, "", "", "Export '%s' is not found", name)
	nbdServer, err := s.monitor.nbdServer()
	if err != nil {
		return notFound
	}
	err = nbdServer.Remove(name, a.Flag("f"))
	if errors.Is(err, blockdev.ErrInUse) {
		return fmt.Errorf("%s\nUse mode='hard' to force client disconnect", blockdev.Message(err))
	}
	return err
}

func nbdServerStop(_ context.Context, s *Session, _ Args) error {
	if _, err := s.monitor.nbdServer(); err != nil {
		return err
	}
	return s.monitor.stopNBD()
}
