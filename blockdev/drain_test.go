package blockdev_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// slow lets requests wait for a signal.
type slow struct {
	blocktest.Memory
	entered atomic.Int32
	release chan struct{}
}

func (s *slow) ReadAt(p []byte, off int64) (int, error) {
	s.entered.Add(1)
	<-s.release
	return s.Memory.ReadAt(p, off)
}

func TestDrainWaitsAndHoldsBack(t *testing.T) {
	n := &slow{release: make(chan struct{})}
	if _, err := n.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	d := driveOver(t, n, blockdev.DriveConfig{})
	read := func() {
		if _, err := d.ReadAt(make([]byte, 1), 0); err != nil {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(read)
	}
	for n.entered.Load() < 4 { // all run beside each other
		time.Sleep(time.Millisecond)
	}
	drained := make(chan func())
	go func() { drained <- d.Drain() }()
	select {
	case <-drained:
		t.Fatal("drained with requests in flight")
	case <-time.After(10 * time.Millisecond):
	}
	close(n.release)
	first := <-drained
	second := d.Drain()
	var late sync.WaitGroup
	late.Go(read)
	first()
	first() // once is enough
	time.Sleep(10 * time.Millisecond)
	if got := n.entered.Load(); got != 4 {
		t.Errorf("%d requests entered a drained drive", got-4)
	}
	second()
	wg.Wait()
	late.Wait()
}
