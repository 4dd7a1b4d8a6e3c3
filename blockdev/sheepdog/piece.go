package sheepdog

import "sync"

// piece is the part of a request that concerns one object.
type piece struct {
	index uint32
	off   int64 // within the object
	at    int64 // within the request
	n     int64
}

// maxPiece bounds a request's payload, in bytes, so that large objects move in parallel too.
const (
	maxPieceShift = 22
	maxPiece      = 1 << maxPieceShift
)

// pieces cuts a range into requests that do not cross an object's end, of maxPiece bytes at
// most.
func pieces(shift uint8, off, length int64) []piece {
	out := make([]piece, 0, length>>min(shift, maxPieceShift)+2)
	for at := int64(0); at < length; {
		in := (off + at) & (1<<shift - 1)
		n := min(length-at, 1<<shift-in, maxPiece)
		out = append(out, piece{index: uint32((off + at) >> shift), off: in, at: at, n: n})
		at += n
	}
	return out
}

// maxParallel is how many pieces of one request are in flight.
const maxParallel = 8

// inParallel calls f for each piece and returns the first error, after all have ended.
func inParallel(all []piece, f func(piece) error) error {
	if len(all) == 1 {
		return f(all[0])
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var first error
	next := 0
	take := func() (piece, bool) {
		mu.Lock()
		defer mu.Unlock()
		if first != nil || next == len(all) {
			return piece{}, false
		}
		next++
		return all[next-1], true
	}
	for range min(maxParallel, len(all)) {
		wait.Go(func() {
			for c, ok := take(); ok; c, ok = take() {
				if err := f(c); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wait.Wait()
	return first
}
