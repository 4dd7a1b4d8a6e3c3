package qcow2

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
)

// bitmapModel is a bitmap as a slice of granules.
type bitmapModel struct {
	name        string
	granularity int64
	enabled     bool
	dirty       []bool
}

func (b *bitmapModel) set(off, n int64) {
	for g := off / b.granularity; g*b.granularity < off+n; g++ {
		b.dirty[g] = true
	}
}

func (b *bitmapModel) resize(size int64) {
	dirty := make([]bool, (size+b.granularity-1)/b.granularity)
	copy(dirty, b.dirty)
	b.dirty = dirty
}

// bitmapMachine is an image that qemu-img and we change in turn, and its model.
type bitmapMachine struct {
	t       *testing.T
	r       *rand.Rand
	image   string
	size    int64
	cluster int64
	bitmaps []*bitmapModel
	made    int
	log     []string
}

// TestBitmapsWithQEMU makes random changes, by us and by QEMU in turn, and has both read
// the result.
func TestBitmapsWithQEMU(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io", "qemu-nbd", "nbdinfo")
	for seed := range seeds(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &bitmapMachine{t: t, r: rand.New(rand.NewSource(int64(seed))), image: filepath.Join(t.TempDir(), "a.qcow2")}
			m.cluster = 512 << m.r.Intn(8)
			m.size = (1 + m.r.Int63n(300)) << 16
			peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", fmt.Sprintf("cluster_size=%d", m.cluster), m.image, fmt.Sprint(m.size))
			for range 30 {
				m.step()
			}
			m.compareWithNBD()
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(strings.Join(m.log, "\n"))
				}
			})
		})
	}
}

