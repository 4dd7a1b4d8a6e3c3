package img

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/qemuopts"
)

// CreateOptions of [Create].
type CreateOptions struct {
	Session
	Filename string
	// Format is the driver, "" for raw.
	Format string
	// Size is the virtual size in bytes; nil takes Options' "size", or else the size of
	// the backing file.
	Size *int64
	// Options of the driver, and of the protocol below it, as -o gives them: backing_file
	// and backing_fmt among them.
	Options blockdev.Options
	// Backing and BackingFormat override those in Options.
	Backing, BackingFormat string
	// Unchecked records the backing file without opening it.
	Unchecked bool
	// Announce is called before the image is made, with every option spelled out:
	// "Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536 size=1048576 ...".
	Announce func(line string)
}

// Create makes an image. If it fails, a file that was not there before is not there after,
// nor one that had been emptied for it.
func Create(ctx context.Context, o CreateOptions) error {
	plan, err := o.plan(ctx)
	if err != nil {
		return err
	}
	if o.Announce != nil {
		o.Announce(plan.announcement())
	}
	err = plan.create(ctx)
	if errors.Is(err, syscall.EFBIG) {
		return plan.tooLarge(err)
	}
	return err
}

// tooLarge words an error of the host, whose files do not become as large.
func (p *createPlan) tooLarge(err error) error {
	hint := ""
	if _, ok := p.table.Lookup("cluster_size"); ok {
		hint = " (try using a larger cluster size)"
	}
	return &blockdev.Error{Kind: err, Op: "create", File: p.filename, Offset: blockdev.NoOffset,
		Text: fmt.Sprintf("The image size is too large for file format '%s'%s", p.driver.Name, hint)}
}

// Names of the create options that are not the driver's alone.
const (
	optSize          = "size"
	optBackingFile   = "backing_file"
	optBackingFormat = "backing_fmt"
)

// createPlan is a checked CreateOptions.
type createPlan struct {
	session  Session
	filename string
	driver   *blockdev.Driver
	table    blockdev.OptionTable // the driver's options, then the protocol's
	options  blockdev.Options     // size and backing file not among them
	values   blockdev.Values      // all that is set or has a default
	size     int64
	backing  blockdev.Reference

	backingSize int64
}

func (o CreateOptions) plan(ctx context.Context) (*createPlan, error) {
	p, err := o.parse()
	if err != nil {
		return nil, err
	}
	if o.Size != nil && p.values.Has(optSize) {
		return nil, invalid("create", o.Filename, "The image size must be specified only once")
	}
	if err := p.checkBacking(ctx, o); err != nil {
		return nil, err
	}
	return p, p.setSize(o)
}

// parse finds the driver and reads the options.
func (o CreateOptions) parse() (*createPlan, error) {
	p := &createPlan{session: o.Session, filename: o.Filename, options: o.Options.Clone()}
	var err error
	if p.driver, p.table, err = CreateTable(o.Filename, o.Format); err != nil {
		return nil, err
	}
	if err := p.setBacking(o); err != nil {
		return nil, err
	}
	if p.values, err = p.table.Parse(p.options); err != nil {
		return nil, withSizeHint(err)
	}
	name, _ := p.values[optBackingFile].(string)
	format, _ := p.values[optBackingFormat].(string)
	p.backing = blockdev.Reference{Kind: blockdev.RefBacking, Parent: o.Filename, Name: name, Format: format}
	return p, p.backBelow(o)
}

// backBelow is about images that a protocol makes as a whole, as clones of others, which
// are raw like them. What is in the other one is in the clone, so nothing may take the new
// image for an empty one, as a conversion would.
func (p *createPlan) backBelow(o CreateOptions) error {
	if p.backing.Name == "" {
		return nil
	}
	protocol, err := blockdev.ProtocolOf(o.Filename)
	switch {
	case err != nil || !blockdev.BacksBelow(p.driver, protocol):
		return err
	case o.Unchecked:
		return blockdev.Errorf(blockdev.ErrNotSupported, "create", o.Filename,
			"Backing file not supported for file format '%s' here: '%s' images with one are clones of it",
			p.driver.Name, protocol.Name)
	case p.backing.Format == "":
		p.backing.Format = "raw"
	}
	return nil
}

// CreateTable is every option that creating an image with that driver understands: the
// driver's own, and, where a file name says which protocol it will lie on, the protocol's.
func CreateTable(filename, format string) (*blockdev.Driver, blockdev.OptionTable, error) {
	if format == "" {
		format = "raw"
	}
	d, err := blockdev.LookupDriver(format)
	if err != nil {
		return nil, nil, blockdev.Errorf(blockdev.ErrNotFound, "create", filename, "Unknown file format '%s'", format)
	}
	if d.Create == nil {
		return nil, nil, blockdev.Errorf(blockdev.ErrNotSupported, "create", filename,
			"Format driver '%s' does not support image creation", format)
	}
	table := append(blockdev.OptionTable(nil), d.CreateOptions...)
	if filename == "" || d.Protocol {
		return d, table, nil
	}
	proto, err := blockdev.ProtocolOf(filename)
	if err != nil {
		return nil, nil, err
	}
	for _, opt := range proto.CreateOptions {
		if _, ok := table.Lookup(opt.Name); !ok {
			table = append(table, opt)
		}
	}
	return d, table, nil
}

