package img

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBenchWritesWhereItSays(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Bench(t.Context(), BenchOptions{
		Image: Source{Filename: name, Format: "raw"}, Write: true, Pattern: 7,
		Count: 8, Depth: 3, Size: 512, Step: 4096, Offset: 4096, FlushInterval: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		request, within := i/4096, i%4096
		if want := request >= 1 && request <= 8 && within < 512; (b == 7) != want {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
}
