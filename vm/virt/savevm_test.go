package virt

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm"
)

// newQcow2 creates an empty image.
func newQcow2(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	g := &blockdev.Graph{}
	if err := g.Create(t.Context(), "qcow2", path, 16<<20, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestGuestComesBack is what a newcomer tries: save, wreck memory and disk, load; then the
// same in a new machine. The counter, which runs on the timer, goes on where it was.
func TestGuestComesBack(t *testing.T) {
	for name, config := range map[string]Config{
		"legacy": {},
		"modern": {Modern: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := newQcow2(t)
			t.Run("save", func(t *testing.T) {
				b, c := startOnImage(t, config, image)
				c.command(t, "poke 0x80100000 0x600d", guestPrompt)
				c.command(t, "text 0 9 before", guestPrompt)
				c.input("count\r")
				c.expect(t, "count 1")
				if _, err := savevm.Save(t.Context(), b.Machine(), "a"); err != nil {
					t.Fatal(err)
				}
				c.input("x")
				c.expect(t, guestPrompt)
				c.command(t, "poke 0x80100000 0xbad", guestPrompt)
				c.command(t, "text 0 9 after", guestPrompt)
				if err := savevm.Load(t.Context(), b.Machine(), "a"); err != nil {
					t.Fatal(err)
				}
				checkComeBack(t, c)
			})
			t.Run("load", func(t *testing.T) {
				b, c := startOnImage(t, config, image)
				if err := savevm.Load(t.Context(), b.Machine(), "a"); err != nil {
					t.Fatal(err)
				}
				checkComeBack(t, c)
			})
		})
	}
}

func startOnImage(t *testing.T, config Config, image string) (*Board, *console) {
	t.Helper()
	drive := openDrive(t, image, "qcow2")
	config.RAM = 16 << 20
	config.Boot = guestBoot
	config.Disks = []Disk{{Drive: drive}}
	b, c := start(t, config)
	if err := b.Machine().Drives().Add(drive); err != nil {
		t.Fatal(err)
	}
	c.expect(t, guestPrompt)
	return b, c
}

// checkComeBack looks at a guest that was saved while it counted.
func checkComeBack(t *testing.T, c *console) {
	t.Helper()
	c.expect(t, "count 2")
	c.input("x")
	c.expect(t, guestPrompt)
	if got := c.command(t, "peek 0x80100000 8", guestPrompt); !strings.Contains(got, ": 0d 60 00") {
		t.Errorf("memory: %s", got)
	}
	if got := c.command(t, "show 0 9", guestPrompt); !strings.Contains(got, "before.") {
		t.Errorf("disk: %s", got)
	}
}