func (p *createPlan) setBacking(o CreateOptions) error {
	for _, b := range []struct{ key, value, what string }{
		{optBackingFile, o.Backing, "Backing file"},
		{optBackingFormat, o.BackingFormat, "Backing file format"},
	} {
		if b.value == "" {
			continue
		}
		if _, ok := p.table.Lookup(b.key); !ok {
			return blockdev.Errorf(blockdev.ErrNotSupported, "create", o.Filename,
				"%s not supported for file format '%s'", b.what, p.driver.Name)
		}
		p.options[b.key] = b.value
	}
	return nil
}

// checkBacking opens the backing file once, to see that it can be one and how large it is. That
// takes no locks: an overlay can be made of an image that a machine writes to, which goes on in
// it then.
func (p *createPlan) checkBacking(ctx context.Context, o CreateOptions) error {
	name, format := p.backing.Name, p.backing.Format
	switch {
	case !p.values.Has(optBackingFile):
		return nil
	case name == "":
		return invalid("create", o.Filename, "Expected backing file name, got empty string")
	case name == o.Filename, sameFile(resolve(o.Filename, name), o.Filename):
		return invalid("create", o.Filename, "Error: Trying to create an image with the same filename as the backing file")
	case o.Unchecked && format == "":
		return invalid("create", o.Filename, "Backing file specified without backing format")
	case o.Unchecked:
		return nil
	}
	v, err := p.session.graph().Open(ctx, resolve(o.Filename, name), blockdev.OpenOptions{
		Driver: format, Gate: o.Gate, Mode: blockdev.Mode{ForceShare: true, NoIO: true}, // an encrypted one needs no key for this
	})
	if err != nil {
		return hinted(err, "\nCould not open backing image.")
	}
	p.backingSize = v.Node.Size()
	detected := v.Driver.Name
	if err := v.Unref(); err != nil {
		return err
	}
	if format == "" {
		return invalid("create", o.Filename, "Backing file specified without backing format\nDetected format of "+detected+".")
	}
	return nil
}

// setSize takes the size given, or else the backing file's.
func (p *createPlan) setSize(o CreateOptions) error {
	given, ok := p.values[optSize].(int64)
	switch {
	case o.Size != nil:
		p.size = *o.Size
	case ok:
		p.size = given
	case p.backing.Name != "" && !o.Unchecked:
		p.size = p.backingSize
	default:
		return invalid("create", o.Filename, "Image creation needs a size parameter")
	}
	p.values[optSize] = p.size
	for _, k := range []string{optSize, optBackingFile, optBackingFormat} {
		p.options.Take(k)
	}
	return nil
}

// announcement lists the options in the order of the table, as QEMU does.
func (p *createPlan) announcement() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Formatting '%s', fmt=%s", p.filename, p.driver.Name)
	for _, opt := range p.table {
		v, ok := p.values[opt.Name]
		if !ok {
			continue
		}
		switch v := v.(type) {
		case bool:
			fmt.Fprintf(&b, " %s=%s", opt.Name, map[bool]string{true: "on", false: "off"}[v])
		case string:
			fmt.Fprintf(&b, " %s=%s", opt.Name, qemuopts.Escape(v))
		default:
			fmt.Fprintf(&b, " %s=%v", opt.Name, v)
		}
	}
	return b.String()
}

func (p *createPlan) create(ctx context.Context) error {
	if p.backing.Name == "" && p.backing.Format != "" {
		return invalid("create", p.filename, "Backing format cannot be used without backing file")
	}
	existed := fileExists(p.filename)
	err := p.session.graph().Create(ctx, p.driver.Name, p.filename, p.size, p.options, p.backing)
	if err != nil && !existed {
		removeFile(p.filename)
	}
	return err
}

func invalid(op, file, text string) error {
	return blockdev.Errorf(blockdev.ErrInvalid, op, file, "%s", text)
}

// hinted is err with advice after its message.
func hinted(err error, hint string) error {
	return &blockdev.Error{Kind: err, Op: "create", Offset: blockdev.NoOffset, Text: blockdev.Message(err) + hint}
}

// withSizeHint adds what sizes look like to the error about a value that is none.
func withSizeHint(err error) error {
	if strings.HasSuffix(blockdev.Message(err), "expects a non-negative number below 2^64") {
		return hinted(err, SizeHint)
	}
	return err
}

// SizeHint follows the message about an option that is not a size.
const SizeHint = "\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n" +
	"and exabytes, respectively."
