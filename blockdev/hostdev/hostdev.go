// Package hostdev is the protocols of the host's own drives: host_device for disks,
// floppies and everything else that is a block or character device, host_cdrom for CD
// drives.
//
//	Disk, CD (tray, lock, medium)
//	   |
//	file.Node --- storage (opening, size, discard, zeroes)
//	                 |
//	              system: names and ioctls (system_linux.go, mac.go, windows.go)
//
// A plain file name is a drive's if the system says so: /dev/sda on Linux, d: and
// \\.\PhysicalDrive0 on Windows, /dev/cdrom there and on macOS for the first CD drive.
package hostdev

import (
	"context"
	"fmt"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/file"
)

const (
	diskDriver = "host_device"
	cdDriver   = "host_cdrom"
)

func init() {
	if host == nil {
		return
	}
	blockdev.Register(diskProtocol(host))
	blockdev.Register(cdProtocol(host))
}

var createOptions = blockdev.OptionTable{
	{Name: "preallocation", Type: blockdev.OptString, Help: "Preallocation mode (allowed values: off)"},
}

func diskProtocol(s system) blockdev.Driver {
	return blockdev.Driver{
		Name:          diskDriver,
		Protocol:      true,
		Prefixes:      []string{diskDriver},
		ClaimsName:    func(name string) bool { return s.identify(name) == kindDisk },
		OpenOptions:   file.OpenOptions,
		CreateOptions: createOptions,
		ParseFilename: parseFilename(diskDriver),
		Open: func(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
			return openDisk(s, r)
		},
		Create: func(_ context.Context, r blockdev.CreateRequest) error { return create(s, r) },
	}
}

func cdProtocol(s system) blockdev.Driver {
	return blockdev.Driver{
		Name:          cdDriver,
		Protocol:      true,
		Prefixes:      []string{cdDriver},
		ClaimsName:    func(name string) bool { return s.identify(name) == kindCD },
		OpenOptions:   file.OpenOptions,
		ParseFilename: parseFilename(cdDriver),
		Open: func(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
			return openCD(s, r)
		},
	}
}

// parseFilename takes "host_device:/dev/sda" apart.
func parseFilename(driver string) func(string) (blockdev.Options, error) {
	return func(name string) (blockdev.Options, error) {
		return blockdev.Options{"filename": name[len(driver)+1:]}, nil
	}
}

// openFile opens the device that a request names.
func openFile(s system, r blockdev.OpenRequest, driver string) (*file.Node, error) {
	name, _ := r.Options["filename"].(string)
	if name == "" {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "The '%s' block driver requires a file name", driver)
	}
	path, err := s.resolve(name)
	if err != nil {
		return nil, &blockdev.Error{Kind: blockdev.ErrNotFound, Op: "open", File: name, Offset: blockdev.NoOffset,
			Text: fmt.Sprintf("Could not open '%s'", name), Err: err}
	}
	return file.Open(path, r, &storage{system: s, driver: driver})
}

// create makes sure that there is room for an image; what is on the device stays.
func create(s system, r blockdev.CreateRequest) error {
	open := blockdev.OpenRequest{
		Options: blockdev.Values{"filename": strings.TrimPrefix(r.Filename, diskDriver+":")},
		Mode:    blockdev.Mode{Writable: true},
	}
	n, err := openFile(s, open, diskDriver)
	if err != nil {
		return err
	}
	preallocation, _ := r.Options["preallocation"].(string)
	err = n.Resize(r.Size, blockdev.ResizeOptions{Preallocation: preallocation})
	if cerr := n.Close(); err == nil {
		err = cerr
	}
	return err
}
