package qemuio

import (
	"context"
	"time"

	"github.com/qmon/qmon/blockdev"
)

var readCommands = []Command{
	{
		Name: "read", Alias: "r", Args: "[-abCqv] [-P pattern [-s off] [-l len]] off len",
		Help: "reads a number of bytes at a specified offset", Details: readDetails,
		MinArgs: 2, MaxArgs: Any, Options: "bCl:pP:qs:v", Run: read,
	},
	{
		Name: "readv", Args: "[-Cqv] [-P pattern] off len [len..]",
		Help: "reads a number of bytes at a specified offset", Details: readvDetails,
		MinArgs: 2, MaxArgs: Any, Options: "CP:qv", Run: readv,
	},
}

// maxRequest is the longest request, QEMU's: the whole sectors below 2 GiB.
const maxRequest = 1<<31 - 512

// sector is the unit of what lies in the VM state, and of compressed writes.
const sector = 512

// reading is what the read commands are told.
type reading struct {
	statistics
	dump    bool  // -v
	vmState bool  // -b
	invalid bool  // -i
	pattern *byte // -P
	// The part of the data that is compared, -s and -l; checkLen -1 is all the rest.
	checkFrom, checkLen int64
	partial             bool
}

func (c *Call) reading() (reading, error) {
	r := reading{checkLen: -1}
	for _, o := range c.Options {
		if r.option(o.Letter) {
			continue
		}
		var err error
		switch o.Letter {
		case 'v':
			r.dump = true
		case 'b':
			r.vmState = true
		case 'i':
			r.invalid = true
		case 'P':
			var b byte
			b, err = pattern(o.Value)
			r.pattern = &b
		case 's':
			r.partial = true
			r.checkFrom, err = size(o.Value)
		case 'l':
			r.partial = true
			r.checkLen, err = size(o.Value)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// span reads the offset and one length.
func (c *Call) span() (off, n int64, err error) {
	if off, err = size(c.Args[0]); err != nil {
		return 0, 0, err
	}
	n, err = size(c.Args[1])
	return off, n, err
}

// vector reads the offset and the sum of the lengths behind it. The buffers that they
// stand for are one here: what is below cannot tell.
func (c *Call) vector() (off, n int64, err error) {
	if off, err = size(c.Args[0]); err != nil {
		return 0, 0, err
	}
	for _, word := range c.Args[1:] {
		k, err := size(word)
		switch {
		case err != nil:
			return 0, 0, err
		case k > maxRequest:
			return 0, 0, complain(toOut, "Argument '%s' exceeds maximum size %d", word, maxRequest)
		case n > maxRequest-k:
			return 0, 0, complain(toOut, "The total number of bytes exceed the maximum size %d", maxRequest)
		}
		n += k
	}
	return off, n, nil
}

func read(_ context.Context, e *Exerciser, c *Call) error {
	r, err := c.reading()
	if err != nil {
		return err
	}
	if len(c.Args) != 2 {
		return c.Usage()
	}
	off, n, err := c.span()
	switch {
	case err != nil:
		return err
	case n > maxRequest:
		return complain(toOut, "length cannot exceed %d, given %s", maxRequest, c.Args[1])
	case r.partial && r.pattern == nil:
		return c.Usage()
	}
	if r.checkLen < 0 {
		r.checkLen = n - r.checkFrom
	}
	if r.checkLen < 0 || r.checkFrom > n-r.checkLen {
		return complain(toOut, "pattern verification range exceeds end of read data")
	}
	if r.vmState {
		if err := sectors(off, n); err != nil {
			return err
		}
	}
	return e.read(r, "read failed", off, n)
}

func readv(_ context.Context, e *Exerciser, c *Call) error {
	r, err := c.reading()
	if err != nil {
		return err
	}
	if len(c.Args) < 2 {
		return c.Usage()
	}
	off, n, err := c.vector()
	if err != nil {
		return err
	}
	r.checkLen = n
	return e.read(r, "readv failed", off, n)
}

// read does a request at once; failed is how its failure is called.
func (e *Exerciser) read(r reading, failed string, off, n int64) error {
	p := e.buffer(n)
	start := time.Now()
	err := e.fill(r, p, off)
	took := time.Since(start)
	e.async.reap()
	if err != nil {
		return requestFailed(failed, err)
	}
	return e.showRead(r, p, off, took)
}

func (e *Exerciser) fill(r reading, p []byte, off int64) error {
	if !r.vmState {
		_, err := e.drive.ReadAt(p, off)
		return err
	}
	store, err := e.vmState()
	if err != nil {
		return err
	}
	_, err = store.ReadVMState(p, off)
	return err
}

// showRead compares and shows what was read.
func (e *Exerciser) showRead(r reading, p []byte, off int64, took time.Duration) error {
	var err error
	if r.pattern != nil && !filledWith(p[r.checkFrom:r.checkFrom+r.checkLen], *r.pattern) {
		e.printf("Pattern verification failed at offset %d, %d bytes\n", off+r.checkFrom, r.checkLen)
		err = ErrMismatch
	}
	if r.quiet {
		return err
	}
	if r.dump {
		e.dump(p, off)
	}
	e.show(r.statistics, result{"read", off, int64(len(p)), took})
	return err
}

func filledWith(p []byte, b byte) bool {
	for _, c := range p {
		if c != b {
			return false
		}
	}
	return true
}

// sectors refuses a range that is not made of whole ones.
func sectors(off, n int64) error {
	if off%sector != 0 {
		return complain(toOut, "%d is not a sector-aligned value for 'offset'", off)
	}
	if n%sector != 0 {
		return complain(toOut, "%d is not a sector-aligned value for 'count'", n)
	}
	return nil
}

// medium is what is in the drive: the image, past the filters over it.
func (e *Exerciser) medium() (*blockdev.Vertex, error) {
	v := e.drive.Medium()
	if v == nil {
		return nil, blockdev.Errorf(blockdev.ErrNoMedium, "open", e.drive.Name(), "No medium found")
	}
	for v.File() != nil {
		if _, ok := v.Node.(blockdev.Filter); !ok {
			break
		}
		v = v.File()
	}
	return v, nil
}

// vmState is where the medium keeps the state of machines.
func (e *Exerciser) vmState() (blockdev.VMStateStore, error) {
	v, err := e.medium()
	if err != nil {
		return nil, err
	}
	if store, ok := v.Node.(blockdev.VMStateStore); ok {
		return store, nil
	}
	return nil, blockdev.Errorf(blockdev.ErrNotSupported, "read", v.Filename, "Operation not supported")
}
