package qcow2

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// qemuIO runs qemu-io commands on an image.
func qemuIO(t testing.TB, image string, commands []string) {
	t.Helper()
	args := []string{"-f", "qcow2"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	peer.Run(t, "qemu-io", append(args, image)...)
}

// randomIO makes qemu-io commands for a disk of size bytes.
func randomIO(r *rand.Rand, size int64) []string {
	var out []string
	for range 12 {
		off := r.Int63n(size)
		n := r.Int63n(min(size-off, 300<<10)) + 1
		if r.Intn(2) == 0 {
			off &^= sectorSize - 1
			n = max(n&^(sectorSize-1), min(sectorSize, size-off))
		}
		switch r.Intn(6) {
		case 0:
			out = append(out, fmt.Sprintf("write -z %d %d", off, n))
		case 1:
			out = append(out, fmt.Sprintf("write -z -u %d %d", off, n))
		case 2:
			out = append(out, fmt.Sprintf("discard %d %d", off&^511, max(n&^511, 512)))
		default:
			out = append(out, fmt.Sprintf("write -P %d %d %d", r.Intn(256), off, n))
		}
	}
	return out
}

// asQEMUReads converts an image, or a snapshot in it, with qemu-img.
func asQEMUReads(t testing.TB, image string, options ...string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "out.raw")
	args := append([]string{"convert", "-f", "qcow2", "-O", "raw"}, options...)
	peer.Run(t, "qemu-img", append(args, image, raw)...)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loadFile(t testing.TB, name string) *blocktest.Memory {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return blocktest.NewMemory(b)
}

// sameAsQEMU compares the disk and all snapshots of an image with what qemu-img reads.
func sameAsQEMU(t *testing.T, image string, backing blockdev.Node) {
	t.Helper()
	im := open(t, loadFile(t, image), blockdev.Mode{})
	im.SetBacking(backing)
	compareWith(t, im, asQEMUReads(t, image))
	checkClean(t, im)
	snaps, err := im.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snaps {
		n, err := im.OpenSnapshot(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		compareWith(t, n, asQEMUReads(t, image, "-l", "snapshot.id="+s.ID))
	}
}

func TestRandomImagesOfQEMU(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io")
	for i, o := range []string{
		"compat=0.10,cluster_size=512", "compat=0.10,cluster_size=4k", "compat=0.10,cluster_size=2M",
		"cluster_size=512,refcount_bits=64", "refcount_bits=2", "cluster_size=2k,refcount_bits=4", "cluster_size=8k,refcount_bits=8",
		"cluster_size=16k,refcount_bits=32", "cluster_size=64k", "cluster_size=128k,lazy_refcounts=on", "cluster_size=1M,refcount_bits=64", "cluster_size=2M,refcount_bits=8",
		"cluster_size=32k,compression_type=zstd", "cluster_size=256k", "cluster_size=512k", "cluster_size=64k,preallocation=metadata",
		"extended_l2=on", "extended_l2=on,cluster_size=16k", "extended_l2=on,cluster_size=2M,compression_type=zstd", "extended_l2=on,cluster_size=32k",
	} {
		if i >= seeds(100) {
			break
		}
		t.Run(o, func(t *testing.T) {
			r := rand.New(rand.NewSource(int64(i)))
			dir := t.TempDir()
			image := filepath.Join(dir, "a.qcow2")
			size := 3<<20 + r.Int63n(1000)*sectorSize
			var backing blockdev.Node
			if i%2 == 1 && !strings.Contains(o, "preallocation") {
				base := filepath.Join(dir, "base.raw")
				b := pattern(i, int(size/2)&^511)
				if err := os.WriteFile(base, b, 0o600); err != nil {
					t.Fatal(err)
				}
				backing = blocktest.NewMemory(b)
				o += ",backing_file=base.raw,backing_fmt=raw"
			}
			peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", o, image, fmt.Sprint(size))
			for s := range 2 {
				qemuIO(t, image, randomIO(r, size))
				peer.Run(t, "qemu-img", "snapshot", "-c", fmt.Sprint("s", s), image)
			}
			qemuIO(t, image, randomIO(r, size))
			sameAsQEMU(t, image, backing)

			if strings.Contains(o, "bits=2") || strings.Contains(o, "bits=4") {
				return // too narrow for many compressed clusters in one
			}
			packed := filepath.Join(dir, "packed.qcow2")
			plain, _, _ := strings.Cut(o, ",backing")
			plain = strings.TrimSuffix(plain, ",preallocation=metadata")
			peer.Run(t, "qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-c", "-o", plain, image, packed)
			qemuIO(t, packed, randomIO(r, size)[:4])
			peer.Run(t, "qemu-img", "snapshot", "-c", "packed", packed)
			qemuIO(t, packed, randomIO(r, size)[:4])
			sameAsQEMU(t, packed, nil)
			continuedByUs(t, r, packed)
		})
	}
}

// continuedByUs lets us write to an image of QEMU's, compressed clusters and all, and
// QEMU check the result.
func continuedByUs(t *testing.T, r *rand.Rand, image string) {
	t.Helper()
	m := loadFile(t, image)
	im := open(t, m, writable)
	model := asQEMUReads(t, image)
	for i := range 10 {
		off := r.Intn(len(model))
		n := r.Intn(min(len(model)-off, 200<<10)) + 1
		p := pattern(i, n)
		if i%3 == 2 {
			clear(p)
			if err := im.WriteZeroes(int64(off), int64(n), blockdev.ZeroMayUnmap); err != nil {
				t.Fatal(err)
			}
		} else if _, err := im.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
		copy(model[off:], p)
	}
	if err := im.DeleteSnapshot("packed"); err != nil {
		t.Fatal(err)
	}
	compareWith(t, im, model)
	checkClean(t, im)
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	agreeWithQEMU(t, save(t, m), model)
}

// TestModelAgreesWithQEMU ends random histories with qemu-img's opinion.
func TestModelAgreesWithQEMU(t *testing.T) {
	peer.Need(t, "qemu-img")
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		if runs++; runs > 20 {
			return
		}
		m := drawMachine(rt)
		rt.Repeat(m.actions())
		must(rt, m.image.Close())
		dir, err := os.MkdirTemp(t.TempDir(), "")
		must(rt, err)
		image := filepath.Join(dir, "test.qcow2")
		must(rt, os.WriteFile(image, m.file.Bytes(), 0o600))
		if m.backing != nil {
			must(rt, os.WriteFile(filepath.Join(dir, "base.raw"), m.backing.Bytes(), 0o600))
		}
		if m.data != nil {
			must(rt, os.WriteFile(filepath.Join(dir, "test.data"), m.data.Bytes(), 0o600))
		}
		check := exec.Command("qemu-img", "check", "--object", cryptObject, "--image-opts", imageOpts(image))
		check.Dir = dir // the data file's name is relative to it
		if out, err := check.CombinedOutput(); err != nil {
			rt.Fatalf("%v\n%s", err, out)
		}
		qemuReads(rt, image, m.model.data)
		for id, d := range m.snapshots {
			qemuReads(rt, image, d.data, "-l", "snapshot.id="+id)
		}
	})
}

