package vmstate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

// device is a section for tests; its check refuses 0xbad.
type device struct {
	Reg   uint32   `vmstate:"reg"`
	Queue []uint16 `vmstate:"queue"`
	DMA   *dma     `vmstate:"dev/dma,subsection=1"`
}

type dma struct {
	Addr uint64 `vmstate:"addr"`
}

func newDevice() any { return &device{Queue: make([]uint16, 2)} }

func checkDevice(state any, _ uint32) error {
	if state.(*device).Reg == 0xbad {
		return errors.New("register out of range")
	}
	return nil
}

// testContents is a small machine: two blocks, one of them not of whole pages, and two
// instances of a device.
func testContents() Contents {
	ram := make([]byte, 5*pageSize)
	ram[0], ram[3*pageSize+7] = 1, 2
	rom := bytes.Repeat([]byte{0xee}, pageSize+100)
	return Contents{
		Machine: "virt",
		RAM:     []Block{{Name: "ram0", Data: ram}, {Name: "rom0", Data: rom}},
		Sections: []Section{
			{"bus/dev", 0, 3, &device{Reg: 5, Queue: []uint16{1, 2}}},
			{"bus/dev", 1, 3, &device{Reg: 6, Queue: []uint16{3, 4}, DMA: &dma{7}}},
		},
	}
}

// testTarget is the machine of testContents with other contents.
func testTarget() Target {
	fill := func(n int) []byte { return bytes.Repeat([]byte{0x55}, n) }
	return Target{
		Machine: "virt",
		RAM:     []Block{{Name: "ram0", Data: fill(5 * pageSize)}, {Name: "rom0", Data: fill(pageSize + 100), Optional: true}},
		Sections: []Expected{
			{"bus/dev", 0, 3, 2, newDevice, checkDevice},
			{"bus/dev", 1, 3, 2, newDevice, checkDevice},
		},
	}
}

func mustWrite(t testing.TB, c Contents) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := Write(context.Background(), &b, c, nil)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("Write: %d of %d bytes, %v", n, b.Len(), err)
	}
	return b.Bytes()
}

func read(p []byte, target Target) (*Stream, error) {
	return Read(context.Background(), bytes.NewReader(p), int64(len(p)), "test", target)
}

