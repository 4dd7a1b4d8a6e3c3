package bat

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

// scanSize is how much of a table Scan reads at once, bytes.
const scanSize = 1 << 20

// Scan calls f with each entry of t's upper or only table as the file has it. The table
// must lie in the file: that bounds the work that an image can make.
func (t *Table) Scan(ctx context.Context, file blockdev.Node, f func(i int64, entry uint64) error) error {
	buf := make([]byte, min(scanSize, t.Entries*t.Width))
	for i := int64(0); i < t.Entries; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(int64(len(buf)), (t.Entries-i)*t.Width)]
		if err := blockdev.ReadPadded(file, b, t.Offset+i*t.Width); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[t.Width:] {
			if err := f(i, t.value(b)); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}
