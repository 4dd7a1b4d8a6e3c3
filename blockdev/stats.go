package blockdev

import "time"

// Stats are the counters of a drive.
type Stats struct {
	ReadBytes, WriteBytes          int64
	ReadOps, WriteOps, FlushOps    int64
	DiscardBytes, DiscardOps       int64
	FailedReads, FailedWrites      int64
	ReadTime, WriteTime, FlushTime time.Duration
	LastAccess                     time.Time // zero if never
	WriteHighest                   int64     // end of the highest byte written
}

// Stats returns the counters.
func (d *Drive) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// requestKind sorts requests for the counters.
type requestKind uint8

const (
	requestRead requestKind = iota
	requestWrite
	requestFlush
	requestDiscard
)

// count adds a request that took from start to now. Bytes count only where it succeeded.
func (s *Stats) count(kind requestKind, off, n int64, start time.Time, err error) {
	now := time.Now()
	s.LastAccess = now
	took := now.Sub(start)
	switch kind {
	case requestRead:
		s.ReadTime += took
		if err != nil {
			s.FailedReads++
			return
		}
		s.ReadOps++
		s.ReadBytes += n
	case requestWrite:
		s.WriteTime += took
		if err != nil {
			s.FailedWrites++
			return
		}
		s.WriteOps++
		s.WriteBytes += n
		s.WriteHighest = max(s.WriteHighest, off+n)
	case requestFlush:
		s.FlushTime += took
		s.FlushOps++
	case requestDiscard:
		s.DiscardOps++
		s.DiscardBytes += n
	}
}
