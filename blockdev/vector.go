package blockdev

import "sync"

// vectorSize is the unit in which transfers of several buffers are gathered: large enough
// for fast transfers, and all the memory that one can make us take.
const vectorSize = 1 << 20

var vectorPool = sync.Pool{New: func() any { return new([vectorSize]byte) }}

// ReadVector reads what follows off into the buffers, one after the other.
func (l Loaded) ReadVector(bufs [][]byte, off int64) error {
	return gather(bufs, func(piece [][]byte, bounce []byte) error {
		if len(piece) == 1 {
			_, err := l.ReadAt(piece[0], off)
			off += int64(len(piece[0]))
			return err
		}
		if _, err := l.ReadAt(bounce, off); err != nil {
			return err
		}
		off += int64(len(bounce))
		for _, b := range piece {
			bounce = bounce[copy(b, bounce):]
		}
		return nil
	})
}

// WriteVector writes the buffers, one after the other, from off on.
func (l Loaded) WriteVector(bufs [][]byte, off int64) error {
	return gather(bufs, func(piece [][]byte, bounce []byte) error {
		p := bounce
		if len(piece) == 1 {
			p = piece[0]
		} else {
			n := 0
			for _, b := range piece {
				n += copy(bounce[n:], b)
			}
		}
		_, err := l.WriteAt(p, off)
		off += int64(len(p))
		return err
	})
}

// gather calls move with pieces of the buffers: a single buffer as it is, several of at most
// vectorSize together, with memory of that size to copy through.
func gather(bufs [][]byte, move func(piece [][]byte, bounce []byte) error) error {
	if len(bufs) == 1 {
		return move(bufs, nil)
	}
	bounce := vectorPool.Get().(*[vectorSize]byte)
	defer vectorPool.Put(bounce)
	for len(bufs) > 0 {
		var piece [][]byte
		n := 0
		for len(bufs) > 0 && n < vectorSize {
			b := bufs[0]
			if room := vectorSize - n; len(b) > room {
				piece = append(piece, b[:room])
				bufs = append([][]byte{b[room:]}, bufs[1:]...)
				n += room
				break
			}
			piece, bufs = append(piece, b), bufs[1:]
			n += len(b)
		}
		if err := move(piece, bounce[:n]); err != nil {
			return err
		}
	}
	return nil
}
