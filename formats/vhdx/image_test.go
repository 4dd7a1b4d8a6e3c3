package vhdx

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

var writable = blockdev.Mode{Writable: true, Unmap: true}

func createIn(t testing.TB, file blockdev.Node, size int64, options blockdev.Options) {
	t.Helper()
	v, err := createOptionTable.Parse(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(context.Background(), blockdev.CreateRequest{Filename: "test.vhdx", Size: size, File: file, Options: v}); err != nil {
		t.Fatal(err)
	}
}

func tryOpen(file blockdev.Node, mode blockdev.Mode) (*Image, error) {
	return openImage(blockdev.OpenRequest{Filename: "test.vhdx", File: file, Mode: mode})
}

func open(t testing.TB, file blockdev.Node, mode blockdev.Mode) *Image {
	t.Helper()
	im, err := tryOpen(file, mode)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func write(t testing.TB, n blockdev.Node, off int64, p []byte) {
	t.Helper()
	if _, err := n.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

func closeImage(t testing.TB, im *Image) {
	t.Helper()
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, n blockdev.Node) []byte {
	t.Helper()
	b := make([]byte, n.Size())
	if _, err := n.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func checkClean(t testing.TB, im *Image) {
	t.Helper()
	res, err := im.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) { t.Error(f.Text) }})
	if err != nil || res.Corruptions > 0 {
		t.Fatalf("check: %+v, %v", res, err)
	}
}

func pattern(seed, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewSource(int64(seed)))
	r.Read(b)
	return b
}

func save(t testing.TB, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "test.vhdx")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// golden are images that QEMU made: testdata/vhdx/make.sh says how.
const golden = "../../testdata/vhdx"

func loadGolden(t testing.TB, name string) *blocktest.Memory {
	t.Helper()
	return blocktest.NewMemory(peer.Gunzip(t, filepath.Join(golden, name+".gz")))
}

func TestImagesMadeByQEMUReadTheSame(t *testing.T) {
	list, err := os.ReadFile(filepath.Join(golden, "contents.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		w := strings.Fields(line)
		t.Run(w[1], func(t *testing.T) {
			im := open(t, loadGolden(t, w[1]), writable)
			sum := sha256.Sum256(contents(t, im))
			if got := hex.EncodeToString(sum[:]); got != w[0] {
				t.Errorf("checksum %s, want %s", got, w[0])
			}
			checkClean(t, im)
		})
	}
}

func TestALogIsReplayedOnlyToWrite(t *testing.T) {
	file := loadGolden(t, "dirty-log.vhdx")
	before := file.Bytes()
	_, err := tryOpen(file, blockdev.Mode{})
	if !errors.Is(err, blockdev.ErrReadOnly) || !strings.Contains(blockdev.Message(err), "opened read-only, but contains a log that needs to be replayed") {
		t.Fatal(err)
	}
	if !bytes.Equal(before, file.Bytes()) {
		t.Error("an image that was not opened changed")
	}
	im := open(t, file, writable)
	res, err := im.Check(context.Background(), blockdev.CheckOptions{RepairErrors: true})
	if err != nil || res.CorruptionsFixed != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	closeImage(t, im)
	checkClean(t, open(t, file, blockdev.Mode{}))
}

// TestOnlyTheFirstWriteChangesTheIdentifiers: section 2.2.2 wants a new identifier, once
// the file is changed, and other programs know a file by it.
func TestOnlyTheFirstWriteChangesTheIdentifiers(t *testing.T) {
	file := &blocktest.Memory{}
	createIn(t, file, 4*mib, nil)
	im := open(t, file, writable)
	before := *im.headers.current
	if err := im.WriteZeroes(0, mib, 0); err != nil {
		t.Fatal(err)
	}
	if *im.headers.current != before {
		t.Error("zeroes over nothing changed the header")
	}
	write(t, im, 0, []byte{1})
	first := *im.headers.current
	if first.fileWrite == before.fileWrite || first.dataWrite == before.dataWrite {
		t.Error("the identifiers are the old ones")
	}
	write(t, im, 2*mib, []byte{1})
	closeImage(t, im)
	last := open(t, file, blockdev.Mode{}).headers.current
	if last.fileWrite != first.fileWrite || !last.log.isZero() {
		t.Errorf("%+v", last)
	}
}

func TestOptionsOfCreate(t *testing.T) {
	for _, c := range []struct {
		size    int64
		options blockdev.Options
		text    string
		block   int64
	}{
		{size: 1 << 30, block: 8 * mib},
		{size: 1<<30 + 512, block: 16 * mib},
		{size: 100<<30 + 512, block: 32 * mib},
		{size: 64 * tib, block: 64 * mib},
		{size: 1, options: blockdev.Options{"block_size": "512k"}, block: mib},
		{size: 1, options: blockdev.Options{"block_size": "512M"}, block: 256 * mib},
		{size: 0, block: 8 * mib},
		{size: 64*tib + 1, text: "Image size too large; max of 64TB"},
		{size: 1, options: blockdev.Options{"block_size": "3M"}, text: "Block size must be a power of two"},
		{size: 1, options: blockdev.Options{"log_size": "4G"}, text: "Log size must be smaller than 4 GB"},
		{size: 1, options: blockdev.Options{"subformat": "x"}, text: "Parameter 'subformat' does not accept value 'x'"},
	} {
		v, err := createOptionTable.Parse(c.options)
		if err != nil {
			t.Fatal(err)
		}
		file := &blocktest.Memory{}
		err = Create(context.Background(), blockdev.CreateRequest{Filename: "test.vhdx", Size: c.size, File: file, Options: v})
		if c.text != "" || err != nil {
			if blockdev.Message(err) != c.text {
				t.Errorf("%d %v: %v, want %q", c.size, c.options, err, c.text)
			}
			continue
		}
		im := open(t, file, blockdev.Mode{})
		if im.meta.blockSize != c.block || im.Size() != (c.size+511)/512*512 {
			t.Errorf("%d %v: %+v", c.size, c.options, im.meta)
		}
	}
}

// TestManyPagesOfTheTable: more change than one entry of the log can hold.
func TestManyPagesOfTheTable(t *testing.T) {
	file := &blocktest.Memory{}
	createIn(t, file, 1*tib, blockdev.Options{"block_size": "1M", "block_state_zero": "off"})
	im := open(t, file, writable)
	for i := range int64(300) {
		write(t, im, i*entriesPerPage*mib, []byte{byte(i), 1})
	}
	closeImage(t, im)
	im = open(t, file, blockdev.Mode{})
	checkClean(t, im)
	for i := range int64(300) {
		p := make([]byte, 2)
		if _, err := im.ReadAt(p, i*entriesPerPage*mib); err != nil || p[0] != byte(i) || p[1] != 1 {
			t.Fatalf("block of page %d: %v, %v", i, p, err)
		}
	}
}
