package monitor

import (
	"context"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/savevm"
)

var snapshotCommands = []Command{
	{
		Name: "savevm", Args: "tag:s?", Params: "tag",
		Help: "keep the whole machine as snapshot tag, in its disks", Complete: completeTag, Run: saveVM,
	},
	{
		Name: "loadvm", Args: "tag:s",
		Help: "put machine and disks back as they were at snapshot tag", Complete: completeTag, Run: loadVM,
	},
	{
		Name: "delvm", Args: "tag:s",
		Help: "forget snapshot tag", Complete: completeTag, Run: deleteVM,
	},
	{
		Name: "info snapshots", Args: "-v",
		Help: "list the snapshots of the machine (-v: and what each holds alone)", Run: infoSnapshots,
	},
}

// saveVM makes a tag up if it is given none; an empty one is a tag.
func saveVM(ctx context.Context, s *Session, a Args) error {
	if a.Has("tag") {
		return savevm.SaveTag(ctx, s.Machine(), a.String("tag"))
	}
	_, err := savevm.Save(ctx, s.Machine(), "")
	return err
}

func loadVM(ctx context.Context, s *Session, a Args) error {
	return savevm.Load(ctx, s.Machine(), a.String("tag"))
}

func deleteVM(ctx context.Context, s *Session, a Args) error {
	return savevm.Delete(ctx, s.Machine(), a.String("tag"))
}

func infoSnapshots(_ context.Context, s *Session, a Args) error {
	l, err := savevm.List(s.Machine())
	if err != nil {
		return Verbatim("%s", blockdev.Message(err))
	}
	if len(l.Complete) == 0 && len(l.Partial) == 0 {
		s.Println("There is no snapshot available.")
		return nil
	}
	s.Println("List of snapshots present on all disks:")
	s.showComplete(l.Complete)
	s.showPartial(l.Partial)
	if a.Flag("v") {
		return s.showExclusive()
	}
	return nil
}

// showComplete lists the snapshots that loadvm can use. They have no ID: it may differ
// from disk to disk.
func (s *Session) showComplete(entries []savevm.Entry) {
	if len(entries) == 0 {
		s.Println("None")
		return
	}
	s.heading(img.SnapshotTableHeader)
	for _, e := range entries {
		e.ID = "--"
		s.Println(img.SnapshotRow(e.Snapshot))
	}
}

// showPartial lists the others, by drive.
func (s *Session) showPartial(entries []savevm.PartialEntry) {
	drive := ""
	for _, e := range entries {
		if e.Drive != drive {
			drive = e.Drive
			s.Printf("\nList of partial (non-loadable) snapshots on '%s':\n", drive)
			s.heading(img.SnapshotTableHeader)
		}
		s.Println(img.SnapshotRow(e.Snapshot))
	}
}

// showExclusive tells what deleting each snapshot would free in each image.
func (s *Session) showExclusive() error {
	usages, err := savevm.Usages(s.Machine())
	if err != nil {
		return err
	}
	s.Println("\nSpace held by one snapshot alone:")
	s.heading(fmt.Sprintf("%-18s%-10s%-17s%8s", "DRIVE", "ID", "TAG", "SIZE"))
	for _, u := range usages {
		size := "unknown"
		if u.Exclusive >= 0 {
			size = blockdev.FormatSize(u.Exclusive)
		}
		s.Printf("%-17s %-9s %-16s %8s\n", u.Drive, u.Snapshot.ID, u.Snapshot.Name, size)
	}
	return nil
}
