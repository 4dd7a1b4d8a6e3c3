package monitor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/qmon/qmon/vm"
)

var infoCommands = []Command{
	{Name: "info version", Help: "tell which QEMU this follows, and its own version", Run: infoVersion},
	{Name: "info name", Help: "show the machine's name", Run: infoName},
	{Name: "info uuid", Help: "show the machine's UUID", Run: infoUUID},
	{Name: "info history", Help: "list the lines that were entered here", Run: infoHistory},
	{
		Name: "info mtree", Args: "-f -d -o -D",
		Help: "show what lies where in memory (-f: as processors see it)", Run: infoMemoryTree,
	},
	{Name: "info qtree", Help: "show the devices and their properties", Run: infoDeviceTree},
	{Name: "info ramblock", Help: "list the machine's memories", Run: infoRAMBlocks},
	{Name: "info memory_size_summary", Help: "show how much RAM there is, in bytes", Run: infoMemorySize},
	{
		Name: "info stats", Args: "target:s names:s? provider:s?",
		Help: "show the statistics of a target, vm or vcpu", Run: infoStats,
	},
}

// noUUID is shown for a machine that has none.
const noUUID = "00000000-0000-0000-0000-000000000000"

func infoVersion(_ context.Context, s *Session, _ Args) error {
	c := s.monitor.config
	if c.Package == "" {
		s.Println(c.Version)
	} else {
		s.Printf("%s (%s)\n", c.Version, c.Package)
	}
	return nil
}

func infoName(_ context.Context, s *Session, _ Args) error {
	if name := s.Machine().Config().Name; name != "" {
		s.Println(name)
	}
	return nil
}

func infoUUID(_ context.Context, s *Session, _ Args) error {
	s.Println(cmp.Or(s.Machine().Config().UUID, noUUID))
	return nil
}

func infoHistory(_ context.Context, s *Session, _ Args) error {
	if s.editor == nil {
		return nil
	}
	for i, line := range s.editor.History() {
		s.Printf("%d: '%s'\n", i, line)
	}
	return nil
}

// kinds are QEMU's words for what a memory region is.
var kinds = map[vm.RegionKind]string{vm.RegionRAM: "ram", vm.RegionROM: "rom", vm.RegionIO: "i/o"}

func infoMemoryTree(_ context.Context, s *Session, a Args) error {
	regions := s.Machine().Memory().Regions()
	if a.Flag("f") {
		s.Print("FlatView #0\n AS \"memory\", root: system\n")
		for i := range s.Machine().CPUs() {
			s.Printf(" AS \"cpu-memory-%d\", root: system\n", i)
		}
		s.Print(" Root memory region: system\n")
		if len(regions) == 0 {
			s.Print("  No rendered FlatView\n")
		}
		s.showRegions("  ", regions)
		s.Println("")
		return nil
	}
	for i := range s.Machine().CPUs() {
		s.Printf("address-space: cpu-memory-%d\n", i)
	}
	s.Print("address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n")
	s.showRegions("    ", regions)
	s.Println("")
	return nil
}

func (s *Session) showRegions(indent string, regions []*vm.Region) {
	for _, r := range regions {
		s.Printf("%s%016x-%016x (prio 0, %s): %s\n", indent, r.Base, r.Base+r.Size-1, kinds[r.Kind], r.Name)
	}
}

func infoRAMBlocks(_ context.Context, s *Session, _ Args) error {
	blocks := slices.DeleteFunc(slices.Clone(s.Machine().Memory().Regions()),
		func(r *vm.Region) bool { return r.Data == nil })
	slices.SortStableFunc(blocks, func(a, b *vm.Region) int { return cmp.Compare(b.Size, a.Size) })
	s.heading(fmt.Sprintf("%24s %8s  %18s %18s %18s", "Block Name", "PSize", "Offset", "Used", "Total"))
	var offset uint64
	for _, r := range blocks {
		s.Printf("%24s %8s  0x%016x 0x%016x 0x%016x\n", r.Name, "4 KiB", offset, r.Size, r.Size)
		offset += r.Size
	}
	return nil
}

func infoMemorySize(_ context.Context, s *Session, _ Args) error {
	var size uint64
	for _, r := range s.Machine().Memory().Regions() {
		if r.Kind == vm.RegionRAM {
			size += r.Size
		}
	}
	s.Printf("base memory: %d\n", size)
	return nil
}

// infoStats has nothing to show: like QEMU's own processors, a machine has no provider of
// statistics.
func infoStats(_ context.Context, _ *Session, a Args) error {
	switch target := a.String("target"); target {
	case "vm", "vcpu":
		return nil
	default:
		return Verbatim("invalid stats target %s", target)
	}
}

// infoDeviceTree shows the devices that describe themselves, the latest first, as QEMU
// lists a bus.
func infoDeviceTree(_ context.Context, s *Session, _ Args) error {
	var descriptions []vm.Description
	err := s.Do(func() {
		for _, d := range s.Machine().Devices() {
			if described, ok := d.(vm.Described); ok {
				descriptions = append(descriptions, described.Describe())
			}
		}
		slices.Reverse(descriptions)
	})
	if err != nil {
		return err
	}
	s.showBus(vm.Bus{Name: "main-system-bus", Type: "System", Devices: descriptions}, 0)
	return nil
}

func (s *Session) showBus(b vm.Bus, depth int) {
	indent := strings.Repeat("  ", depth)
	s.Printf("%sbus: %s\n%s  type %s\n", indent, b.Name, indent, b.Type)
	for _, d := range b.Devices {
		s.showDevice(d, depth+1)
	}
}

func (s *Session) showDevice(d vm.Description, depth int) {
	indent := strings.Repeat("  ", depth)
	s.Printf("%sdev: %s, id \"%s\"\n", indent, d.Type, d.ID)
	for _, g := range d.GPIO {
		s.Printf("%s  %s \"%s\" %d\n", indent, choose(g.Out, "gpio-out", "gpio-in"), g.Name, g.Lines)
	}
	for _, p := range d.Properties {
		s.Printf("%s  %s = %s\n", indent, p.Name, p.Value)
	}
	for _, m := range d.MMIO {
		s.Printf("%s  mmio %016x/%016x\n", indent, m.Base, m.Size)
	}
	for _, b := range d.Buses {
		s.showBus(b, depth+1)
	}
}
