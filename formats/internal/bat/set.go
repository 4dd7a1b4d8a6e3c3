package bat

// Set is a set of the numbers below n, a bit for each.
type Set []uint64

// NewSet makes an empty one.
func NewSet(n int64) Set { return make(Set, (n+63)/64) }

// Has tells if i is in the set.
func (s Set) Has(i int64) bool { return s[i/64]>>(i%64)&1 != 0 }

// Add puts i in and tells if it was new.
func (s Set) Add(i int64) bool {
	old := s.Has(i)
	s[i/64] |= 1 << (i % 64)
	return !old
}
