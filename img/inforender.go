package img

import (
	"fmt"
	"strings"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// Text renders one image as qemu-img info and info block -v show it; the backing chain is
// not part of it, see [Info.ChainText].
func (i *Info) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "image: %s\nfile format: %s\nvirtual size: %s (%d bytes)\n",
		i.Filename, i.Format, blockdev.FormatSize(i.VirtualSize), i.VirtualSize)
	disk := "unavailable"
	if i.ActualSize != nil {
		disk = blockdev.FormatSize(*i.ActualSize)
	}
	fmt.Fprintf(&b, "disk size: %s\n", disk)
	if i.Encrypted {
		b.WriteString("encrypted: yes\n")
	}
	if i.ClusterSize != 0 {
		fmt.Fprintf(&b, "cluster_size: %d\n", i.ClusterSize)
	}
	if i.Dirty != nil && *i.Dirty {
		b.WriteString("cleanly shut down: no\n")
	}
	i.writeBacking(&b)
	if len(i.Snapshots) > 0 {
		b.WriteString("Snapshot list:\n" + SnapshotTable(i.Snapshots))
	}
	if len(i.Specific) > 0 {
		b.WriteString("Format specific information:\n")
		writeFields(&b, i.Specific, 1)
	}
	return b.String()
}

func (i *Info) writeBacking(b *strings.Builder) {
	if i.BackingFilename == "" {
		return
	}
	fmt.Fprintf(b, "backing file: %s", i.BackingFilename)
	if i.FullBackingFilename != i.BackingFilename {
		fmt.Fprintf(b, " (actual path: %s)", i.FullBackingFilename)
	}
	b.WriteByte('\n')
	if i.BackingFormat != "" {
		fmt.Fprintf(b, "backing file format: %s\n", i.BackingFormat)
	}
}

// writeFields writes the format's own part: a line a value, deeper ones below their key.
func writeFields(b *strings.Builder, fields []blockdev.InfoField, level int) {
	for _, f := range fields {
		writeField(b, strings.ReplaceAll(f.Key, "-", " "), f.Value, level)
	}
}

func writeField(b *strings.Builder, label string, value any, level int) {
	b.WriteString(strings.Repeat("    ", level) + label + ":")
	switch v := value.(type) {
	case []blockdev.InfoField:
		b.WriteByte('\n')
		writeFields(b, v, level+1)
	case []any:
		b.WriteByte('\n')
		for i, e := range v {
			writeField(b, fmt.Sprintf("[%d]", i), e, level+1)
		}
	default:
		fmt.Fprintf(b, " %v\n", v)
	}
}

// ChainText is Text of the image and of all that lies below it, with sep between them:
// an empty line for qemu-img, nothing for the monitor.
func (i *Info) ChainText(sep string) string {
	var parts []string
	for ; i != nil; i = i.Backing {
		parts = append(parts, i.Text())
	}
	return strings.Join(parts, sep)
}

// JSON renders one image as qemu-img info --output=json does.
func (i *Info) JSON() string { return prettyJSON(i.object()) + "\n" }

// ChainJSON renders the image and its backing files as one array.
func (i *Info) ChainJSON() string {
	var l list
	for ; i != nil; i = i.Backing {
		l = append(l, i.object())
	}
	return prettyJSON(l) + "\n"
}

func (i *Info) object() object {
	var o object
	if len(i.Snapshots) > 0 {
		var l list
		for _, s := range i.Snapshots {
			l = append(l, snapshotObject(s))
		}
		o.add("snapshots", l)
	}
	if i.BackingFormat != "" {
		o.add("backing-filename-format", i.BackingFormat)
	}
	o.add("virtual-size", i.VirtualSize)
	o.add("filename", i.Filename)
	if i.ClusterSize != 0 {
		o.add("cluster-size", i.ClusterSize)
	}
	o.add("format", i.Format)
	if i.ActualSize != nil {
		o.add("actual-size", *i.ActualSize)
	}
	if len(i.Specific) > 0 {
		o.add("format-specific", object{{Key: "type", Value: i.Format}, {Key: "data", Value: i.Specific}})
	}
	if i.FullBackingFilename != "" {
		o.add("full-backing-filename", i.FullBackingFilename)
	}
	if i.Encrypted {
		o.add("encrypted", true)
	}
	if i.BackingFilename != "" {
		o.add("backing-filename", i.BackingFilename)
	}
	if i.Dirty != nil {
		o.add("dirty-flag", *i.Dirty)
	}
	return o
}

func snapshotObject(s blockdev.Snapshot) object {
	var o object
	if s.ICount != blockdev.NoICount {
		o.add("icount", s.ICount)
	}
	o.add("vm-clock-nsec", int64(s.VMClock%time.Second))
	o.add("name", s.Name)
	o.add("date-sec", s.Date.Unix())
	o.add("date-nsec", s.Date.Nanosecond())
	o.add("vm-clock-sec", int64(s.VMClock/time.Second))
	o.add("id", s.ID)
	o.add("vm-state-size", s.VMStateSize)
	return o
}
