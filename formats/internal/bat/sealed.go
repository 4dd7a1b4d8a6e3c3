package bat

import "github.com/qmon/qmon/blockdev"

// Cipher encrypts and decrypts whole sectors of 512 bytes in place. number is that of the
// first, by its place on the disk.
type Cipher interface {
	Encrypt(p []byte, number uint64)
	Decrypt(p []byte, number uint64)
}

const (
	sectorSize = 512
	// maxSealed is how much is encrypted at once, bytes, and so the memory that a request
	// needs: the caller's stays as it is. A multiple of every block size.
	maxSealed = 1 << 20
)

// sectorsAround is a buffer for n bytes and the rest of the sectors that they are in. in is
// how many bytes precede them.
func sectorsAround(n int, off int64) (b []byte, in int64) {
	in = off % sectorSize
	return make([]byte, (in+int64(n)+sectorSize-1)/sectorSize*sectorSize), in
}

// readSealed reads p, which is for off and lies at host. Whole sectors are decrypted where
// they were read to.
func (im *Image) readSealed(p []byte, host, off int64) error {
	if off%sectorSize == 0 && len(p)%sectorSize == 0 {
		if err := blockdev.ReadPadded(im.c.File, p, host); err != nil {
			return err
		}
		im.c.Cipher.Decrypt(p, uint64(off/sectorSize))
		return nil
	}
	b, in := sectorsAround(len(p), off)
	if err := im.readSealed(b, host-in, off-in); err != nil {
		return err
	}
	copy(p, b[in:])
	return nil
}

// overwriteSealed writes p, which is for off and lies at host, in pieces.
func (im *Image) overwriteSealed(p []byte, host, off int64) error {
	for len(p) > 0 {
		n := min(int64(len(p)), maxSealed-off%sectorSize)
		if err := im.overwritePiece(p[:n], host, off); err != nil {
			return err
		}
		p, host, off = p[n:], host+n, off+n
	}
	return nil
}

// overwritePiece reads the sectors at the ends first where p does not fill them.
func (im *Image) overwritePiece(p []byte, host, off int64) error {
	if off%sectorSize == 0 && len(p)%sectorSize == 0 {
		im.partial.RLock()
		defer im.partial.RUnlock()
		buf := im.sealed.Get().(*[]byte)
		defer im.sealed.Put(buf)
		return im.seal((*buf)[:copy(*buf, p)], host, off)
	}
	im.partial.Lock()
	defer im.partial.Unlock()
	b, in := sectorsAround(len(p), off)
	host, off = host-in, off-in
	last := int64(len(b) - sectorSize)
	if err := im.readSealed(b[:sectorSize], host, off); err != nil {
		return err
	}
	if err := im.readSealed(b[last:], host+last, off+last); err != nil {
		return err
	}
	copy(b[in:], p)
	return im.seal(b, host, off)
}

// seal encrypts b, whole sectors for off, and writes it to host.
func (im *Image) seal(b []byte, host, off int64) error {
	im.c.Cipher.Encrypt(b, uint64(off/sectorSize))
	_, err := im.c.File.WriteAt(b, host)
	return err
}

// fillSealed writes new blocks: p, and around it what the blocks held before, zeroes too,
// as the file's own would be decrypted.
func (im *Image) fillSealed(r run, p []byte, off int64) error {
	bs := im.c.BlockSize
	buf := im.sealed.Get().(*[]byte)
	defer im.sealed.Put(buf)
	end, first := off+int64(len(p)), off/bs*bs
	for at := first; at < first+r.count*bs; {
		b := (*buf)[:min(maxSealed, first+r.count*bs-at)]
		next := at + int64(len(b))
		if at < off {
			if err := im.read(b[:off-at], at); err != nil {
				return err
			}
		}
		copy(b[max(0, off-at):], p[max(0, at-off):])
		if next > end {
			if err := im.read(b[end-at:], end); err != nil {
				return err
			}
		}
		if err := im.seal(b, r.host+at-first, at); err != nil {
			return err
		}
		at = next
	}
	return nil
}
