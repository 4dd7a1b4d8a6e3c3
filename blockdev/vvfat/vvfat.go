package vvfat

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// prefix selects the driver in file names.
const prefix = "fat"

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "vvfat",
		Protocol:      true,
		Prefixes:      []string{prefix},
		OpenOptions:   openOptions,
		ParseFilename: parseFilename,
		Open:          open,
	})
}

// openOptions are QEMU's.
var openOptions = blockdev.OptionTable{
	{Name: "fat-type", Type: blockdev.OptInt, Help: "FAT type (12, 16 or 32)"},
	{Name: "dir", Type: blockdev.OptString, Help: "Host directory to map to the vvfat device"},
	{Name: "floppy", Type: blockdev.OptBool, Help: "Create a floppy rather than a hard disk image"},
	{Name: "label", Type: blockdev.OptString, Help: "Use a volume label other than QEMU VVFAT"},
	{Name: "rw", Type: blockdev.OptBool, Help: "Make the image writable"},
}

// parseFilename reads "fat:", any of the words below, each with a colon behind it, and the
// directory. QEMU's words; a directory whose name has a colon needs no care unless it
// begins with one of them.
func parseFilename(filename string) (blockdev.Options, error) {
	rest := strings.TrimPrefix(filename, prefix+":")
	o := blockdev.Options{"fat-type": "0", "floppy": "off", "rw": "off"}
	for {
		word, after, ok := strings.Cut(rest, ":")
		switch {
		case !ok:
		case word == "12" || word == "16" || word == "32":
			o["fat-type"], rest = word, after
			continue
		case word == "floppy" || word == "rw":
			o[word], rest = "on", after
			continue
		}
		o["dir"] = rest
		return o, nil
	}
}

// defaultLabel is the volume's name if none is given, the same as QEMU's.
const defaultLabel = "QEMU VVFAT"

// labelSize is the room for a volume label (fatgen: BS_VolLab).
const labelSize = 11

// config is how the disk was asked for.
type config struct {
	Dir     string `option:"dir"`
	FATType int64  `option:"fat-type"`
	Floppy  bool   `option:"floppy"`
	Label   string `option:"label"`
	RW      bool   `option:"rw"`
}

func parseConfig(r blockdev.OpenRequest) (config, error) {
	c := config{Label: defaultLabel}
	if err := r.Options.Decode(&c); err != nil {
		return c, err
	}
	fail := func(text string) (config, error) {
		return c, blockdev.Errorf(blockdev.ErrInvalid, "open", c.Dir, "%s", text)
	}
	switch {
	case !r.Options.Has("dir"):
		return fail("vvfat block driver requires a 'dir' option")
	case len(c.Label) > labelSize:
		return fail("vvfat label cannot be longer than 11 bytes")
	case c.FATType != 0 && c.FATType != 12 && c.FATType != 16 && c.FATType != 32:
		return fail("Valid FAT types are only 12, 16 and 32")
	}
	return c, nil
}

// Node is a directory seen as a disk.
type Node struct {
	config  config
	options blockdev.Values
	layout  layout
	boot    []byte // the boot sector
	tree    *tree
	files   hostFiles
	folders folderCache

	// mu is held for reading by reads, for writing by everything that changes what they see.
	mu       sync.RWMutex
	writable bool
	overlay  *overlay // what the guest wrote, nil before it did
	live     *live    // what the directory holds once it differs from tree, else nil
	pending  bool     // something was written that the directory does not show yet
	closed   bool
	quiet    *time.Timer // settles when the guest has been quiet for a while, nil before the first write
}

var (
	_ blockdev.Node     = (*Node)(nil)
	_ blockdev.Reopener = (*Node)(nil)
	_ blockdev.Informer = (*Node)(nil)
	_ blockdev.Verifier = (*Node)(nil)
)

// open scans the directory and lays the disk out. Without rw the disk is read-only, in a
// mode that allows for that; with rw it can be reopened for writing, as commit needs.
func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	c, err := parseConfig(r)
	if err != nil {
		return nil, err
	}
	if r.Mode.Writable && !c.RW && !r.Mode.AutoReadOnly {
		return nil, blockdev.Errorf(blockdev.ErrReadOnly, "open", c.Dir, "Image is read-only")
	}
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, directoryError(c.Dir, err)
	}
	n := &Node{
		config: c, options: r.Options,
		files:    hostFiles{root: root, dir: c.Dir},
		writable: r.Mode.Writable && c.RW,
	}
	if n.tree, err = scan(root, c.Dir); err == nil {
		n.layout, err = plan(c, n.tree.demand())
	}
	if err != nil {
		_ = root.Close() // the reason for giving up is reported instead
		return nil, err
	}
	n.tree.place(n.layout)
	n.boot = n.layout.bootSector(c.Label)
	return n, nil
}

func directoryError(dir string, err error) error {
	return &blockdev.Error{Op: "open", File: dir, Offset: blockdev.NoOffset,
		Text: "Could not read directory " + dir, Err: systemError(err)}
}

// Filename describes the node with the options given for it, in QEMU's order.
func (n *Node) Filename() string {
	var members []string
	add := func(key, value string) { members = append(members, strconv.Quote(key)+": "+value) }
	for _, key := range []string{"fat-type", "dir", "driver", "floppy", "label", "rw"} {
		switch v := n.options[key].(type) {
		case int64:
			add(key, strconv.FormatInt(v, 10))
		case bool:
			add(key, strconv.FormatBool(v))
		case string:
			text, _ := json.Marshal(v) // a string always can be
			add(key, string(text))
		}
		if key == "driver" {
			add(key, `"vvfat"`)
		}
	}
	return "json:{" + strings.Join(members, ", ") + "}"
}

// Writable tells if the disk takes writes.
func (n *Node) Writable() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.writable
}

// Size is the whole disk's.
func (n *Node) Size() int64 { return int64(n.layout.total) * sectorSize }

// Info lists what is left out of the disk and what has another name there.
func (n *Node) Info() (blockdev.ImageInfo, error) {
	fields := []blockdev.InfoField{
		{Key: "fat-type", Value: int64(n.layout.fatType)},
		{Key: "cluster-size", Value: n.layout.clusterSize()},
		{Key: "files", Value: int64(len(n.tree.nodes) - 1)},
	}
	var remarks []blockdev.InfoField
	for i, notice := range n.tree.notices {
		remarks = append(remarks, blockdev.InfoField{Key: strconv.Itoa(i), Value: notice.Path + " " + notice.Text})
	}
	if more := n.tree.unlisted; more > 0 {
		remarks = append(remarks, blockdev.InfoField{Key: "more", Value: int64(more)})
	}
	if len(remarks) > 0 {
		fields = append(fields, blockdev.InfoField{Key: "remarks", Value: remarks})
	}
	return blockdev.ImageInfo{Specific: fields}, nil
}
