package inflate

import "math/bits"

// entry says what the next bits of the input are.
//
//	bits  0-5   how many bits it uses in all: codeword and extra bits; of two literals both
//	bits  6-7   how many literals it is
//	bits  8-11  how long the codeword is; of two literals the first one
//	bit   12    it is literals
//	bit   13    it leads to a second table
//	bit   14    it ends the block
//	bit   15    it is one of the exceptions: a second table, the end, or (no other bit set) invalid
//	bits 16-31  literals, or what extra bits are added to, or where the second table is
type entry uint32

const (
	oneLiteral  entry = 1 << 6
	twoLiterals entry = 2 << 6
	literal     entry = 1 << 12
	subtable    entry = 1 << 13
	endOfBlock  entry = 1 << 14
	exceptional entry = 1 << 15
	invalid           = exceptional

	valueShift = 16
)

// total is how many bits the entry uses.
func (e entry) total() uint { return uint(e & 63) }

// code is how long the (first) codeword is.
func (e entry) code() uint { return uint(e >> 8 & 15) }

// literals is how many literals the entry has.
func (e entry) literals() int { return int(e >> 6 & 3) }

func (e entry) value() int { return int(e >> valueShift) }

// extra are the extra bits behind the codeword in the next bits of the input.
func (e entry) extra(next uint64) uint64 {
	return next & (1<<(e&63) - 1) >> (e >> 8 & 15)
}

// How many bits of input a table is indexed with. Longer codewords have second tables.
const (
	litBits  = 11
	distBits = 8
	preBits  = 7 // the longest codeword there is

	maxCodeword = 15
	numLiterals = 256
)

// tables are the two codes of a block. The sizes are what complete codes need at most
// with their second tables, 2342 and 402 entries (zlib's program enough.c counts them),
// rounded up to powers of two, so that masks keep every index inside.
type tables struct {
	lit  [4096]entry
	dist [512]entry
}

// Section 3.2.5: what extra bits are added to, and how many there are.
var (
	lengthSymbols = [32]entry{
		exceptional | endOfBlock,
		3 << 16, 4 << 16, 5 << 16, 6 << 16, 7 << 16, 8 << 16, 9 << 16, 10 << 16,
		11<<16 | 1, 13<<16 | 1, 15<<16 | 1, 17<<16 | 1,
		19<<16 | 2, 23<<16 | 2, 27<<16 | 2, 31<<16 | 2,
		35<<16 | 3, 43<<16 | 3, 51<<16 | 3, 59<<16 | 3,
		67<<16 | 4, 83<<16 | 4, 99<<16 | 4, 115<<16 | 4,
		131<<16 | 5, 163<<16 | 5, 195<<16 | 5, 227<<16 | 5,
		258 << 16, invalid, invalid,
	}
	distSymbols = [32]entry{
		1 << 16, 2 << 16, 3 << 16, 4 << 16, 5<<16 | 1, 7<<16 | 1, 9<<16 | 2, 13<<16 | 2,
		17<<16 | 3, 25<<16 | 3, 33<<16 | 4, 49<<16 | 4, 65<<16 | 5, 97<<16 | 5,
		129<<16 | 6, 193<<16 | 6, 257<<16 | 7, 385<<16 | 7, 513<<16 | 8, 769<<16 | 8,
		1025<<16 | 9, 1537<<16 | 9, 2049<<16 | 10, 3073<<16 | 10, 4097<<16 | 11, 6145<<16 | 11,
		8193<<16 | 12, 12289<<16 | 12, 16385<<16 | 13, 24577<<16 | 13, invalid, invalid,
	}
	// preSymbols are the code length code's, section 3.2.7; the value is the symbol.
	preSymbols = [numPreSymbols]entry{
		0 << 16, 1 << 16, 2 << 16, 3 << 16, 4 << 16, 5 << 16, 6 << 16, 7 << 16, 8 << 16, 9 << 16,
		10 << 16, 11 << 16, 12 << 16, 13 << 16, 14 << 16, 15 << 16, 16<<16 | 2, 17<<16 | 3, 18<<16 | 7,
	}
)

