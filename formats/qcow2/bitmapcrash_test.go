package qcow2

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// storedBitmap is what a close leaves of a bitmap.
type storedBitmap struct {
	enabled bool
	bits    string
}

// closing is an image as a close leaves it.
type closing struct {
	log     int
	data    []byte
	bitmaps map[string]storedBitmap
}

// closingOf reads what an image says. Inconsistent bitmaps have no bits.
func closingOf(file blockdev.Node) (c closing, inconsistent map[string]bool, err error) {
	im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: file})
	if err != nil {
		return c, nil, err
	}
	c = closing{data: make([]byte, im.Size()), bitmaps: map[string]storedBitmap{}}
	if _, err := im.ReadAt(c.data, 0); err != nil {
		return c, nil, err
	}
	list, err := im.Bitmaps()
	if err != nil {
		return c, nil, err
	}
	inconsistent = map[string]bool{}
	for _, b := range list {
		if b.Inconsistent {
			inconsistent[b.Name] = true
			continue
		}
		d, err := im.DirtyBitmap(b.Name)
		if err != nil {
			return c, nil, err
		}
		bits := make([]byte, d.EncodedSize())
		d.Encode(bits, 0)
		c.bitmaps[b.Name] = storedBitmap{b.Enabled, string(bits)}
	}
	return c, inconsistent, nil
}

// explains tells if a crash may leave got after the close c: every bitmap is one of c's or
// inconsistent, and one that follows writes has missed none.
func (c closing) explains(got closing, inconsistent map[string]bool) bool {
	if len(got.bitmaps)+len(inconsistent) != len(c.bitmaps) {
		return false
	}
	for name := range inconsistent {
		if _, ok := c.bitmaps[name]; !ok {
			return false
		}
	}
	for name, b := range got.bitmaps {
		if c.bitmaps[name] != b || b.enabled && !bytes.Equal(got.data, c.data) {
			return false
		}
	}
	return true
}

// bitmapSession opens the image, changes bitmaps and contents at random, and closes it.
func bitmapSession(t *testing.T, r *rand.Rand, file blockdev.Node, n int) {
	t.Helper()
	im := open(t, file, writable)
	for range 1 + r.Intn(5) {
		list, err := im.Bitmaps()
		if err != nil {
			t.Fatal(err)
		}
		var name string
		if len(list) > 0 {
			name = list[r.Intn(len(list))].Name
		}
		switch k := r.Intn(10); {
		case k < 5:
			off := r.Intn(int(im.Size()))
			_, err = im.WriteAt(pattern(r.Int(), 1+r.Intn(min(int(im.Size())-off, 3000))), int64(off))
		case k < 6:
			err = im.Flush()
		case k < 8 && len(list) < 4:
			err = im.AddBitmap(blockdev.BitmapInfo{Name: fmt.Sprint("bitmap ", n), Granularity: 512, Enabled: r.Intn(3) > 0})
			n += 100
		case name == "":
		case k < 9:
			err = im.RemoveBitmap(name)
		default:
			err = im.EnableBitmap(name, r.Intn(2) == 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestACrashLeavesNoWrongBitmap: what a close has stored is there, or says that it is
// inconsistent. The recorder cuts between any two requests, tears them and reorders them.
func TestACrashLeavesNoWrongBitmap(t *testing.T) {
	for seed := range seeds(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewSource(int64(seed)))
			rec := &flushes{Recorder: blocktest.NewRecorder(nil)}
			createIn(t, rec, 64<<10, blockdev.Options{"cluster_size": fmt.Sprint(512 << r.Intn(3))}, blockdev.Reference{})
			if err := rec.Flush(); err != nil {
				t.Fatal(err)
			}
			var list []closing
			note := func() {
				c, inconsistent, err := closingOf(rec.Clone())
				if err != nil || len(inconsistent) > 0 {
					t.Fatalf("after a close %v are inconsistent: %v", inconsistent, err)
				}
				c.log = rec.last
				list = append(list, c)
			}
			note()
			for i := range 8 {
				bitmapSession(t, r, rec, i)
				note()
			}
			used := 0 // consistent bitmaps that were found
			err := rec.Replay(blocktest.ReplayOptions{Seed: uint64(seed)}, func(file *blocktest.Memory, durable int) error {
				if durable < list[0].log {
					return nil
				}
				at := len(list) - 1
				for list[at].log > durable {
					at--
				}
				got, inconsistent, err := closingOf(file)
				if err != nil {
					return err
				}
				used += len(got.bitmaps)
				for _, c := range list[at:min(at+2, len(list))] {
					if c.explains(got, inconsistent) {
						return nil
					}
				}
				return fmt.Errorf("after close %d: bitmaps that are wrong: %d consistent, inconsistent %v", at, len(got.bitmaps), inconsistent)
			})
			if err != nil {
				t.Error(err)
			}
			if used == 0 {
				t.Error("no crash left a bitmap")
			}
		})
	}
}
