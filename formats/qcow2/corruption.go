package qcow2

import (
	"context"
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// corrupt makes an error about the image's contents.
func (im *Image) corrupt(op string, off int64, format string, args ...any) error {
	return blockdev.ErrorAt(blockdev.ErrCorrupt, op, im.name, off, "%s", notMarkedText(fmt.Sprintf(format, args...)))
}

func notMarkedText(what string) string {
	return "qcow2: Image is corrupt: " + what + "; further non-fatal corruption events will be suppressed"
}

// badEntry is the kind of error about a table entry that nobody can have written. What else
// the tables say is not to be trusted either, so an image that is writable is marked
// corrupt.
type badEntry struct{ what string }

func (*badEntry) Error() string { return blockdev.ErrCorrupt.Error() }
func (*badEntry) Unwrap() error { return blockdev.ErrCorrupt }

func (im *Image) badEntry(op string, off int64, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	return blockdev.ErrorAt(&badEntry{what}, op, im.name, off, "%s", notMarkedText(what))
}

// refusal is a kind of error that has, for programs that go by it, QEMU's error number: it
// is also that of another error.
type refusal struct{ kind, number error }

func (r *refusal) Error() string   { return r.kind.Error() }
func (r *refusal) Unwrap() []error { return []error{r.kind, r.number} }

// corruptRefusal is the kind of error of writing to an image that was found corrupt. QEMU
// takes the image out of its node, so its number is that of a missing medium.
var corruptRefusal = &refusal{blockdev.ErrReadOnly, blockdev.ErrNoMedium}

// judge marks the image corrupt if err is about a bad entry. What was written before stays:
// it is committed first. Neither commitMu nor mu is held.
func (im *Image) judge(err error) error {
	var bad *badEntry
	if !errors.As(err, &bad) {
		return err
	}
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.writable.Load() {
		// What cannot be committed the next flush complains about.
		_ = im.commitAll()
	}
	return im.judgeLocked(err)
}

// judgeLocked is judge without the commit. mu is held.
func (im *Image) judgeLocked(err error) error {
	var bad *badEntry
	if !errors.As(err, &bad) {
		return err
	}
	var e *blockdev.Error
	errors.As(err, &e)
	return im.markCorrupt(e.Offset, "%s", bad.what)
}

// markCorrupt records in the header that the image is corrupt and refuses to write from
// now on: to go on could destroy what is still there. An image that is read-only stays as
// it is. The user is told once. mu is held.
func (im *Image) markCorrupt(off int64, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	text := notMarkedText(what)
	if im.writable.Load() {
		text = im.mark(what)
	} else {
		im.signal(text)
	}
	if im.told() {
		text = "Input/output error"
	}
	return blockdev.ErrorAt(blockdev.ErrCorrupt, "write", im.name, off, "%s", text)
}

// mark does markCorrupt's work on an image that is writable, and returns what it tells.
func (im *Image) mark(what string) string {
	if im.v3() {
		// That it is corrupt is reported in any case.
		_ = im.setFeatures(offIncompatible, &im.hdr.incompatible, im.hdr.incompatible|incompatCorrupt)
	}
	im.corrupted.Store(true)
	im.writable.Store(false)
	text := "qcow2: Marking image as corrupt: " + what + "; further corruption events will be suppressed"
	im.tell(text)
	im.signaled.Store(true)
	return text
}

// markOverlap is markCorrupt for a write that would hit metadata.
func (im *Image) markOverlap(off int64, what string) error {
	return im.markCorrupt(off, "Preventing invalid write on metadata (overlaps with %s)", what)
}

// tell tells the user.
func (im *Image) tell(text string) {
	if im.notify != nil {
		im.notify(text + "\n")
	}
}

// signal tells the user about damage for which the image is not marked, once.
func (im *Image) signal(text string) {
	if !im.signaled.Swap(true) {
		im.tell(text)
	}
}

// told tells if the user has heard of damage.
func (im *Image) told() bool { return im.notify != nil && im.signaled.Load() }

// readFailure words an error of reading, and if it is damage has the user hear of that, once,
// and of where the harm is in few words.
func (im *Image) readFailure(err error) string {
	var bad *badEntry
	if errors.As(err, &bad) {
		im.signal(blockdev.Message(err))
		if im.told() {
			return "Input/output error"
		}
	}
	return blockdev.Message(err)
}

// repairDirty repairs an image that was not closed, as a check that repairs everything, and
// tells the user what it does. It refuses an image where something is left that is wrong.
// The caller has the image to itself.
func (im *Image) repairDirty() error {
	c := &checker{im: im, ctx: context.Background(), references: newReferences(), options: blockdev.CheckOptions{
		RepairLeaks: true, RepairErrors: true,
		Report: func(f blockdev.Finding) { im.tell(f.Text) },
	}}
	const failed = "Could not repair dirty image"
	if err := c.run(); err != nil {
		return &blockdev.Error{Op: "open", File: im.name, Offset: blockdev.NoOffset, Text: failed, Err: err}
	}
	if c.result.Corruptions+c.result.CheckErrors > 0 {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, failed+": Input/output error")
	}
	return nil
}
