package vm

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLogWritesWhatIsEnabled(t *testing.T) {
	var l Log
	name := filepath.Join(t.TempDir(), "log")
	if err := l.SetFile(name); err != nil {
		t.Fatal(err)
	}
	if err := l.Enable([]string{"unimp"}); err != nil {
		t.Fatal(err)
	}
	l.Printf(LogUnimp, "seen %d", 1)
	l.Printf(LogInterrupts, "not seen")
	if err := l.Enable([]string{"int", "nonsense"}); err == nil {
		t.Error("an unknown item was accepted")
	}
	l.Printf(LogUnimp, "still seen")
	if err := l.SetFile(""); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := "seen 1\nstill seen\n"; string(got) != want {
		t.Errorf("the log holds %q, want %q", got, want)
	}
}
