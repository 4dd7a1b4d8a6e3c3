package img

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// BenchOptions of [Bench].
type BenchOptions struct {
	Session
	Image Source
	Write bool
	// Pattern is the byte that is written.
	Pattern byte
	Count   int   // requests
	Depth   int   // of them at a time, at least 1
	Size    int64 // bytes of each
	Offset  int64 // of the first
	Step    int64 // from one to the next; 0 is Size
	// FlushInterval is after how many writes there is a flush, 0 for none. It waits for
	// the writes before it, unless NoDrain.
	FlushInterval int
	NoDrain       bool
	// Start is called when the image is open.
	Start func()
}

// Bench sends requests of one kind to an image and returns how long they took. Behind the
// end of the image they begin anew at its start.
func Bench(ctx context.Context, o BenchOptions) (took time.Duration, err error) {
	v, err := o.open(ctx, o.Image, access{writable: o.Write, unmap: true})
	if err != nil {
		return 0, err
	}
	defer release(v, &err)
	if o.Start != nil {
		o.Start()
	}
	b := bencher{o: o, node: v.Node, slots: make(chan []byte, o.Depth)}
	for range o.Depth {
		b.slots <- bytes.Repeat([]byte{o.Pattern}, int(o.Size))
	}
	begin := time.Now()
	if err := b.run(ctx); err != nil {
		return 0, wrap("bench", o.Image.label(), "Failed request", err)
	}
	return time.Since(begin), nil
}

// bencher is one run. Its slots are the buffers of requests that are not in flight.
type bencher struct {
	o     BenchOptions
	node  blockdev.Node
	slots chan []byte

	inFlight sync.WaitGroup
	mu       sync.Mutex
	err      error // of the first request that failed
}

func (b *bencher) run(ctx context.Context) error {
	next := b.o.Offset
	for i := range b.o.Count {
		buf, offset := <-b.slots, next
		if err := errors.Join(b.failure(), ctx.Err()); err != nil {
			b.slots <- buf
			break
		}
		b.start(func() error { return b.request(buf, offset) }, buf)
		next = b.next(offset)
		if b.o.FlushInterval > 0 && (i+1)%b.o.FlushInterval == 0 {
			b.flush()
		}
	}
	b.inFlight.Wait()
	return errors.Join(b.failure(), ctx.Err())
}

// start runs a request beside the others and gives its buffer back.
func (b *bencher) start(request func() error, buf []byte) {
	b.inFlight.Go(func() {
		err := request()
		b.mu.Lock()
		if b.err == nil {
			b.err = err
		}
		b.mu.Unlock()
		b.slots <- buf
	})
}

func (b *bencher) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *bencher) request(buf []byte, offset int64) (err error) {
	if b.o.Write {
		_, err = b.node.WriteAt(buf, offset)
	} else {
		_, err = b.node.ReadAt(buf, offset)
	}
	return err
}

// flush flushes, as one more request in flight.
func (b *bencher) flush() {
	if !b.o.NoDrain {
		b.inFlight.Wait()
	}
	buf := <-b.slots
	b.start(b.node.Flush, buf)
}

// next is the offset of the request behind the one at offset.
func (b *bencher) next(offset int64) int64 {
	step := b.o.Step
	if step == 0 {
		step = b.o.Size
	}
	room := b.node.Size() - b.o.Size
	if room <= 0 {
		return 0
	}
	return (offset + step) % room
}
