package img

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// TestConversionTakesWhatMeasureSays: no file becomes longer, and one that is fully
// allocated exactly as long.
func TestConversionTakesWhatMeasureSays(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	for _, options := range []blockdev.Options{
		nil, {"cluster_size": "512"}, {"cluster_size": "2M"}, {"refcount_bits": "64", "cluster_size": "4k"},
		{"compat": "0.10"}, {"preallocation": "falloc"}, {"preallocation": "falloc", "cluster_size": "1k"},
	} {
		size := (1 + r.Int64N(30000)) * 512
		source := Source{Filename: filepath.Join(dir, fmt.Sprint(options)), Format: "raw"}
		create(t, CreateOptions{Filename: source.Filename, Size: &size})
		writeRandomly(t, r, source.Filename, size)
		m, err := Measure(t.Context(), MeasureOptions{Session: follow, Format: "qcow2", Options: options, Image: &source})
		if err != nil {
			t.Fatal(err)
		}
		target := Source{Filename: source.Filename + ".qcow2", Format: "qcow2"}
		convert(t, ConvertOptions{Sources: []Source{source}, Target: target, Create: options})
		st, err := os.Stat(target.Filename)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > m.Required || options["preallocation"] != "" && st.Size() != m.FullyAllocated {
			t.Errorf("%v, %d bytes: the file has %d, measured was %+v", options, size, st.Size(), m)
		}
	}
}

func writeRandomly(t *testing.T, r *rand.Rand, name string, size int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 10 {
		p := make([]byte, 1+r.Int64N(min(size, 300<<10)))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		if _, err := f.WriteAt(p, r.Int64N(size-int64(len(p))+1)); err != nil {
			t.Fatal(err)
		}
	}
}
