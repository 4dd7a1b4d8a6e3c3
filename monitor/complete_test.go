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

// No line breaks the lookup of commands, their arguments, or completion.
func FuzzLines(f *testing.F) {
	for _, line := range []string{
		"info block -n -v x", "help info  mtree", "print/x 1+(2*$pc)", "change cd -f \"a b\" raw",
		"block_resize d 0x10G", "info ", "?", "log int,", "x /4xw -1",
	} {
		f.Add(line)
	}
	m := New(Config{Machine: vm.New(vm.Config{})})
	s := &Session{monitor: m}
	f.Fuzz(func(t *testing.T, line string) {
		n, words := s.complete(line)
		if n > len(line) {
			t.Errorf("%q: %d bytes to be replaced by %q", line, n, words)
		}
		c, _, rest, err := m.commands.lookup(line)
		if err != nil {
			return
		}
		in := scanner{rest: rest, env: s, name: c.fullName()}
		if _, err := in.parse(c.params); err == nil && in.rest != "" {
			t.Errorf("%q: %q is left over", line, in.rest)
		}
	})
}
