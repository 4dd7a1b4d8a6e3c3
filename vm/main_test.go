package vm

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain looks for machines that nobody has ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
