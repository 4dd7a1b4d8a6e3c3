package luks1

import (
	"context"
	"crypto/rand"
	"io"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/secret"
)

const (
	stateActive   = "active"
	stateInactive = "inactive"
)

// Storage is where a header lies, from offset 0 on.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	Flush() error
}

// Amendment is a change to the key slots: one is filled, or one or several are erased.
type Amendment struct {
	state     string
	newSecret *string
	oldSecret *string
	keyslot   *int64
	iterTime  time.Duration
	timed     bool // iterTime was given
	file      string
}

// ParseAmend reads the options; nil if there are none.
func ParseAmend(v blockdev.Values, prefix, file string) (*Amendment, error) {
	o := values{v: v, prefix: prefix, op: "amend", file: file}
	given := false
	for _, opt := range AmendTable(prefix) {
		given = given || v.Has(opt.Name)
	}
	if !given {
		return nil, nil
	}
	a := &Amendment{file: file, newSecret: o.text(optNewSecret), oldSecret: o.text(optOldSecret)}
	if a.state = o.word(optState, ""); a.state == "" {
		o.refuse("Parameter '%s' is missing", optState)
	}
	if n, ok := v[prefix+optKeyslot].(int64); ok {
		a.keyslot = &n
	}
	a.timed = v.Has(prefix + optIterTime)
	a.iterTime = o.iterTime()
	return a, o.err
}

func (o *values) text(name string) *string {
	if s, ok := o.v[o.prefix+name].(string); ok {
		return &s
	}
	return nil
}

func (a *Amendment) refuse(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "amend", a.file, format, args...)
}

// Amend changes key slots, with QEMU's refusals unless force is set. A crash leaves every
// slot that it does not name as it was, and at no time a volume without a key that had one.
func (v *Volume) Amend(ctx context.Context, a *Amendment, force bool, st Storage) error {
	if a.keyslot != nil && (*a.keyslot < 0 || *a.keyslot >= slotCount) {
		return a.refuse("Invalid keyslot %d specified, must be between 0 and %d", int32(*a.keyslot), slotCount-1)
	}
	if a.state == stateActive {
		return v.activate(a, force, st)
	}
	list, err := v.toErase(ctx, a, force, st)
	if err != nil {
		return err
	}
	for _, i := range list {
		if err := v.erase(i, st); err != nil {
			return err
		}
	}
	return nil
}

// active lists the slots in use.
func (h *Header) active() (list []int) {
	for i, s := range h.Slots {
		if s.Active {
			list = append(list, i)
		}
	}
	return list
}

// free is a slot that is not in use, -1 if there is none.
func (h *Header) free() int {
	for i, s := range h.Slots {
		if !s.Active {
			return i
		}
	}
	return -1
}

func (v *Volume) activate(a *Amendment, force bool, st Storage) error {
	switch {
	case a.newSecret == nil:
		return a.refuse("'new-secret' is required to activate a keyslot")
	case a.oldSecret != nil:
		return a.refuse("'old-secret' must not be given when activating keyslots")
	}
	i := v.free()
	if a.keyslot != nil {
		i = int(*a.keyslot)
	}
	if i < 0 {
		return a.refuse("Can't add a keyslot - all keyslots are in use")
	}
	if v.Slots[i].Active && !force {
		return a.refuse("Refusing to overwrite active keyslot %d - please erase it first", i)
	}
	passphrase, err := secret.Lookup(*a.newSecret)
	if err != nil {
		return err
	}
	iterations, err := benchmark(v.Hash, v.KeySize, a.iterTime)
	if err != nil {
		return err
	}
	// While the only slot is written again another one keeps the key.
	spare := -1
	if list := v.active(); len(list) == 1 && list[0] == i {
		spare = v.free()
		if err := v.store(spare, passphrase, iterations, st); err != nil {
			return err
		}
	}
	if err := v.store(i, passphrase, iterations, st); err != nil || spare < 0 {
		return err
	}
	return v.erase(spare, st)
}

// toErase finds the slots to be erased.
func (v *Volume) toErase(ctx context.Context, a *Amendment, force bool, st Storage) ([]int, error) {
	switch {
	case a.newSecret != nil:
		return nil, a.refuse("'new-secret' must not be given when erasing keyslots")
	case a.timed:
		return nil, a.refuse("'iter-time' must not be given when erasing keyslots")
	}
	var old []byte
	if a.oldSecret != nil {
		var err error
		if old, err = secret.Lookup(*a.oldSecret); err != nil {
			return nil, err
		}
	}
	if a.keyslot != nil {
		i := int(*a.keyslot)
		return []int{i}, v.checkErase(ctx, a, i, old, force, st)
	}
	if a.oldSecret == nil {
		return nil, a.refuse("To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given")
	}
	var list []int
	for i := range v.Slots {
		key, err := v.tryslot(ctx, i, old, st)
		if err != nil {
			return nil, err
		}
		if key != nil {
			list = append(list, i)
		}
	}
	switch {
	case len(list) == 0:
		return nil, a.refuse("No keyslots match given (old) password for erase operation")
	case len(list) == len(v.active()) && !force:
		return nil, a.refuse("All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation")
	}
	return list, nil
}

// checkErase tells if slot i, named by its number, may be erased.
func (v *Volume) checkErase(ctx context.Context, a *Amendment, i int, old []byte, force bool, st Storage) error {
	if a.oldSecret != nil {
		key, err := v.tryslot(ctx, i, old, st)
		if err != nil {
			return err
		}
		if key == nil {
			return a.refuse("Given keyslot %d doesn't contain the password that was given in 'old-secret'", i)
		}
	}
	switch {
	case force:
	case !v.Slots[i].Active:
		return a.refuse("Given keyslot %d is already erased (inactive) ", i)
	case len(v.active()) == 1:
		return a.refuse("Attempt to erase the only active keyslot %d which will erase all the data in the image irreversibly - refusing operation", i)
	}
	return nil
}

// store puts the master key in slot i: what the slot holds, then the header.
func (v *Volume) store(i int, passphrase []byte, iterations uint32, st Storage) error {
	if v.Slots[i].Active {
		if err := v.erase(i, st); err != nil {
			return err
		}
	}
	material, err := v.fill(i, v.key, passphrase, iterations)
	if err != nil {
		return err
	}
	if _, err := st.WriteAt(material, v.Slots[i].Offset); err != nil {
		return err
	}
	// A slot may lie in two sectors of the header, which a crash can part.
	if err := v.writeHeader(st); err != nil {
		return err
	}
	v.Slots[i].Active = true
	return v.writeHeader(st)
}

// erase destroys what slot i holds, and then says that it is free.
func (v *Volume) erase(i int, st Storage) error {
	noise := make([]byte, v.materialBytes())
	_, _ = rand.Read(noise) // it never fails
	if _, err := st.WriteAt(noise, v.Slots[i].Offset); err != nil {
		return err
	}
	if err := st.Flush(); err != nil {
		return err
	}
	v.Slots[i].Active = false
	v.Slots[i].Iterations = 0
	v.Slots[i].salt = [saltBytes]byte{}
	return v.writeHeader(st)
}

// writeHeader writes the header after what it refers to, durably.
func (h *Header) writeHeader(st Storage) error {
	if err := st.Flush(); err != nil {
		return err
	}
	if _, err := st.WriteAt(h.Encode(), 0); err != nil {
		return err
	}
	return st.Flush()
}
