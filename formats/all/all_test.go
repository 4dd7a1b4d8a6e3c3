package all

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryFormatIsKnown looks at the folders beside this one.
func TestEveryFormatIsKnown(t *testing.T) {
	source, err := os.ReadFile("all.go")
	if err != nil {
		t.Fatal(err)
	}
	folders, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		files, err := filepath.Glob(filepath.Join("..", f.Name(), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			known := strings.Contains(string(source), `"github.com/qmon/qmon/formats/`+f.Name()+`"`)
			if strings.Contains(string(text), "blockdev.Register(") && !known && f.Name() != "all" {
				t.Errorf("formats/%s registers a driver, but is not imported here", f.Name())
			}
		}
	}
}
