package scsi_test

import (
	"bytes"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
	"github.com/qmon/qmon/vm/scsi"
)

// bench is a unit over a drive in memory, without a host.
type bench struct {
	machine *vm.Machine
	drive   *blockdev.Drive
	unit    *scsi.Unit
	disk    *blocktest.Memory
}

func newBench(t testing.TB, kind scsi.Kind, size int) *bench {
	t.Helper()
	b := &bench{machine: vm.New(vm.Config{}), disk: blocktest.NewMemory(bytes.Repeat([]byte{0x5a}, size))}
	g := &blockdev.Graph{}
	v, err := g.Add(b.disk, "", blockdev.Mode{Writable: kind != scsi.CDROM, Unmap: true})
	if err != nil {
		t.Fatal(err)
	}
	b.drive = blockdev.NewDrive(blockdev.DriveConfig{Name: "d", ReadOnly: kind == scsi.CDROM})
	if err := b.drive.Insert(v); err != nil {
		t.Fatal(err)
	}
	b.unit, err = scsi.New(scsi.Config{Machine: b.machine, Drive: b.drive, Kind: kind, Path: "/d", Host: "host"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// do carries a command out.
func (b *bench) do(task *scsi.Task) {
	if !b.unit.Start(task) {
		task.Run()
		b.unit.Finish(task)
	}
}

// FuzzCommands has a unit carry out what bytes make of commands: nothing panics, no more is
// transferred than there is room for, and what cannot be written stays as it is.
func FuzzCommands(f *testing.F) {
	for _, cdb := range []string{
		"28000000000100000800", "2a000000000100000800", "880000000000000000010000000800000000",
		"1a003f00ff00", "151000001800", "42000000000000001800", "93080000000000000000000000080000",
		"43020000000000032400", "46000000000000ffff00", "4a010000100000000800", "1b0000000200", "12018300ff00",
		"2f020000000000000100", "ad0000000000000008040000", "a80000ffffffffffffff0000", "9e10ffffffffffffffff000000200000",
	} {
		for kind := range byte(3) {
			f.Add(kind, unhex(f, cdb), []byte("some data"), uint16(512))
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, script, out []byte, in uint16) {
		const commandSize = 16
		b := newBench(t, scsi.Kind(kind%3), 64<<10)
		for n := 0; len(script) > 0 && n < 64; n++ {
			cdb := make([]byte, commandSize)
			script = script[copy(cdb, script):]
			task := &scsi.Task{CDB: cdb, Out: [][]byte{out, out}, In: [][]byte{make([]byte, in), make([]byte, in/2)}}
			b.do(task)
			room := int64(in) + int64(in/2)
			switch {
			case task.Written < 0 || task.Written > room:
				t.Fatalf("%x: %d bytes written into %d", cdb, task.Written, room)
			case task.Taken < 0 || task.Taken > 2*int64(len(out)):
				t.Fatalf("%x: %d bytes taken of %d", cdb, task.Taken, 2*len(out))
			case task.Err != nil:
				t.Fatalf("%x: an error of the host: %v", cdb, task.Err)
			}
		}
		if b.drive.Config().ReadOnly && !bytes.Equal(b.disk.Bytes(), bytes.Repeat([]byte{0x5a}, 64<<10)) {
			t.Fatal("the CD was written to")
		}
	})
}

// FuzzLoadUnit loads states that nobody saved.
func FuzzLoadUnit(f *testing.F) {
	for kind := range byte(3) {
		b := newBench(f, scsi.Kind(kind), 64<<10)
		state, err := b.unit.States()[0].Save()
		if err != nil {
			f.Fatal(err)
		}
		section, err := vmstate.Marshal("scsi-disk", 1, state)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, section)
	}
	f.Fuzz(func(t *testing.T, kind byte, section []byte) {
		b := newBench(t, scsi.Kind(kind%3), 64<<10)
		s := b.unit.States()[0]
		state := s.New()
		if vmstate.Unmarshal(section, "scsi-disk", 1, state) != nil || s.Check(state, 1) != nil {
			return
		}
		if err := s.Load(state, 1); err != nil {
			t.Fatal(err)
		}
		for _, cdb := range []string{"000000000000", "030000001200", "4a010000100000000800", "1a000800ff00"} {
			b.do(&scsi.Task{CDB: append(unhex(t, cdb), make([]byte, 16)...), In: [][]byte{make([]byte, 256)}})
		}
		if _, err := s.Save(); err != nil {
			t.Fatal(err)
		}
	})
}
