package qcow2

import (
	"context"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// long is a file that claims to be much longer than what is in it.
type long struct {
	*blocktest.Memory
	size int64
}

func (l long) Size() int64 { return l.size }

func (l long) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if n := min(l.Memory.Size()-off, int64(len(p))); n > 0 {
		if _, err := l.Memory.ReadAt(p[:n], off); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// TestCheckOfALongEmptyFile takes as long as what is in it.
func TestCheckOfALongEmptyFile(t *testing.T) {
	p := written(t, 64<<20, nil)
	p.set16(p.refBlock()+2*1000, 1) // leaked
	im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "long.qcow2", File: long{p.file(), 1 << 60}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := im.Check(context.Background(), blockdev.CheckOptions{})
	if err != nil || res.Leaks != 1 || res.Corruptions != 0 || res.ImageEndOffset != 1001<<16 {
		t.Errorf("%v, %+v", err, res)
	}
}
