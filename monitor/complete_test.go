package monitor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/vm"
)

func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cd1.iso", "cd2.iso"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "cds"), 0o700); err != nil {
		t.Fatal(err)
	}
	at := filepath.ToSlash(dir) + "/"
	m := New(Config{Machine: vm.New(vm.Config{})})
	s := &Session{monitor: m}
	for _, c := range []struct {
		line string
		n    int
		want []string
	}{
		{"sav", 3, []string{"savevm"}},
		{"sys", 3, []string{"system_powerdown", "system_reset"}},
		{"info st", 2, []string{"stats", "status"}},
		{"info  block", 5, []string{"block", "block-jobs", "blockstats"}},
		{"help info na", 2, []string{"name"}},
		{"help sav", 3, []string{"savevm"}},
		{"help savevm ", 0, nil},
		{"info status ", 0, nil},
		{"nosuch x", 1, nil},
		{"info block -", 1, []string{"-n", "-v"}},
		{"info block -n -", 1, []string{"-v"}},
		{"log int,cpu", 7, []string{"int,cpu_reset"}},
		{"change cd " + at + "cd", len(at) + 2, []string{at + "cd1.iso", at + "cd2.iso", at + "cds/"}},
		{"change cd -f " + at + "cds", len(at) + 3, []string{at + "cds/"}},
		{"change cd x raw read-", 5, []string{"read-only", "read-write"}},
		{"memsave 0 16 " + at + "cd1", len(at) + 3, []string{at + "cd1.iso"}},
		{"commit ", 0, []string{"all"}},
	} {
		n, words := s.complete(c.line)
		if len(words) == 0 {
			words = nil
		}
		if n != c.n || !cmp.Equal(words, c.want) {
			t.Errorf("%q: %d %q, want %d %q", c.line, n, words, c.n, c.want)
		}
	}
}