func TestStreamComesBack(t *testing.T) {
	want := testContents()
	target := testTarget()
	var wrote uint64
	target.RAM[0].Wrote = func(off, n uint64) { wrote += n }
	s, err := read(mustWrite(t, want), target)
	if err != nil {
		t.Fatal(err)
	}
	if target.RAM[0].Data[0] != 0x55 || wrote != 0 {
		t.Error("Read changed RAM")
	}
	for i, l := range s.Sections {
		got, _ := json.Marshal(l.State)
		expect, _ := json.Marshal(want.Sections[i].State)
		if l.Index != i || l.Version != 3 || !bytes.Equal(got, expect) {
			t.Errorf("section %d: index %d, %s, want %s", i, l.Index, got, expect)
		}
	}
	if err := s.LoadRAM(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	for i, b := range target.RAM {
		if !bytes.Equal(b.Data, want.RAM[i].Data) {
			t.Errorf("block %s differs", b.Name)
		}
	}
	if wrote != 5*pageSize {
		t.Errorf("Wrote heard of %d bytes", wrote)
	}
}

// Zero pages are records of a few bytes, and large RAM comes in several parts.
func TestZeroPagesAndParts(t *testing.T) {
	ram := make([]byte, 2*partSize+pageSize)
	ram[len(ram)-1] = 1
	var calls []int64
	var b bytes.Buffer
	c := Contents{Machine: "virt", RAM: []Block{{Name: "ram0", Data: ram}}}
	if _, err := Write(context.Background(), &b, c, func(done, total int64) {
		calls = append(calls, done)
		if total != int64(len(ram)) {
			t.Errorf("total %d", total)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if max := len(ram)/pageSize*9 + pageSize + 500; b.Len() > max {
		t.Errorf("stream of %d bytes, at most %d expected", b.Len(), max)
	}
	if fmt.Sprint(calls) != fmt.Sprint([]int{partSize, 2 * partSize, 2*partSize + pageSize}) {
		t.Errorf("progress %v", calls)
	}
	back := bytes.Repeat([]byte{9}, len(ram))
	s, err := read(b.Bytes(), Target{Machine: "virt", RAM: []Block{{Name: "ram0", Data: back}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.LoadRAM(context.Background(), nil); err != nil || !bytes.Equal(back, ram) {
		t.Errorf("RAM differs, %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := Contents{Machine: "virt", RAM: []Block{{Name: "ram0", Data: make([]byte, 3*partSize)}}}
	stopAtFirst := func(int64, int64) { cancel() }
	if _, err := Write(ctx, io.Discard, c, stopAtFirst); !errors.Is(err, context.Canceled) {
		t.Errorf("Write: %v", err)
	}
	p := mustWrite(t, testContents())
	if _, err := Read(ctx, bytes.NewReader(p), int64(len(p)), "test", testTarget()); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
}

type failingReader struct{ err error }

func (r failingReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

func TestErrorOfTheImageIsKept(t *testing.T) {
	fault := errors.New("bad sector")
	if _, err := Read(context.Background(), failingReader{fault}, 100, "test", testTarget()); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
}

// TestDescriptionMatchesStream walks a stream by its description alone, as QEMU's
// scripts/analyze-migration.py does.
func TestDescriptionMatchesStream(t *testing.T) {
	p := mustWrite(t, testContents())
	if err := walk(p); err != nil {
		t.Error(err)
	}
}

// walk checks that every full section ends where the stream's description says.
func walk(p []byte) error {
	desc, err := source{bytes.NewReader(p), int64(len(p)), "test"}.description()
	if err != nil {
		return err
	}
	d := newBytesDecoder(p)
	d.Skip(8 + 1)
	d.Skip(int64(d.Uint32()))
	next := 0
	for {
		kind := d.Uint8()
		if kind == kindEOF {
			break
		}
		id := d.Uint32()
		if kind == kindStart || kind == kindFull {
			name, instance, version := d.name(), d.Uint32(), d.Uint32()
			if kind == kindFull {
				s := desc.Devices[next]
				if s.ID != name || s.Instance != instance || s.Version != version {
					return fmt.Errorf("section %s %d v%d is described as %s %d v%d",
						name, instance, version, s.ID, s.Instance, s.Version)
				}
				if err := walkStruct(d, s.StructDescription); err != nil {
					return fmt.Errorf("section %s: %w", name, err)
				}
				next++
			}
		}
		if kind != kindFull {
			skipRAM(d)
		}
		if foot := d.Uint8(); foot != kindFooter || d.Uint32() != id || d.Err() != nil {
			return fmt.Errorf("no footer at %d: %v", d.Offset(), d.Err())
		}
	}
	if next != len(desc.Devices) || d.Uint8() != kindDescription {
		return fmt.Errorf("%d sections, %d described", next, len(desc.Devices))
	}
	return nil
}

func walkStruct(d *Decoder, s StructDescription) error {
	for _, f := range s.Fields {
		for range max(f.ArrayLen, 1) {
			from := d.Offset()
			if f.Struct == nil {
				d.Skip(f.Size)
			} else if err := walkStruct(d, *f.Struct); err != nil {
				return err
			}
			if d.Offset()-from != f.Size {
				return fmt.Errorf("field %s takes %d bytes instead of %d", f.Name, d.Offset()-from, f.Size)
			}
		}
	}
	for _, sub := range s.Subsections {
		if kind := d.Uint8(); kind != kindSubsection {
			return fmt.Errorf("subsection %s expected", sub.Name)
		}
		if name := d.name(); name != sub.Name || d.Uint32() != sub.Version {
			return fmt.Errorf("subsection %s instead of %s", name, sub.Name)
		}
		if err := walkStruct(d, sub); err != nil {
			return err
		}
	}
	return d.Err()
}

func skipRAM(d *Decoder) {
	for d.Err() == nil {
		word := d.Uint64()
		addr, flags := word&^(pageSize-1), word&(pageSize-1)
		if flags&ramEnd != 0 {
			return
		}
		if flags&ramSizes != 0 {
			for addr > 0 && d.Err() == nil {
				d.name()
				addr -= d.Uint64()
			}
			continue
		}
		if flags&ramContinue == 0 {
			d.name()
		}
		if flags&ramFill != 0 {
			d.Skip(1)
		} else {
			d.Skip(pageSize)
		}
	}
}

// realStream is what QEMU 7.2 wrote: savevm of a virt machine with 8 MiB that has not run.
func realStream(t testing.TB) []byte {
	t.Helper()
	return peer.Gunzip(t, "testdata/qemu-7.2-virt-8m-prelaunch.vmstate.gz")
}

func TestWalkRealStream(t *testing.T) {
	if err := walk(realStream(t)); err != nil {
		t.Error(err)
	}
}

// A machine that has RAM and a few of the sections loads QEMU's stream, skipping what it
// is told to skip.
func TestReadRealStream(t *testing.T) {
	type mtimer struct {
		Timecmp []uint64 `vmstate:"timecmp"`
	}
	type globalState struct {
		Size uint32    `vmstate:"size"`
		Name [100]byte `vmstate:"runstate,buffer"`
	}
	target := Target{
		Machine: "virt",
		RAM:     []Block{{Name: "riscv_virt_board.ram", Data: make([]byte, 8<<20)}},
		Sections: []Expected{
			{"riscv_mtimer", 0, 1, 1, func() any { return &mtimer{[]uint64{1}} }, nil},
			{"globalstate", 0, 1, 1, func() any { return &globalState{} }, nil},
		},
		Skips: func(string) bool { return true },
	}
	s, err := read(realStream(t), target)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Sections[0].State.(*mtimer).Timecmp[0]; got != 0 { // never set
		t.Errorf("timecmp %#x", got)
	}
	if g := s.Sections[1].State.(*globalState); string(g.Name[:g.Size]) != "prelaunch\x00" {
		t.Errorf("run state %q", g.Name)
	}
	if err := s.LoadRAM(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	// The device tree that QEMU puts at the end of RAM begins with its magic number.
	if !bytes.Contains(target.RAM[0].Data, []byte{0xd0, 0x0d, 0xfe, 0xed}) {
		t.Error("no device tree in RAM")
	}
	target.Skips = func(name string) bool { return name != "fw_cfg" }
	if _, err := read(realStream(t), target); err == nil || !strings.Contains(err.Error(), "'fw_cfg' 0") {
		t.Errorf("with an unknown section: %v", err)
	}
}
