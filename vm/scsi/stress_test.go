package scsi_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/vm/scsi"
)

var changes = flag.Int("changes", 1000, "how often the stress test changes the medium")

// TestChangesUnderAReader changes the CD again and again while a guest reads. What the guest
// reads is always of one CD, and of the one that it was told about last: no byte of the next
// before the unit attention that announces it.
func TestChangesUnderAReader(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a.iso", "b.iso", "c.iso"}
	for i, name := range names {
		// Each CD consists of its own letter, and has another size.
		data := bytes.Repeat([]byte{'a' + byte(i)}, (64+i)<<11)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := newOurs(t)
	o.add("cd", filepath.Join(dir, names[0]), "raw", false, scsi.Config{Kind: scsi.CDROM})
	o.start()
	r := &reader{initiator: newInitiator(t, o)}
	done, stepped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := range *changes {
			// Now the reader is in the middle of a read, now it has been left in peace for a while.
			for range i % 8 {
				<-stepped
			}
			line := "change cd " + filepath.Join(dir, names[(i+1)%len(names)]) + " raw"
			if i%5 == 4 {
				o.console("eject cd")
			}
			if said := o.console(line); said != "" {
				t.Errorf("%s: %s", line, said)
				return
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case stepped <- struct{}{}:
		default:
		}
		r.step()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d changes: %d reads, %d media seen, %d refusals", *changes, r.reads, r.seen, r.refused)
	if r.seen < *changes/10 || r.reads < *changes/10 {
		t.Error("the reader has seen too little")
	}
}

// reader is a guest that reads a CD.
type reader struct {
	*initiator
	letter               byte // of the CD, 0 before it has been looked at
	blocks               uint32
	reads, seen, refused int
}

// step looks at a CD that is not known, or reads from the one that is.
func (r *reader) step() {
	r.t.Helper()
	if r.letter == 0 {
		r.look()
		return
	}
	const blocks = 16
	a := r.do(0, "28000000000000001000", blocks<<11)
	if r.told(a) {
		return
	}
	r.reads++
	if want := bytes.Repeat([]byte{r.letter}, blocks<<11); !bytes.Equal(a.data, want) {
		r.t.Errorf("read %q ... %q of CD %q", a.data[0], a.data[len(a.data)-1], r.letter)
	}
}

// look finds out which CD there is.
func (r *reader) look() {
	r.t.Helper()
	a := r.do(0, "25000000000000000000", 8)
	if r.told(a) {
		return
	}
	r.blocks = binary.BigEndian.Uint32(a.data) + 1
	a = r.do(0, "28000000000000000100", 2048)
	if r.told(a) {
		return
	}
	r.letter = a.data[0]
	r.seen++
	if want := 64 + uint32(r.letter-'a'); r.blocks != want {
		r.t.Errorf("CD %q of %d blocks, not %d", r.letter, r.blocks, want)
	}
}

// told tells if a command failed because the CD is another, or not there.
func (r *reader) told(a answer) bool {
	r.t.Helper()
	if a.response == 0 && a.status == 0 {
		return false
	}
	switch a.sense {
	case "6/28/00", "6/3a/00", "6/29/00":
		r.letter = 0
	case "2/3a/00":
		r.refused++
	default:
		r.t.Errorf("response %d, sense %s", a.response, a.sense)
	}
	return true
}
