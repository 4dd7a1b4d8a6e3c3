package qemuio

import (
	"context"
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
)

var mapCommands = []Command{
	{
		Name: "alloc", Alias: "a", Args: "offset [count]", Help: "checks if offset is allocated in the file",
		MinArgs: 1, MaxArgs: 2, Run: alloc,
	},
	{Name: "map", Args: "", Help: "prints the allocated areas of a file", Run: mapAll},
	{Name: "info", Alias: "i", Help: "prints information about the current file", Run: info},
}

// alloc counts how many bytes of a range are in the image itself and not in its backing
// file.
func alloc(_ context.Context, e *Exerciser, c *Call) error {
	off, err := size(c.Args[0])
	if err != nil {
		return err
	}
	n := int64(sector)
	if len(c.Args) == 2 {
		if n, err = size(c.Args[1]); err != nil {
			return err
		}
	}
	v, err := e.medium()
	if err != nil {
		return wrap(toOut, "getlength: "+Message(err), err)
	}
	n = max(0, min(n, v.Node.Size()-off))
	var sum int64
	for done := int64(0); done < n; {
		ext, err := e.extent(v, off+done, n-done)
		if err != nil {
			return wrap(toOut, fmt.Sprintf("is_allocated failed: %s", Message(err)), err)
		}
		if ext.Kind != blockdev.ExtentUnallocated {
			sum += ext.Len
		}
		done += ext.Len
	}
	e.printf("%d/%d bytes allocated at offset %s\n", sum, n, formatSize(float64(off)))
	return nil
}

// extent is how the image v, which is in the drive, stores a range. Filters over it that make
// requests fail are asked as well: they are there for that.
func (e *Exerciser) extent(v *blockdev.Vertex, off, n int64) (blockdev.Extent, error) {
	for w := e.drive.Medium(); w != nil && w != v; w = w.File() {
		if _, ok := w.Node.(blockdev.Breaker); !ok {
			continue
		}
		if _, err := w.Node.Map(off, n); err != nil {
			return blockdev.Extent{}, err
		}
	}
	return v.Node.Map(off, n)
}

// mapAll lists what is in the image itself, and what is not.
func mapAll(ctx context.Context, e *Exerciser, _ *Call) error {
	v, err := e.medium()
	if err != nil {
		return wrap(toReport, "Failed to query image length: "+Message(err), err)
	}
	end := v.Node.Size()
	for off := int64(0); off < end; {
		n, allocated, err := e.run(ctx, v, off, end-off)
		if err != nil {
			return wrap(toReport, "Failed to get allocation status: "+Message(err), err)
		}
		state := "not allocated"
		if allocated {
			state = "    allocated"
		}
		e.printf("%s (0x%x) bytes %s at offset %s (0x%x)\n",
			formatSize(float64(n)), n, state, formatSize(float64(off)), off)
		off += n
	}
	return nil
}

// run tells how many of the n bytes at off are alike, and what they are.
func (e *Exerciser) run(ctx context.Context, v *blockdev.Vertex, off, n int64) (length int64, allocated bool, err error) {
	for length < n {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}
		ext, err := e.extent(v, off+length, n-length)
		if err != nil {
			return 0, false, err
		}
		is := ext.Kind != blockdev.ExtentUnallocated
		if length > 0 && is != allocated {
			break
		}
		allocated = is
		length += ext.Len
	}
	return length, allocated, nil
}

// errNoInfo says that nothing is known of what is below the format.
var errNoInfo = errors.New("the image's protocol cannot tell about itself")

func info(_ context.Context, e *Exerciser, _ *Call) error {
	v, err := e.medium()
	if err != nil {
		return err
	}
	if v.Driver != nil {
		e.printf("format name: %s\n", v.Driver.Name)
		if v.Driver.Protocol || len(v.Driver.Prefixes) > 0 {
			e.printf("format name: %s\n", v.Driver.Name) // QEMU's name of it as a protocol
		}
	}
	about, err := img.InfoOf(v)
	if err != nil {
		return err
	}
	if about.Dirty == nil {
		return errNoInfo
	}
	var vmState int64
	if i, ok := v.Node.(blockdev.Informer); ok {
		told, err := i.Info()
		if err != nil {
			return err
		}
		vmState = told.VMStateOffset
	}
	e.printf("cluster size: %s\nvm state offset: %s\n",
		formatSize(float64(about.ClusterSize)), formatSize(float64(vmState)))
	if len(about.Specific) > 0 {
		e.printf("Format specific information:\n")
		fmt.Fprint(e.config.Console, about.SpecificText())
	}
	return nil
}
