package blockdev

// CompressedPreparer is an optional companion of [CompressedWriter] for nodes whose writes
// cost time that needs no order: PrepareCompressed compresses p, of which the same is asked
// as by WriteCompressed, and write then stores the result. Prepared writes may run in any
// order; each is called at most once, while p is unchanged.
type CompressedPreparer interface {
	PrepareCompressed(p []byte, off int64) (write func() error, err error)
}

// prepareCompressed falls back to compressing when write is called.
func prepareCompressed(w CompressedWriter, p []byte, off int64) (write func() error, err error) {
	if pre, ok := w.(CompressedPreparer); ok {
		return pre.PrepareCompressed(p, off)
	}
	return func() error { return w.WriteCompressed(p, off) }, nil
}
