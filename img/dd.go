package img

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

// DDOptions of [DD].
type DDOptions struct {
	Session
	Source Source
	// Target is a file that is made, or made anew, with TargetFormat ("" for raw).
	Target, TargetFormat string
	BlockSize            int64 // bytes
	Count                int64 // blocks to read, from the first of the image; negative for all
	Skip                 int64 // of those, blocks not to copy
}

// ddChunk is how much is copied at a time.
const ddChunk = 2 << 20

// DDResult is what [DD] did.
type DDResult struct {
	Bytes int64 // copied
	// PastEnd is set if Skip went past the end of the source: nothing was copied.
	PastEnd bool
}

// DD copies blocks of an image into a new one, as dd does with files. Count takes blocks
// from the beginning of the image and Skip leaves out the first of them, as in QEMU, where
// dd would copy Count blocks behind those.
func DD(ctx context.Context, o DDOptions) (r DDResult, err error) {
	format := o.TargetFormat
	if format == "" {
		format = "raw"
	}
	driver, err := blockdev.LookupDriver(format)
	if err != nil {
		return r, blockdev.Errorf(blockdev.ErrNotFound, "dd", o.Target, "Unknown file format")
	}
	g := o.graph()
	src, err := o.openIn(ctx, g, o.Source, access{})
	if err != nil {
		return r, err
	}
	defer release(src, &err)
	start, end := o.span(src.Node.Size())
	r = DDResult{Bytes: end - start, PastEnd: o.Skip > src.Node.Size()/o.BlockSize}
	size := (end - start + ddUnit - 1) / ddUnit * ddUnit
	err = checkOverlap("dd", o.Target, src)
	if err == nil {
		err = g.Create(ctx, driver.Name, o.Target, size, nil, blockdev.Reference{})
	}
	if err != nil {
		return r, wrap("dd", o.Target, o.Target+": error while creating output image", err)
	}
	dst, err := o.openIn(ctx, g, Source{Filename: o.Target, Format: driver.Name}, access{writable: true, unmap: true})
	if err != nil {
		return r, err
	}
	defer release(dst, &err)
	if err := copySpan(ctx, dst.Node, src.Node, start, end); err != nil {
		return r, err
	}
	return r, dst.Node.Flush()
}

// ddUnit is what the size of the new image is rounded up to, in bytes.
const ddUnit = 512

// span is the part of a source of that size that is copied.
func (o DDOptions) span(size int64) (start, end int64) {
	end = size
	if o.Count >= 0 && (o.Count == 0 || o.BlockSize <= size/o.Count) {
		end = o.Count * o.BlockSize
	}
	if o.Skip > size/o.BlockSize || o.Skip*o.BlockSize > end {
		return end, end
	}
	return o.Skip * o.BlockSize, end
}

// copySpan copies a span to the beginning of dst, which is new: zeroes stay out of it.
func copySpan(ctx context.Context, dst, src blockdev.Node, start, end int64) error {
	buf := make([]byte, ddChunk)
	for at := start; at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(end-at, ddChunk)]
		if _, err := src.ReadAt(p, at); err != nil {
			return wrap("dd", "", "error while reading from input image file", err)
		}
		if !blockdev.IsZero(p) {
			if _, err := dst.WriteAt(p, at-start); err != nil {
				return wrap("dd", "", "error while writing to output image file", err)
			}
		}
		at += int64(len(p))
	}
	return nil
}
