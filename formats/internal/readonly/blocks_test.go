package readonly

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestABlockIsUnpackedOnceForAllWhoWantIt(t *testing.T) {
	var c Blocks
	var unpacked atomic.Int32
	var wg sync.WaitGroup
	for i := range int64(20) {
		wg.Go(func() {
			p := make([]byte, 10)
			err := c.Read(p, 7, 100, i, func(out []byte) error {
				unpacked.Add(1)
				for j := range out {
					out[j] = byte(j)
				}
				return nil
			})
			if err != nil || p[0] != byte(i) || p[9] != byte(i+9) {
				t.Errorf("at %d: % x, %v", i, p, err)
			}
		})
	}
	wg.Wait()
	if n := unpacked.Load(); n != 1 {
		t.Errorf("unpacked %d times", n)
	}
}

func TestAFailureIsNotKept(t *testing.T) {
	var c Blocks
	failure := errors.New("broken")
	p := make([]byte, 1)
	if err := c.Read(p, 1, 2, 0, func([]byte) error { return failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
	if err := c.Read(p, 1, 2, 0, func(out []byte) error { out[0] = 9; return nil }); err != nil || p[0] != 9 {
		t.Errorf("%d, %v", p[0], err)
	}
}

func TestTheCacheStaysWithinItsBudget(t *testing.T) {
	var c Blocks
	p := make([]byte, 1)
	for i := range int64(40) {
		if err := c.Read(p, i, cacheBytes/4, 1, func([]byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if c.used > cacheBytes || c.recent.Len() != len(c.index) {
			t.Fatalf("%d bytes in %d blocks", c.used, c.recent.Len())
		}
	}
}
