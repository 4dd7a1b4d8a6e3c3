package blockdev

import "context"

// Create makes an image of the given driver at filename (which is created or truncated).
// Options that the format does not know are offered to the protocol below. If the format
// fails, the file is removed: what was in it is gone by then.
func (g *Graph) Create(ctx context.Context, driver, filename string, size int64, options Options, backing Reference) error {
	d, err := LookupDriver(driver)
	if err != nil {
		return err
	}
	if d.Create == nil {
		return Errorf(ErrNotSupported, "create", filename, "Format driver '%s' does not support image creation", d.Name)
	}
	name, err := parseFilename(filename)
	if err != nil {
		return err
	}
	protocol, err := name.lookup()
	if err != nil {
		return err
	}
	if protocol.Create == nil {
		return Errorf(ErrNotSupported, "create", filename, "Protocol driver '%s' does not support image creation", protocol.Name)
	}
	mine, below := splitOptions(d, protocol, options)
	if d.Protocol {
		mine, below = Options{}, options
	}
	values, err := d.CreateOptions.Parse(mine)
	if err != nil {
		return err
	}
	fileValues, err := protocol.CreateOptions.Parse(below)
	if err != nil {
		return err
	}
	file := CreateRequest{Filename: nameForDriver(name), Options: fileValues}
	if d.Protocol || BacksBelow(d, protocol) {
		file.Size, file.Backing, backing = size, backing, Reference{}
	}
	if err = protocol.Create(ctx, file); err != nil || d.Protocol {
		return err
	}
	err = g.createFormat(ctx, d, protocol, name, CreateRequest{
		Filename: file.Filename, Size: size, Options: values, Backing: backing,
	})
	if err != nil && protocol.Remove != nil {
		_ = protocol.Remove(file.Filename) // the error to tell is the first one
	}
	return err
}

// BacksBelow tells if a disk of that format is made by the protocol as a whole, backing
// file and all: raw ones are, where the protocol knows about backing files.
func BacksBelow(format, protocol *Driver) bool {
	return knows(protocol, backingOption) && !knows(format, backingOption)
}

// backingOption is the create option for a backing file.
const backingOption = "backing_file"

func knows(d *Driver, option string) bool {
	_, ok := d.CreateOptions.Lookup(option)
	return ok
}

// createFormat opens the new, empty file and has the format written into it.
func (g *Graph) createFormat(ctx context.Context, d, protocol *Driver, name *fileName, r CreateRequest) error {
	file, err := g.open(ctx, name, OpenOptions{Driver: protocol.Name, Mode: Mode{Writable: true, Unmap: true}})
	if err != nil {
		return err
	}
	opened := []*Vertex{file}
	r.File = file.Node
	r.CreateFile = func(ctx context.Context, filename string) (Node, error) {
		v, err := g.createFile(ctx, filename)
		if err != nil {
			return nil, err
		}
		opened = append(opened, v)
		return v.Node, nil
	}
	if err = clearStart(file.Node, r.Size); err == nil {
		err = d.Create(ctx, r)
	}
	for _, v := range opened {
		if cerr := v.Unref(); err == nil {
			err = cerr
		}
	}
	return err
}

// startBytes is where images of most formats are told by.
const startBytes = 512

// clearStart makes sure that a drive of the host, which keeps what was on it, is not taken
// for its old image. A disk that is larger than the drive is left to the format, which
// writes its own header or refuses.
func clearStart(n Node, size int64) error {
	if !hasFixedSize(n) || size > n.Size() {
		return nil
	}
	return WriteZeroes(n, 0, min(startBytes, n.Size()), 0)
}

// createFile makes an empty file, for data beside the image itself, and opens it.
func (g *Graph) createFile(ctx context.Context, filename string) (*Vertex, error) {
	name, err := parseFilename(filename)
	if err != nil {
		return nil, err
	}
	protocol, err := name.lookup()
	if err != nil {
		return nil, err
	}
	if protocol.Create == nil {
		return nil, Errorf(ErrNotSupported, "create", filename, "Protocol driver '%s' does not support image creation", protocol.Name)
	}
	if err := protocol.Create(ctx, CreateRequest{Filename: nameForDriver(name), Options: Values{}}); err != nil {
		return nil, err
	}
	return g.open(ctx, name, OpenOptions{Driver: protocol.Name, Mode: Mode{Writable: true, Unmap: true}})
}

// ProtocolOf is the driver that a file name selects: by its prefix, by being a drive of the
// host, or else "file".
func ProtocolOf(filename string) (*Driver, error) {
	name, err := parseFilename(filename)
	if err != nil {
		return nil, err
	}
	return name.lookup()
}

// nameForDriver is the name as the driver takes it: without "file:".
func nameForDriver(f *fileName) string {
	if f.driver == nil {
		return f.options["filename"]
	}
	return f.text
}

// splitOptions separates the options that d knows from those for the protocol. One that
// makes disks as a whole gets what it knows as well.
func splitOptions(d, protocol *Driver, o Options) (mine, below Options) {
	mine, below = Options{}, Options{}
	whole := BacksBelow(d, protocol)
	for k, v := range o {
		known := knows(d, k)
		if known {
			mine[k] = v
		}
		if !known || whole && knows(protocol, k) {
			below[k] = v
		}
	}
	return mine, below
}
