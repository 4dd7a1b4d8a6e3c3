package virtio

import (
	"io"
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

// TestMain keeps the log quiet, which the hostile tests would fill, and looks for
// goroutines that nobody has ended.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	goleak.VerifyTestMain(m)
}
