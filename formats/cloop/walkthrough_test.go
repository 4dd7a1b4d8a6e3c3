package cloop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheWalkthroughQuotesThisPackage keeps docs/adding-a-format.md true.
func TestTheWalkthroughQuotesThisPackage(t *testing.T) {
	page, err := os.ReadFile("../../docs/adding-a-format.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, name := range append(files, "../all/all.go") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	pieces := strings.Split(string(page), "```go\n")[1:]
	for _, p := range pieces {
		code, _, _ := strings.Cut(p, "```")
		if !strings.Contains(source.String(), strings.TrimSuffix(code, "\n")) {
			t.Errorf("not in the package:\n%s", code)
		}
	}
	if len(pieces) == 0 {
		t.Error("nothing is quoted")
	}
}
