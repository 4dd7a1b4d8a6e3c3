package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

// compiler is the release that made guest.bin: others make other code.
const compiler = "12.2.0"

// maxSize keeps the program small enough to be read in an evening.
const maxSize = 32 << 10

func TestProgramIsSmall(t *testing.T) {
	if len(Program) == 0 || len(Program) > maxSize {
		t.Errorf("%d bytes", len(Program))
	}
}

// TestProgramIsBuiltFromItsSources builds it twice.
func TestProgramIsBuiltFromItsSources(t *testing.T) {
	peer.Need(t, "sh", "riscv64-linux-gnu-gcc", "riscv64-linux-gnu-objcopy")
	var builds [2][]byte
	for i := range builds {
		dir := t.TempDir()
		peer.Run(t, "sh", "./build.sh", dir)
		b, err := os.ReadFile(filepath.Join(dir, "guest.bin"))
		if err != nil {
			t.Fatal(err)
		}
		builds[i] = b
	}
	if !bytes.Equal(builds[0], builds[1]) {
		t.Error("two builds differ")
	}
	version := strings.TrimSpace(peer.Run(t, "riscv64-linux-gnu-gcc", "-dumpfullversion"))
	if version == compiler && !bytes.Equal(builds[0], Program) {
		t.Error("guest.bin is not what its sources make: run build.sh")
	}
}
