package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// openWithData opens an image with an external data file in memory.
func openWithData(t testing.TB, file, data blockdev.Node) *Image {
	t.Helper()
	im, err := Open(context.Background(), blockdev.OpenRequest{
		Filename: "test.qcow2", File: file, Mode: writable, OpenReference: companion{data}.open,
	})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestDataFilesBothWays: what QEMU wrote is read and gone on with here, and read there.
func TestDataFilesBothWays(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io")
	for i, o := range []string{"", ",data_file_raw=on", ",extended_l2=on", ",extended_l2=on,data_file_raw=on", ",cluster_size=512", ",preallocation=metadata", ",preallocation=full,data_file_raw=on"} {
		t.Run(strings.ReplaceAll(o, ",", " "), func(t *testing.T) { // the name of its directory gets into options
			dir := t.TempDir()
			image, data := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "a.data")
			r := rand.New(rand.NewSource(int64(i)))
			size := 2<<20 + r.Int63n(1000)*sectorSize
			peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+data+o, image, fmt.Sprint(size))
			// QEMU leaves in a raw file what was discarded from the disk.
			qemuIO(t, image, slices.DeleteFunc(randomIO(r, size), func(c string) bool { return strings.HasPrefix(c, "discard") }))
			model := asQEMUReads(t, image)
			file, contents := loadFile(t, image), loadFile(t, data)
			length := contents.Size() // QEMU may have written past the end of the disk
			im := openWithData(t, file, contents)
			compareWith(t, im, model)
			checkClean(t, im)
			for k := range 12 {
				off := r.Intn(len(model))
				p := pattern(k, r.Intn(min(len(model)-off, 200<<10))+1)
				var err error
				if k%3 == 2 {
					clear(p)
					err = im.WriteZeroes(int64(off), int64(len(p)), blockdev.ZeroFlags(k&1))
				} else {
					_, err = im.WriteAt(p, int64(off))
				}
				if err != nil {
					t.Fatal(err)
				}
				copy(model[off:], p)
			}
			compareWith(t, im, model)
			checkClean(t, im)
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			for name, m := range map[string]*blocktest.Memory{image: file, data: contents} {
				if err := os.WriteFile(name, m.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			peer.Run(t, "qemu-img", "check", image)
			if string(asQEMUReads(t, image)) != string(model) {
				t.Error("QEMU reads other contents")
			}
			if im.raw() && (!bytes.HasPrefix(contents.Bytes(), model) || contents.Size() != length) {
				t.Error("the data file is not the disk")
			}
		})
	}
}

func TestDataFilesHaveNoSnapshots(t *testing.T) {
	file, data := &blocktest.Memory{}, &blocktest.Memory{}
	v, err := createOptionTable.Parse(blockdev.Options{"data_file": "test.data"})
	if err != nil {
		t.Fatal(err)
	}
	err = Create(context.Background(), blockdev.CreateRequest{Filename: "test.qcow2", Size: 1 << 20, File: file, Options: v, CreateFile: companion{data}.create})
	if err != nil {
		t.Fatal(err)
	}
	im := openWithData(t, file, data)
	_, snapshot := im.CreateSnapshot(blockdev.Snapshot{Name: "x"})
	_, state := im.WriteVMState([]byte{1}, 0)
	for what, err := range map[string]error{
		"snapshot": snapshot, "VM state": state, "compressed write": im.WriteCompressed(make([]byte, 1<<16), 0),
	} {
		if !errors.Is(err, blockdev.ErrNotSupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestDataFilesGoThroughTheGate: without one nothing is opened, and none is needed to look
// at the header.
func TestDataFilesGoThroughTheGate(t *testing.T) {
	file := create(t, 1<<20, nil)
	im := open(t, file, writable)
	h := *im.hdr
	h.incompatible |= incompatDataFile
	h.setExtension(extDataFile, []byte("/etc/passwd"))
	if err := im.rewriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	r := blockdev.OpenRequest{Filename: "test.qcow2", File: file}
	if _, err := Open(context.Background(), r); !errors.Is(err, blockdev.ErrDenied) {
		t.Errorf("%v", err)
	}
	r.Mode.NoIO = true
	if _, err := Open(context.Background(), r); err != nil {
		t.Error(err)
	}
}

// TestADataFileThatCannotBeFlushed: tables are not said to have failed at close.
func TestADataFileThatCannotBeFlushed(t *testing.T) {
	m, data := &blocktest.Memory{}, blocktest.NewFaulty(&blocktest.Memory{})
	v, err := createOptionTable.Parse(blockdev.Options{"data_file": "test.data"})
	if err != nil {
		t.Fatal(err)
	}
	err = Create(context.Background(), blockdev.CreateRequest{
		Filename: "test.qcow2", Size: 1 << 20, File: m, Options: v, CreateFile: companion{data}.create,
	})
	if err != nil {
		t.Fatal(err)
	}
	im := openWithData(t, m, data)
	if _, err := im.WriteAt(pattern(1, 512), 0); err != nil {
		t.Fatal(err)
	}
	data.Inject(blocktest.Fault{Op: blocktest.OpFlush})
	if err := im.Close(); err == nil || strings.Contains(err.Error(), "cache") {
		t.Errorf("closing says %v", err)
	}
}
