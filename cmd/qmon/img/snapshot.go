package img

import (
	"context"
	"fmt"

	"github.com/qmon/qmon/img"
)

const snapshotSyntax = "[--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename"

func runSnapshot(t *tool, args []string) (int, error) {
	var src sourceFlags
	var action func(context.Context, img.SnapshotOptions) error
	o := img.SnapshotOptions{Session: t.session()}
	fs := t.newFlagSet()
	fs.BoolVar(&src.imageOpts, "image-opts", false, "")
	src.addForceShare(fs)
	fs.BoolP("quiet", "q", false, "")
	for _, a := range []struct {
		letter, name string
		call         func(context.Context, img.SnapshotOptions) error
	}{
		{"l", "list", t.listSnapshots},
		{"a", "apply", img.ApplySnapshot},
		{"c", "create", img.CreateSnapshot},
		{"d", "delete", img.DeleteSnapshot},
	} {
		fs.VarPF(funcValue(func(name string) error {
			if action != nil {
				return usagef("Cannot mix '-l', '-a', '-c', '-d'")
			}
			action, o.Name = a.call, name
			return nil
		}), a.name, a.letter, "")
	}
	fs.Lookup("list").NoOptDefVal = "true"
	name, err := oneImage(fs, args)
	if err != nil {
		return statusFailed, err
	}
	if action == nil {
		action = onlyOpen
	}
	if o.Image, err = src.source(name); err != nil {
		return statusFailed, err
	}
	return statusOK, action(t.ctx, o)
}

// onlyOpen sees that the image opens: what remains where no action is asked for.
func onlyOpen(ctx context.Context, o img.SnapshotOptions) error {
	_, err := img.Snapshots(ctx, o)
	return err
}

func (t *tool) listSnapshots(ctx context.Context, o img.SnapshotOptions) error {
	list, err := img.Snapshots(ctx, o)
	if err == nil && len(list) > 0 {
		fmt.Fprint(t.stdout, "Snapshot list:\n"+img.SnapshotTable(list))
	}
	return err
}
