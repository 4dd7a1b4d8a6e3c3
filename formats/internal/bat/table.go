package bat

import "encoding/binary"

// Kind says how a block is stored.
type Kind uint8

const (
	// Unallocated blocks are not in the file: the backing file has them, or nobody.
	Unallocated Kind = iota
	// Zero blocks read as zeroes and have no storage.
	Zero
	// Data blocks lie plainly in the file.
	Data
	// Compressed blocks have to be unpacked by the format.
	Compressed
)

// Block is where a block is.
type Block struct {
	Kind Kind
	Host int64 // in the file, of its first guest byte: Data and Compressed
	Len  int64 // of what is packed, bytes: Compressed
}

// Table describes a table of a file: where it is, and what its entries mean.
type Table struct {
	// Offset and Entries of the table, or of the upper one of two levels.
	Offset  int64
	Entries int64
	// Width of an entry, 4 or 8 bytes, and their order.
	Width int64
	Order binary.ByteOrder
	// Lower is how many entries a lower table has; 0 for one level.
	Lower int64
	// LowerOffset checks an upper entry that is not 0 and tells where its table is, and
	// UpperEntry is the entry for a table that is there.
	LowerOffset func(entry uint64) (int64, error)
	UpperEntry  func(off int64) uint64
	// Decode tells what an entry means, and Encode is the opposite. Decode must refuse a
	// block over the header or the table, so that a guest's write never reaches them.
	Decode func(entry uint64) (Block, error)
	Encode func(Block) uint64
}

// value reads entry i of the table at off.
func (t *Table) value(b []byte) uint64 {
	if t.Width == 4 {
		return uint64(t.Order.Uint32(b))
	}
	return t.Order.Uint64(b)
}

func (t *Table) put(b []byte, v uint64) {
	if t.Width == 4 {
		t.Order.PutUint32(b, uint32(v))
		return
	}
	t.Order.PutUint64(b, v)
}

// tables are a Table and the pieces of it that are in memory.
type tables struct {
	*Table
	cache
}

// upperEntry reads an entry of the upper table.
func (t *tables) upperEntry(i int64) (uint64, error) {
	p, at, err := t.get(t.Offset, t.Entries*t.Width, i*t.Width, true)
	if err != nil {
		return 0, err
	}
	return t.value(p.data[at:]), nil
}

// place finds the piece with block i's entry, and how many bytes into it. It is nil if
// block i has no lower table.
func (t *tables) place(i int64) (*piece, int, error) {
	if t.Lower == 0 {
		return t.get(t.Offset, t.Entries*t.Width, i*t.Width, false)
	}
	e, err := t.upperEntry(i / t.Lower)
	if err != nil || e == 0 {
		return nil, 0, err
	}
	off, err := t.LowerOffset(e)
	if err != nil {
		return nil, 0, err
	}
	return t.get(off, t.Lower*t.Width, i%t.Lower*t.Width, false)
}

// lookup tells where block i is, and of how many blocks, at most n, from it on the entries
// are at hand: they can be asked for with at.
func (t *tables) lookup(i, n int64) (r entries, err error) {
	p, at, err := t.place(i)
	switch {
	case err != nil:
		return entries{}, err
	case p == nil:
		return entries{count: min(n, t.Lower-i%t.Lower)}, nil
	}
	b := p.data[at:]
	return entries{table: t.Table, bytes: b, count: min(n, int64(len(b))/t.Width)}, nil
}

// entries are those of blocks that follow each other. The zero table has none: the blocks
// are unallocated.
type entries struct {
	table *Table
	bytes []byte
	count int64
}

func (e entries) at(i int64) (Block, error) {
	if e.table == nil {
		return Block{}, nil
	}
	return e.table.Decode(e.table.value(e.bytes[i*e.table.Width:]))
}

// store changes block i's entry in memory and returns the old one. Its lower table must
// exist.
func (t *tables) store(i int64, entry uint64) (old uint64, err error) {
	p, at, err := t.place(i)
	if err != nil {
		return 0, err
	}
	old = t.value(p.data[at:])
	t.put(p.data[at:], entry)
	t.change(p, at, at+int(t.Width))
	return old, nil
}

// storeUpper enters a new lower table, which the file has zeroes for.
func (t *tables) storeUpper(i, off int64) error {
	p, at, err := t.get(t.Offset, t.Entries*t.Width, i*t.Width, true)
	if err != nil {
		return err
	}
	t.put(p.data[at:], t.UpperEntry(off))
	t.change(p, at, at+int(t.Width))
	return nil
}
