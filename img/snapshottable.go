package img

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// SnapshotTableHeader is the first line of QEMU's snapshot table, without a newline.
const SnapshotTableHeader = "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT"

// SnapshotTable renders snapshots as the table that info snapshots, qemu-img info and
// qemu-img snapshot -l print, header included. Dates are in the local time zone.
func SnapshotTable(snapshots []blockdev.Snapshot) string {
	var b strings.Builder
	b.WriteString(SnapshotTableHeader + "\n")
	for _, s := range snapshots {
		b.WriteString(SnapshotRow(s) + "\n")
	}
	return b.String()
}

// SnapshotRow is one line of the table, without a newline. Long names push the columns
// after them to the right.
func SnapshotRow(s blockdev.Snapshot) string {
	icount := ""
	if s.ICount != blockdev.NoICount {
		icount = strconv.FormatInt(int64(s.ICount), 10)
	}
	return fmt.Sprintf("%-9s %-16s %8s %19s %12s %10s", s.ID, s.Name,
		blockdev.FormatSize(s.VMStateSize),
		s.Date.Local().Format(time.DateTime),
		formatClock(s.VMClock), icount)
}

// formatClock writes a guest's clock as hours, minutes, seconds and milliseconds.
func formatClock(d time.Duration) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3600000, ms/60000%60, ms/1000%60, ms%1000)
}
