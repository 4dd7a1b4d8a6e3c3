//go:build unix

package img

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// TestTerminal shows that a person at a terminal sees a bar, and the verdict on a line of
// its own.
func TestTerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(path, bytes.Repeat([]byte("data"), 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	seen := make(chan string)
	go func() {
		out, _ := io.ReadAll(master) // ends with an error where the other side is closed
		seen <- string(out)
	}()
	tool := &tool{ctx: t.Context(), prog: "qemu-img", stdout: terminal, stderr: terminal}
	status := tool.main([]string{"compare", "-p", path, path})
	terminal.Close()
	out := <-seen
	if status != statusOK || !strings.Contains(out, "compare") || strings.Contains(out, "/100%)") {
		t.Errorf("status %d, %q", status, out)
	}
	if !strings.HasSuffix(out, "\rImages are identical.\r\n") {
		t.Errorf("the verdict is not alone: %q", out[max(0, len(out)-100):])
	}
}
