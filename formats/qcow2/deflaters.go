package qcow2

import (
	"errors"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// deflateWindow is the largest window that QEMU's readers of compressed clusters can use.
const deflateWindow = 4 << 10

// deflaters are reusable compressors and the buffers for what they make.
type deflaters struct {
	deflate sync.Pool // of *flate.Writer
	zstd    sync.Pool // of *zstd.Encoder
	buffers sync.Pool // of *[]byte
}

// compress compresses a cluster; nil if it does not get smaller. The result is to be
// recycled after use.
func (d *deflaters) compress(kind uint8, cluster []byte) (*[]byte, error) {
	buf, ok := d.buffers.Get().(*[]byte)
	if !ok || cap(*buf) < len(cluster) {
		b := make([]byte, 0, len(cluster))
		buf = &b
	}
	fits, err := false, error(nil)
	if kind == compressionZstd {
		fits, err = d.tryZstd(buf, cluster)
	} else {
		fits, err = d.tryDeflate(buf, cluster)
	}
	if err != nil || !fits {
		d.recycle(buf)
		return nil, err
	}
	return buf, nil
}

func (d *deflaters) recycle(buf *[]byte) { d.buffers.Put(buf) }

// boundedWriter appends to a buffer, and fails when what is written is too long.
type boundedWriter struct {
	buf *[]byte
	max int
}

var errTooLong = errors.New("does not fit")

func (w boundedWriter) Write(p []byte) (int, error) {
	if len(*w.buf)+len(p) > w.max {
		return 0, errTooLong
	}
	*w.buf = append(*w.buf, p...)
	return len(p), nil
}

func (d *deflaters) tryDeflate(buf *[]byte, cluster []byte) (fits bool, err error) {
	*buf = (*buf)[:0]
	out := boundedWriter{buf, len(cluster) - 1}
	w, ok := d.deflate.Get().(*flate.Writer)
	if ok {
		w.Reset(out)
	} else if w, err = flate.NewWriterWindow(out, deflateWindow); err != nil {
		return false, err
	}
	defer d.deflate.Put(w)
	if _, err = w.Write(cluster); err == nil {
		err = w.Close()
	}
	if errors.Is(err, errTooLong) {
		return false, nil
	}
	return err == nil, err
}

func (d *deflaters) tryZstd(buf *[]byte, cluster []byte) (fits bool, err error) {
	w, ok := d.zstd.Get().(*zstd.Encoder)
	if !ok {
		w, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithWindowSize(max(len(cluster), zstd.MinWindowSize)))
		if err != nil {
			return false, err
		}
	}
	defer d.zstd.Put(w)
	*buf = w.EncodeAll(cluster, (*buf)[:0])
	return len(*buf) < len(cluster), nil
}

// close lets go of the pools.
func (d *deflaters) close() {
	d.deflate, d.zstd, d.buffers = sync.Pool{}, sync.Pool{}, sync.Pool{}
}
