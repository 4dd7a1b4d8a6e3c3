package qemuio

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/qmon/qmon/blockdev"
)

var writeCommands = []Command{
	{
		Name: "write", Alias: "w", Args: "[-bcCfnquz] [-P pattern | -s source_file] off len",
		Help: "writes a number of bytes at a specified offset", Details: writeDetails,
		MinArgs: 2, MaxArgs: Any, Options: "bcCfnpP:qs:uz", Writes: true, Run: write,
	},
	{
		Name: "writev", Args: "[-Cfq] [-P pattern] off len [len..]",
		Help: "writes a number of bytes at a specified offset", Details: writevDetails,
		MinArgs: 2, MaxArgs: Any, Options: "CfP:q", Writes: true, Run: writev,
	},
}

// defaultPattern fills what is written if nothing is said.
const defaultPattern = 0xcd

// writing is what the write commands are told.
type writing struct {
	statistics
	vmState  bool // -b
	compress bool // -c
	fua      bool // -f: on disk before the request is over
	zeroes   bool // -z
	unmap    bool // -u
	fast     bool // -n: no zeroes rather than zeroes written as bytes
	invalid  bool // -i
	pattern  *byte
	source   string // -s: file that the buffer is filled from
}

func (c *Call) writing() (writing, error) {
	var w writing
	for _, o := range c.Options {
		if w.option(o.Letter) {
			continue
		}
		switch o.Letter {
		case 'b':
			w.vmState = true
		case 'c':
			w.compress = true
		case 'f':
			w.fua = true
		case 'z':
			w.zeroes = true
		case 'u':
			w.unmap = true
		case 'n':
			w.fast = true
		case 'i':
			w.invalid = true
		case 's':
			w.source = o.Value
		case 'P':
			b, err := pattern(o.Value)
			if err != nil {
				return w, err
			}
			w.pattern = &b
		}
	}
	return w, nil
}

// conflict tells which options do not go together.
func (w writing) conflict() error {
	sources := 0
	for _, given := range []bool{w.zeroes, w.pattern != nil, w.source != ""} {
		if given {
			sources++
		}
	}
	switch {
	case w.vmState && w.zeroes:
		return complain(toOut, "-b and -z cannot be specified at the same time")
	case w.fua && (w.vmState || w.compress):
		return complain(toOut, "-f and -b or -c cannot be specified at the same time")
	case w.fast && !w.zeroes:
		return complain(toOut, "-n requires -z to be specified")
	case w.unmap && !w.zeroes:
		return complain(toOut, "-u requires -z to be specified")
	case sources > 1:
		return complain(toOut, "Only one of -z, -P, and -s can be specified at the same time")
	}
	return nil
}

func write(_ context.Context, e *Exerciser, c *Call) error {
	w, err := c.writing()
	if err != nil {
		return err
	}
	if len(c.Args) != 2 {
		return c.Usage()
	}
	if err := w.conflict(); err != nil {
		return err
	}
	off, n, err := c.span()
	switch {
	case err != nil:
		return err
	case n > maxRequest && !w.fast:
		return complain(toOut, "length cannot exceed %d without -n, given %s", maxRequest, c.Args[1])
	}
	if w.vmState || w.compress {
		if err := sectors(off, n); err != nil {
			return err
		}
	}
	return e.write(w, "write failed", off, n)
}

func writev(_ context.Context, e *Exerciser, c *Call) error {
	w, err := c.writing()
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
	return e.write(w, "writev failed", off, n)
}

// write does a request at once; failed is how its failure is called.
func (e *Exerciser) write(w writing, failed string, off, n int64) error {
	p, err := e.contents(w, n)
	if err != nil {
		return err
	}
	start := time.Now()
	err = e.store(w, p, off, n)
	took := time.Since(start)
	e.async.reap()
	if err != nil {
		return requestFailed(failed, err)
	}
	e.show(w.statistics, result{"wrote", off, n, took})
	return nil
}

// contents is what is written, nil for zeroes that need none.
func (e *Exerciser) contents(w writing, n int64) ([]byte, error) {
	source := []byte{defaultPattern}
	switch {
	case w.zeroes:
		return nil, nil
	case w.source != "":
		var err error
		if source, err = readSource(w.source, n); err != nil {
			return nil, err
		}
	case w.pattern != nil:
		source[0] = *w.pattern
	}
	p := e.buffer(n)
	// What is there already is copied behind itself.
	for done := copy(p, source); done < len(p); done += copy(p[done:], p[:done]) {
	}
	return p, nil
}

// readSource reads up to n bytes of a file, to be repeated.
func readSource(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, wrap(toErr, name+": "+Message(err), err)
	}
	defer func() { _ = f.Close() }()
	p, err := io.ReadAll(io.LimitReader(f, n))
	switch {
	case err != nil:
		return nil, wrap(toErr, name+": "+Message(err), err)
	case len(p) == 0:
		return nil, complain(toErr, "%s: file is empty", name)
	}
	return p, nil
}

// store writes p, or n zeroes.
func (e *Exerciser) store(w writing, p []byte, off, n int64) error {
	var err error
	switch {
	case w.vmState:
		err = e.writeVMState(p, off)
	case w.zeroes:
		err = e.drive.WriteZeroes(off, n, w.zeroFlags())
	case w.compress:
		err = e.writeCompressed(p, off)
	default:
		_, err = e.drive.WriteAt(p, off)
	}
	if err == nil && (w.fua || (w.vmState || w.compress) && e.drive.Config().Cache.WriteThrough) {
		err = e.drive.Flush()
	}
	return err
}

func (w writing) zeroFlags() (f blockdev.ZeroFlags) {
	if w.unmap {
		f |= blockdev.ZeroMayUnmap
	}
	if w.fast {
		f |= blockdev.ZeroNoFallback
	}
	return f
}

func (e *Exerciser) writeVMState(p []byte, off int64) error {
	store, err := e.vmState()
	if err != nil {
		return err
	}
	_, err = store.WriteVMState(p, off)
	return err
}

// writeCompressed writes cluster after cluster. They have to be whole ones, but for the
// last of the disk.
func (e *Exerciser) writeCompressed(p []byte, off int64) error {
	v, err := e.medium()
	if err != nil {
		return err
	}
	if err := blockdev.CheckRange("write", v.Node, off, int64(len(p))); err != nil {
		return err
	}
	to, ok := e.drive.Medium().Node.(blockdev.CompressedWriter)
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", v.Filename, "Operation not supported")
	}
	cluster := int64(len(p))
	if i, ok := v.Node.(blockdev.Informer); ok {
		if told, err := i.Info(); err == nil && told.ClusterSize > 0 {
			cluster = told.ClusterSize
		}
	}
	end := off + int64(len(p))
	if len(p) > 0 && (off%cluster != 0 || end%cluster != 0 && end != v.Node.Size()) {
		return blockdev.ErrorAt(blockdev.ErrInvalid, "write", v.Filename, off, "compressed clusters are whole ones")
	}
	for len(p) > 0 {
		k := min(cluster, int64(len(p)))
		if err := to.WriteCompressed(p[:k], off); err != nil {
			return err
		}
		p, off = p[k:], off+k
	}
	return nil
}