// build makes the table of a code from the lengths of its symbols' codewords: the first
// 1<<primary entries for the next bits of the input, second tables behind them. The first
// symbols are literals, the others are in rest. It returns false if there is no such code.
// A code may have unused codewords only if it has one symbol at most, of one bit.
func build(table []entry, primary uint, lens []uint8, literals int, rest []entry) bool {
	var count [maxCodeword + 1]int
	for _, n := range lens {
		count[n]++
	}
	longest := uint(maxCodeword)
	for longest > 0 && count[longest] == 0 {
		longest--
	}
	// place[n] is where symbols with codewords of n bits begin when they are sorted.
	var place [maxCodeword + 2]int
	used := 0 // of all combinations of 15 bits
	for n := 1; n <= maxCodeword; n++ {
		place[n+1] = place[n] + count[n]
		used += count[n] << (maxCodeword - n)
	}
	const space = 1 << maxCodeword
	if used != space {
		if used > 0 && (longest != 1 || used > space) {
			return false
		}
		for i := range table[:1<<primary] {
			table[i] = invalid
		}
	}
	var sorted [288]uint16
	for symbol, n := range lens {
		if n > 0 {
			sorted[place[n]] = uint16(symbol)
			place[n]++
		}
	}
	f := filler{table: table, primary: primary, longest: longest, next: 1 << primary, count: count}
	for _, symbol := range sorted[:place[maxCodeword]] {
		e := literal | oneLiteral | entry(symbol)<<valueShift
		if int(symbol) >= literals {
			e = rest[int(symbol)-literals]
		}
		f.add(e, uint(lens[symbol]))
	}
	return true
}

// filler puts symbols into a table, in the order of their codewords.
type filler struct {
	table            []entry
	primary, longest uint
	code             uint // of the next symbol
	length           uint // of the last symbol's codeword
	count            [maxCodeword + 1]int
	next             int // where the next second table begins
	prefix           int // what led to the current one, plus 1
	sub              []entry
}

// add puts a symbol with a codeword of n bits into the table. Codewords lie in the input with
// their first bit lowest, and any bits may follow.
func (f *filler) add(e entry, n uint) {
	f.code <<= n - f.length
	f.length = n
	index := int(bits.Reverse16(uint16(f.code)) >> (16 - n))
	f.code++
	e += entry(n) | entry(n)<<8
	if n <= f.primary {
		for i := index; i < 1<<f.primary; i += 1 << n {
			f.table[i] = e
		}
	} else {
		if prefix := index&(1<<f.primary-1) + 1; prefix != f.prefix {
			f.prefix = prefix
			f.begin(n)
		}
		for i := index >> f.primary; i < len(f.sub); i += 1 << (n - f.primary) {
			f.sub[i] = e
		}
	}
	f.count[n]--
}

// begin begins a second table, which has room for the codewords that share a prefix: the
// first of them has n bits.
func (f *filler) begin(n uint) {
	width := n - f.primary
	left := 1 << width
	for width+f.primary < f.longest {
		if left -= f.count[width+f.primary]; left <= 0 {
			break
		}
		width++
		left <<= 1
	}
	f.sub = f.table[f.next : f.next+1<<width]
	f.table[f.prefix-1] = exceptional | subtable | entry(f.next)<<valueShift | entry(width)
	f.next += len(f.sub)
}

// pairLiterals makes entries of two literals where both codewords are within the bits of the
// index.
func pairLiterals(table *[4096]entry) {
	// Downwards: the second codeword's entry has a lower index and is not a pair yet, except
	// that the lowest one may follow itself.
	for i := 1<<litBits - 1; i >= 0; i-- {
		e := table[i]
		if e&literal == 0 {
			continue
		}
		second := table[i>>(e&15)]
		if second&literal != 0 && (e+second)&63 <= litBits {
			table[i] = (e + second&63) ^ (oneLiteral | twoLiterals) | second>>valueShift<<(valueShift+8)
		}
	}
}
