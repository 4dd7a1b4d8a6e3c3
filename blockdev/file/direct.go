package file

import "unsafe"

// With O_DIRECT the system wants memory, offsets and lengths aligned. Requests that are
// not go through an aligned buffer, a piece at a time.

// bouncePiece is how much of an unaligned request is copied at once.
const bouncePiece = 1 << 20

func (n *Node) aligned(p []byte, off int64) bool {
	if n.align == 1 || len(p) == 0 {
		return true
	}
	address := int64(uintptr(unsafe.Pointer(unsafe.SliceData(p))))
	return (off|int64(len(p))|address)%n.align == 0
}

// alignedBuffer makes a buffer that begins at a multiple of align.
func alignedBuffer(size, align int64) []byte {
	b := make([]byte, size+align)
	skip := (align - int64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))%align) % align
	return b[skip : skip+size : skip+size]
}

// window is the aligned range around [off, off+length), a piece at most.
func (n *Node) window(off, length int64) (start, size int64) {
	start = off / n.align * n.align
	end := (off + length + n.align - 1) / n.align * n.align
	return start, min(end-start, bouncePiece)
}

func (n *Node) readBounced(p []byte, off int64) (int, error) {
	total := len(p)
	_, size := n.window(off, int64(len(p)))
	buf := alignedBuffer(size, n.align)
	for len(p) > 0 {
		start, size := n.window(off, int64(len(p)))
		if _, err := n.readFull(buf[:size], start); err != nil {
			return 0, err
		}
		k := copy(p, buf[off-start:size])
		p, off = p[k:], off+int64(k)
	}
	return total, nil
}

// writeBounced reads, changes and writes back. Nothing may happen beside it: another write
// to one of the blocks would be undone, and so would a file that grows behind the end,
// which is put back to where the bytes end.
func (n *Node) writeBounced(p []byte, off int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	end := max(n.size.Load(), off+int64(len(p)))
	_, size := n.window(off, int64(len(p)))
	buf := alignedBuffer(size, n.align)
	for len(p) > 0 {
		start, size := n.window(off, int64(len(p)))
		if _, err := n.readFull(buf[:size], start); err != nil {
			return err
		}
		k := copy(buf[off-start:size], p)
		if _, err := n.f.WriteAt(buf[:size], start); err != nil {
			return err
		}
		p, off = p[k:], off+int64(k)
	}
	if !n.fixed && end%n.align != 0 {
		if err := n.f.Truncate(end); err != nil {
			return err
		}
	}
	n.grown(end)
	return nil
}