// qemuReads fails if qemu-img reads something else than want.
func qemuReads(t *rapid.T, image string, want []byte, options ...string) {
	raw := image + ".raw"
	args := append([]string{"convert", "--object", cryptObject, "--image-opts", "-O", "raw"}, options...)
	convert := exec.Command("qemu-img", append(args, imageOpts(image), raw)...)
	convert.Dir = filepath.Dir(image)
	if out, err := convert.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(raw)
	must(t, err)
	// Of a snapshot qemu-img takes the size of the present disk, what is shorter stays.
	n := min(len(got), len(want))
	if !bytes.Equal(got[:n], want[:n]) {
		t.Fatalf("qemu-img %q reads other contents", options)
	}
}

func TestQEMUListsOurSnapshots(t *testing.T) {
	peer.Need(t, "qemu-img")
	m := create(t, 1<<20, nil)
	im := open(t, m, writable)
	state := pattern(1, 300000)
	if _, err := im.WriteVMState(state, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(blockdev.Snapshot{Name: "vm", VMStateSize: int64(len(state)), VMClock: 3723004e6, ICount: blockdev.NoICount}); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	image := save(t, m)
	out := peer.Run(t, "qemu-img", "snapshot", "-l", image)
	last := strings.Fields(strings.Split(strings.TrimSpace(out), "\n")[2])
	if got := strings.Join(append(last[:4:4], last[6]), " "); got != "1 vm 293 KiB 01:02:03.004" {
		t.Errorf("listed as %q\n%s", got, out)
	}
	peer.Run(t, "qemu-img", "check", image)
}
