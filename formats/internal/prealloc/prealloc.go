// Package prealloc is the create option preallocation of formats that leave it to the file.
package prealloc

import "github.com/qmon/qmon/blockdev"

// Option is the entry of a format's table of create options.
var Option = blockdev.Option{Name: "preallocation", Type: blockdev.OptString,
	Help: "Preallocation mode (allowed values: off, falloc, full)"}

// Mode is the value that a new image was asked to have.
func Mode(r blockdev.CreateRequest) (string, error) {
	mode, _ := r.Options[Option.Name].(string)
	switch mode {
	case "", "off", "falloc", "full":
		return mode, nil
	case "metadata":
		return "", blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "Unsupported preallocation mode: metadata")
	}
	return "", blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "invalid parameter value: %s", mode)
}
