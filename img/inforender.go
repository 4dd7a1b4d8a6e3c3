package img

import (
	"fmt"
	"strings"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// Text renders one image as qemu-img info and info block -v show it; the backing chain is
// not part of it, see [Info.ChainText].
func (info *Info) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "image: %s\nfile format: %s\nvirtual size: %s (%d bytes)\n",
		info.Filename, info.Format, blockdev.FormatSize(info.VirtualSize), info.VirtualSize)
	disk := "unavailable"
	if info.ActualSize != nil {
		disk = blockdev.FormatSize(*info.ActualSize)
	}
	fmt.Fprintf(&b, "disk size: %s\n", disk)
	if info.Encrypted {
		b.WriteString("encrypted: yes\n")
	}
	if info.ClusterSize != 0 {
		fmt.Fprintf(&b, "cluster_size: %d\n", info.ClusterSize)
	}
	if info.Dirty != nil && *info.Dirty {
		b.WriteString("cleanly shut down: no\n")
	}
	info.writeBacking(&b)
	if len(info.Snapshots) > 0 {
		b.WriteString("Snapshot list:\n" + SnapshotTable(info.Snapshots))
	}
	if len(info.Specific) > 0 {
		b.WriteString("Format specific information:\n" + info.SpecificText())
	}
	return b.String()
}

// SpecificText renders the format's own part, a line a value.
func (info *Info) SpecificText() string {
	var b strings.Builder
	writeFields(&b, info.Specific, 1)
	return b.String()
}

func (info *Info) writeBacking(b *strings.Builder) {
	if info.BackingFilename == "" {
		return
	}
	fmt.Fprintf(b, "backing file: %s", info.BackingFilename)
	switch info.FullBackingFilename {
	case info.BackingFilename:
	case "":
		b.WriteString(" (cannot determine actual path)")
	default:
		fmt.Fprintf(b, " (actual path: %s)", info.FullBackingFilename)
	}
	b.WriteByte('\n')
	if info.BackingFormat != "" {
		fmt.Fprintf(b, "backing file format: %s\n", info.BackingFormat)
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
func (info *Info) ChainText(sep string) string {
	var parts []string
	for ; info != nil; info = info.Backing {
		parts = append(parts, info.Text())
	}
	return strings.Join(parts, sep)
}

// JSON renders one image as qemu-img info --output=json does.
func (info *Info) JSON() string { return prettyJSON(info.object()) + "\n" }

// ChainJSON renders the image and its backing files as one array.
func (info *Info) ChainJSON() string {
	var l list
	for ; info != nil; info = info.Backing {
		l = append(l, info.object())
	}
	return prettyJSON(l) + "\n"
}

func (info *Info) object() object {
	var o object
	if len(info.Snapshots) > 0 {
		var l list
		for _, s := range info.Snapshots {
			l = append(l, snapshotObject(s))
		}
		o.add("snapshots", l)
	}
	if info.BackingFormat != "" {
		o.add("backing-filename-format", info.BackingFormat)
	}
	o.add("virtual-size", info.VirtualSize)
	o.add("filename", info.Filename)
	if info.ClusterSize != 0 {
		o.add("cluster-size", info.ClusterSize)
	}
	o.add("format", info.Format)
	if info.ActualSize != nil {
		o.add("actual-size", *info.ActualSize)
	}
	if len(info.Specific) > 0 {
		o.add("format-specific", object{{Key: "type", Value: info.Format}, {Key: "data", Value: info.Specific}})
	}
	if info.FullBackingFilename != "" {
		o.add("full-backing-filename", info.FullBackingFilename)
	}
	if info.Encrypted {
		o.add("encrypted", true)
	}
	if info.BackingFilename != "" {
		o.add("backing-filename", info.BackingFilename)
	}
	if info.Dirty != nil {
		o.add("dirty-flag", *info.Dirty)
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