// change makes a change with one of the two: with QEMU by a command line, or by f.
func (m *bitmapMachine) change(qemu []string, f func(im *Image) error) {
	m.t.Helper()
	if m.r.Intn(2) == 0 {
		m.log = append(m.log, strings.Join(qemu, " "))
		peer.Run(m.t, qemu[0], qemu[1:]...)
		return
	}
	m.log = append(m.log, "we: "+strings.Join(qemu, " "))
	file := loadFile(m.t, m.image)
	im := open(m.t, file, blockdev.Mode{Writable: true, Unmap: true})
	if err := f(im); err != nil {
		m.t.Fatalf("%v\n%s", err, strings.Join(m.log, "\n"))
	}
	if err := im.Close(); err != nil {
		m.t.Fatalf("%v\n%s", err, strings.Join(m.log, "\n"))
	}
	if err := os.WriteFile(m.image, file.Bytes(), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *bitmapMachine) step() {
	if len(m.bitmaps) == 0 {
		m.add()
	}
	steps := []func(b *bitmapModel){
		func(*bitmapModel) { m.add() }, m.remove, m.clear, m.enable, m.merge,
		func(*bitmapModel) { m.resize() }, func(*bitmapModel) { m.snapshot() },
		func(*bitmapModel) { m.write() }, func(*bitmapModel) { m.write() }, func(*bitmapModel) { m.write() },
	}
	steps[m.r.Intn(len(steps))](m.bitmaps[m.r.Intn(len(m.bitmaps))])
	m.compare()
}

func (m *bitmapMachine) tool(b *bitmapModel, options ...string) []string {
	return append(append([]string{"qemu-img", "bitmap"}, options...), m.image, b.name)
}

func (m *bitmapMachine) add() {
	m.made++
	b := &bitmapModel{name: fmt.Sprintf("bitmap %d%s", m.made, strings.Repeat("x", m.r.Intn(20))),
		granularity: 512 << m.r.Intn(12), enabled: m.r.Intn(2) == 0}
	options := []string{"--add", "-g", fmt.Sprint(b.granularity)}
	if !b.enabled {
		options = append(options, "--disable")
	}
	b.resize(m.size)
	m.change(m.tool(b, options...), func(im *Image) error {
		return im.AddBitmap(blockdev.BitmapInfo{Name: b.name, Granularity: b.granularity, Enabled: b.enabled})
	})
	m.bitmaps = append(m.bitmaps, b)
}

func (m *bitmapMachine) remove(b *bitmapModel) {
	m.change(m.tool(b, "--remove"), func(im *Image) error { return im.RemoveBitmap(b.name) })
	m.bitmaps = slices.DeleteFunc(m.bitmaps, func(o *bitmapModel) bool { return o == b })
}

func (m *bitmapMachine) clear(b *bitmapModel) {
	m.change(m.tool(b, "--clear"), func(im *Image) error { return im.ClearBitmap(b.name) })
	clear(b.dirty)
}

func (m *bitmapMachine) enable(b *bitmapModel) {
	b.enabled = !b.enabled
	option := map[bool]string{true: "--enable", false: "--disable"}[b.enabled]
	m.change(m.tool(b, option), func(im *Image) error { return im.EnableBitmap(b.name, b.enabled) })
}

func (m *bitmapMachine) merge(b *bitmapModel) {
	from := m.bitmaps[m.r.Intn(len(m.bitmaps))]
	m.change(m.tool(b, "--merge", from.name), func(im *Image) error {
		d, err := im.DirtyBitmap(from.name)
		if err != nil {
			return err
		}
		return im.MergeBitmap(b.name, d)
	})
	if from == b {
		return
	}
	for g, dirty := range from.dirty {
		if off := int64(g) * from.granularity; dirty {
			b.set(off, min(from.granularity, m.size-off))
		}
	}
}

func (m *bitmapMachine) resize() {
	m.size = (1 + m.r.Int63n(300)) << 16
	m.change([]string{"qemu-img", "resize", "-q", "--shrink", m.image, fmt.Sprint(m.size)}, func(im *Image) error {
		return im.Resize(m.size, blockdev.ResizeOptions{Shrink: true})
	})
	for _, b := range m.bitmaps {
		b.resize(m.size)
	}
}

func (m *bitmapMachine) snapshot() {
	m.change([]string{"qemu-img", "snapshot", "-c", "s", m.image}, func(im *Image) error {
		_, err := im.CreateSnapshot(blockdev.Snapshot{Name: "s"})
		return err
	})
}

// write changes guest data in one of the ways there are.
func (m *bitmapMachine) write() {
	off := m.r.Int63n(m.size/m.cluster) * m.cluster
	n := (1 + m.r.Int63n((m.size-off)/m.cluster)) * m.cluster
	verb := []string{"write", "write -z", "discard"}[m.r.Intn(3)]
	m.change([]string{"qemu-io", "-d", "unmap", "-f", "qcow2", "-c", fmt.Sprintf("%s %d %d", verb, off, n), m.image}, func(im *Image) error {
		switch verb {
		case "write":
			_, err := im.WriteAt(pattern(1, int(n)), off)
			return err
		case "discard":
			return im.Discard(off, n)
		}
		return im.WriteZeroes(off, n, 0)
	})
	for _, b := range m.bitmaps {
		if b.enabled {
			b.set(off, n)
		}
	}
}

// compare reads the image as we do, and has both check it.
func (m *bitmapMachine) compare() {
	m.t.Helper()
	peer.Run(m.t, "qemu-img", "check", "-q", m.image)
	im := open(m.t, loadFile(m.t, m.image), blockdev.Mode{})
	checkClean(m.t, im)
	list, err := im.Bitmaps()
	if err != nil || len(list) != len(m.bitmaps) {
		m.t.Fatalf("%+v, %v", list, err)
	}
	for _, b := range m.bitmaps {
		d, err := im.DirtyBitmap(b.name)
		if err != nil {
			m.t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(i blockdev.BitmapInfo) bool { return i.Name == b.name })
		if want := (blockdev.BitmapInfo{Name: b.name, Granularity: b.granularity, Enabled: b.enabled}); list[i] != want {
			m.t.Errorf("%+v, want %+v", list[i], want)
		}
		var got []bool
		for off := int64(0); off < m.size; {
			dirty, n := d.Status(off, m.size-off)
			got = append(got, slices.Repeat([]bool{dirty}, int((n+b.granularity-1)/b.granularity))...)
			off += n
		}
		if !slices.Equal(got, b.dirty) {
			m.t.Fatalf("bitmap '%s' differs from the model", b.name)
		}
	}
}

// compareWithNBD has qemu-nbd export every bitmap.
func (m *bitmapMachine) compareWithNBD() {
	for _, b := range m.bitmaps {
		out := peer.Run(m.t, "nbdinfo", "--json", "--map=qemu:dirty-bitmap:"+b.name, "--",
			"[", "qemu-nbd", "-r", "-f", "qcow2", "-B", b.name, m.image, "]")
		var runs []struct{ Offset, Length, Type int64 }
		if err := json.Unmarshal([]byte(out), &runs); err != nil {
			m.t.Fatal(err)
		}
		for _, r := range runs {
			for off := r.Offset; off < r.Offset+r.Length; off += 512 {
				if g := off / b.granularity; b.dirty[g] != (r.Type == 1) {
					m.t.Fatalf("bitmap '%s', granule %d: %d", b.name, g, r.Type)
				}
			}
		}
	}
}
