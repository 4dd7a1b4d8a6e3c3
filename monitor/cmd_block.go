package monitor

import (
	"context"
	"slices"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
)

var blockCommands = []Command{
	{
		Name: "info block", Args: "-n -v device:B?", Params: "[-n] [-v] [device]",
		Help: "tell what is in the drives (-n: the named nodes instead; -v: and about the images)",
		Run:  infoBlock,
	},
	{Name: "info blockstats", Help: "show what was read and written", Run: infoBlockStats},
	{Name: "info block-jobs", Help: "list what copies in the background", Run: infoBlockJobs},
	{
		Name: "commit", Args: "device:B", Params: "device|all", Complete: completeCommit,
		Help: "carry the changes of an overlay into the image below it", Run: commit,
	},
	{
		Name: "block_resize", Args: "device:B size:o",
		Help: "change the size of a medium; a number alone counts MiB", Run: blockResize,
	},
}

func infoBlock(_ context.Context, s *Session, a Args) error {
	name := a.String("device")
	if a.Flag("n") {
		return s.infoNodes(name, a.Flag("v"))
	}
	for i, d := range s.Machine().Drives().All() {
		if name != "" && name != d.Name() {
			continue
		}
		if i > 0 {
			s.Println("")
		}
		if err := s.showDrive(d, a.Flag("v")); err != nil {
			return err
		}
	}
	return nil
}

// infoNodes lists the nodes of the graph, the newest first. A name, as in QEMU, is the
// name of a drive, of which there is none in this list.
func (s *Session) infoNodes(name string, verbose bool) error {
	if name != "" {
		return nil
	}
	nodes := slices.Clone(s.monitor.config.Graph.Vertices())
	slices.Reverse(nodes)
	for i, v := range nodes {
		if i > 0 {
			s.Println("")
		}
		s.Printf("%s: %s (%s)\n", v.Name, v.Filename, nodeState(v))
		s.showCache(v.Mode().Cache)
		s.showBelow(v)
		if err := s.showImages(v, verbose); err != nil {
			return err
		}
	}
	return nil
}

// nodeState is the driver and whether it can be written.
func nodeState(v *blockdev.Vertex) string {
	if !v.Mode().Writable {
		return v.Driver.Name + ", read-only"
	}
	return v.Driver.Name
}

func (s *Session) showDrive(d *blockdev.Drive, verbose bool) error {
	v := d.Medium()
	if v == nil {
		s.Printf("%s: [not inserted]\n", d.Name())
	} else {
		name := d.Name()
		if name != v.Name { // a drive made of a node has the node's name
			name += " (" + v.Name + ")"
		}
		s.Printf("%s: %s (%s)\n", name, v.Filename, nodeState(v))
	}
	if at := d.Attached(); at != "" {
		s.Printf("    Attached to:      %s\n", at)
	}
	if d.Removable() {
		s.Printf("    Removable device: %s, tray %s\n",
			choose(d.Locked(), "locked", "not locked"), choose(d.TrayOpen(), "open", "closed"))
	}
	if v == nil {
		return nil
	}
	cache := v.Mode().Cache
	cache.WriteThrough = d.Config().Cache.WriteThrough
	s.showCache(cache)
	s.showBelow(v)
	return s.showImages(v, verbose)
}

func choose(on bool, yes, no string) string {
	if on {
		return yes
	}
	return no
}

func (s *Session) showCache(c blockdev.CacheMode) {
	s.Printf("    Cache mode:       %s%s%s\n", choose(c.WriteThrough, "writethrough", "writeback"),
		choose(c.Direct, ", direct", ""), choose(c.NoFlush, ", ignore flushes", ""))
}

func (s *Session) showBelow(v *blockdev.Vertex) {
	if b := v.Backing(); b != nil {
		s.Printf("    Backing file:     %s (chain depth: %d)\n", b.Filename, len(v.Chain())-1)
	}
	if detect := detectWords[v.DetectZeroes()]; detect != "" {
		s.Printf("    Detect zeroes:    %s\n", detect)
	}
}

var detectWords = map[blockdev.DetectZeroes]string{
	blockdev.DetectZeroesOn:    "on",
	blockdev.DetectZeroesUnmap: "unmap",
}

// showImages tells what the images of the chain say of themselves.
func (s *Session) showImages(v *blockdev.Vertex, verbose bool) error {
	if !verbose {
		return nil
	}
	info, err := img.ChainInfo(v)
	if err != nil {
		return err
	}
	s.Print("\nImages:\n" + info.ChainText(""))
	return nil
}

func infoBlockStats(_ context.Context, s *Session, _ Args) error {
	for _, d := range s.Machine().Drives().All() {
		st := d.Stats()
		idle := time.Duration(0)
		if !st.LastAccess.IsZero() {
			idle = time.Since(st.LastAccess)
		}
		s.Printf("%s: rd_bytes=%d wr_bytes=%d rd_operations=%d wr_operations=%d flush_operations=%d"+
			" wr_total_time_ns=%d rd_total_time_ns=%d flush_total_time_ns=%d rd_merged=0 wr_merged=0 idle_time_ns=%d\n",
			d.Name(), st.ReadBytes, st.WriteBytes, st.ReadOps, st.WriteOps, st.FlushOps,
			st.WriteTime.Nanoseconds(), st.ReadTime.Nanoseconds(), st.FlushTime.Nanoseconds(), idle.Nanoseconds())
	}
	return nil
}

// infoBlockJobs: nothing copies in the background here.
func infoBlockJobs(_ context.Context, s *Session, _ Args) error {
	s.Println("No active jobs")
	return nil
}

func commit(ctx context.Context, s *Session, a Args) error {
	name := a.String("device")
	if name != "all" {
		d, err := s.Drive(name)
		if err != nil {
			return Verbatim("%s", blockdev.Message(err))
		}
		return commitDrive(ctx, d, name)
	}
	for _, d := range s.Machine().Drives().All() {
		if v := d.Medium(); v == nil || v.Backing() == nil {
			continue
		}
		if err := commitDrive(ctx, d, name); err != nil {
			return err
		}
	}
	return nil
}

// commitDrive commits a drive that the user called name.
func commitDrive(ctx context.Context, d *blockdev.Drive, name string) error {
	if d.Medium() == nil {
		return Verbatim("Device '%s' has no medium", name)
	}
	if err := d.Commit(ctx); err != nil {
		return Verbatim("'commit' error for '%s': %s", name, blockdev.Message(err))
	}
	return nil
}

func blockResize(_ context.Context, s *Session, a Args) error {
	name := a.String("device")
	d, ok := s.Machine().Drives().Get(name)
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotFound, "", "", "Cannot find device='%s' nor node-name=''", name)
	}
	if d.Medium() == nil {
		return blockdev.Errorf(blockdev.ErrNoMedium, "", "", "Device '%s' has no medium", name)
	}
	return d.Resize(a.Int("size"))
}
