package blocktest

import "testing"

// Sequential marks a long test in which nothing is concurrent: it is left out of short runs,
// of which that with the race detector is one.
func Sequential(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("nothing is concurrent in it")
	}
}
