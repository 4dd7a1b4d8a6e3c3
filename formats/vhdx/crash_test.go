package vhdx

import (
	"bytes"
	"errors"
	"math/rand"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// A crash test writes only in a window at the beginning of each block, so that there is
// little to compare.
const (
	crashBlocks = 12
	crashWindow = 4 * 512
)

// moment is the windows of all blocks after an operation, and the length of the recorder's
// log after the last flush by then.
type moment struct {
	flushed int
	data    []byte
}

func crashHistory(t *testing.T, r *rand.Rand) (*blocktest.Recorder, []moment) {
	rec := blocktest.NewRecorder(nil)
	createIn(t, rec, crashBlocks*mib, blockdev.Options{"block_size": "1M"})
	if err := rec.Flush(); err != nil {
		t.Fatal(err)
	}
	im := open(t, rec, writable)
	now := moment{rec.Position(), make([]byte, crashBlocks*crashWindow)}
	list := []moment{{now.flushed, bytes.Clone(now.data)}}
	for range 40 {
		block, at := r.Intn(crashBlocks), r.Intn(crashWindow)
		p := pattern(r.Int(), 1+r.Intn(crashWindow-at))
		switch k := r.Intn(10); {
		case k < 6:
			copy(now.data[block*crashWindow+at:], p)
			write(t, im, int64(block)*mib+int64(at), p)
		case k == 6:
			clear(now.data[block*crashWindow+at:][:len(p)])
			if err := im.WriteZeroes(int64(block)*mib+int64(at), int64(len(p)), blockdev.ZeroMayUnmap); err != nil {
				t.Fatal(err)
			}
		case k == 7:
			closeImage(t, im)
			now.flushed = rec.Position()
			im = open(t, rec, writable)
		default:
			if err := im.Flush(); err != nil {
				t.Fatal(err)
			}
			now.flushed = rec.Position()
		}
		list = append(list, moment{now.flushed, bytes.Clone(now.data)})
	}
	closeImage(t, im)
	return rec, list
}

func TestACrashLosesNothingThatWasFlushed(t *testing.T) {
	blocktest.Sequential(t)
	for seed := range 6 {
		rec, list := crashHistory(t, rand.New(rand.NewSource(int64(seed))))
		err := rec.Replay(blocktest.ReplayOptions{Seed: uint64(seed), Subsets: 6}, func(file *blocktest.Memory, durable int) error {
			if durable < list[0].flushed {
				return nil
			}
			return verifyCrash(t, file, list, durable)
		})
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// verifyCrash opens what a crash left. Each byte must be what it was at the last moment
// that was durable, or at a later one.
func verifyCrash(t *testing.T, file *blocktest.Memory, list []moment, durable int) error {
	im, err := tryOpen(file, writable)
	if err != nil {
		return err
	}
	checkClean(t, im)
	got := make([]byte, crashBlocks*crashWindow)
	for b := range crashBlocks {
		if _, err := im.ReadAt(got[b*crashWindow:][:crashWindow], int64(b)*mib); err != nil {
			return err
		}
	}
	first := 0
	for i, m := range list {
		if m.flushed <= durable && (i == 0 || m.flushed > list[i-1].flushed) {
			first = i
		}
	}
	for i, b := range got {
		ok := false
		for _, m := range list[first:] {
			ok = ok || m.data[i] == b
		}
		if !ok {
			return errors.New("a byte is neither what was flushed nor what was written later")
		}
	}
	return im.Close()
}
