package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/blockdev"
)

// seekData finds the first data at or behind off: found is false if there is none, ok is
// false if the file system cannot tell.
func seekData(f *os.File, off int64) (at int64, found, ok bool) {
	at, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, false, true
	}
	return at, err == nil, err == nil
}

// seekHole finds the end of the data at off.
func seekHole(f *os.File, off int64) (at int64, ok bool) {
	at, err := unix.Seek(int(f.Fd()), off, unix.SEEK_HOLE)
	return at, err == nil
}

func punchHole(f *os.File, off, n int64) error {
	return fallocate(f, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func zeroRange(f *os.File, off, n int64) error {
	return fallocate(f, unix.FALLOC_FL_ZERO_RANGE, off, n)
}

// preallocate reserves storage for the range and makes the file that long.
func preallocate(f *os.File, off, n int64) error {
	if n == 0 {
		return nil
	}
	return fallocate(f, 0, off, n)
}

func fallocate(f *os.File, mode uint32, off, n int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), mode, off, n)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// isRefusal tells that the system will not do this, and if it never will to this file.
// EINVAL is what block devices say of ranges that do not fit their sectors.
func isRefusal(err error) (refused, forever bool) {
	forever = errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTTY)
	return forever || errors.Is(err, unix.EINVAL), forever
}

// copyRange copies with copy_file_range(2). ErrNotSupported if src ends within the range.
func copyRange(dst, src *os.File, from, off, n int64) error {
	for n > 0 {
		k, err := unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &off, int(min(n, maxCopyRange)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case k == 0:
			return blockdev.ErrNotSupported
		}
		n -= int64(k)
	}
	return nil
}

// maxCopyRange is less than what the system copies in one call at most.
const maxCopyRange = 1 << 30

// isCopyRefusal tells that the bytes have to be copied in another way: what
// copy_file_range(2) says of two file systems, of files that are none, and of old kernels.
func isCopyRefusal(err error) bool {
	for _, refusal := range []error{
		blockdev.ErrNotSupported, unix.EXDEV, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOSYS, unix.EPERM, unix.EISDIR, unix.ETXTBSY,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// dataSync flushes. EINVAL is what special files say that keep nothing (fdatasync(2)).
func dataSync(f *os.File) error {
	if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// directAlign suits every file system: what O_DIRECT asks of memory, offsets and lengths.
const directAlign = 4096

func directFlag(on bool) int {
	if on {
		return unix.O_DIRECT
	}
	return 0
}

// AllocatedSize is the storage that the file takes, in bytes.
func (n *Node) AllocatedSize() (int64, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var st unix.Stat_t
	if err := unix.Fstat(int(n.f.Fd()), &st); err != nil {
		return 0, n.ioError("stat", -1, err)
	}
	return st.Blocks * 512, nil // st_blocks counts 512 bytes whatever the file system's blocks are
}
