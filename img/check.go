package img

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// CheckOptions of [Check].
type CheckOptions struct {
	Session
	Image  Source
	Repair blockdev.CheckOptions
}

// CheckReport is what [Check] found.
type CheckReport struct {
	Filename string
	Format   string
	blockdev.CheckResult
}

// ErrNoCheck is the kind of Check's error about a format that has nothing to be checked.
var ErrNoCheck = fmt.Errorf("no check: %w", blockdev.ErrNotSupported)

// Check verifies the metadata of an image. It fails with ErrNoCheck for formats that have
// none; findings are no failure, they are counted in the report.
func Check(ctx context.Context, o CheckOptions) (r *CheckReport, err error) {
	writable := o.Repair.RepairLeaks || o.Repair.RepairErrors
	v, err := o.open(ctx, o.Image, access{writable: writable, check: true})
	if err != nil {
		return nil, err
	}
	defer release(v, &err)
	c, ok := v.Node.(blockdev.Checker)
	if !ok {
		return nil, blockdev.Errorf(ErrNoCheck, "check", o.Image.label(),
			"This image format does not support checks")
	}
	res, err := checkTwice(ctx, c, o.Repair)
	if errors.Is(err, blockdev.ErrNotSupported) {
		return nil, blockdev.Errorf(ErrNoCheck, "check", o.Image.label(), "%s", blockdev.Message(err))
	}
	if err != nil {
		return nil, err
	}
	return &CheckReport{Filename: o.Image.label(), Format: v.Driver.Name, CheckResult: res}, nil
}

// checkTwice checks again what was repaired: the report is about the image as it is now.
func checkTwice(ctx context.Context, c blockdev.Checker, o blockdev.CheckOptions) (blockdev.CheckResult, error) {
	res, err := c.Check(ctx, o)
	if err != nil || res.LeaksFixed == 0 && res.CorruptionsFixed == 0 {
		return res, err
	}
	again, err := c.Check(ctx, blockdev.CheckOptions{Report: o.Report})
	again.LeaksFixed, again.CorruptionsFixed = res.LeaksFixed, res.CorruptionsFixed
	return again, err
}

// Text renders the report as qemu-img check does.
func (r *CheckReport) Text() string {
	var b strings.Builder
	if r.CorruptionsFixed > 0 || r.LeaksFixed > 0 {
		fmt.Fprintf(&b, "The following inconsistencies were found and repaired:\n\n"+
			"    %d leaked clusters\n    %d corruptions\n\nDouble checking the fixed image now...\n",
			r.LeaksFixed, r.CorruptionsFixed)
	}
	if r.Corruptions == 0 && r.Leaks == 0 && r.CheckErrors == 0 {
		b.WriteString("No errors were found on the image.\n")
	}
	if r.Corruptions > 0 {
		fmt.Fprintf(&b, "\n%d errors were found on the image.\n"+
			"Data may be corrupted, or further writes to the image may corrupt it.\n", r.Corruptions)
	}
	if r.Leaks > 0 {
		fmt.Fprintf(&b, "\n%d leaked clusters were found on the image.\n"+
			"This means waste of disk space, but no harm to data.\n", r.Leaks)
	}
	if r.CheckErrors > 0 {
		fmt.Fprintf(&b, "\n%d internal errors have occurred during the check.\n", r.CheckErrors)
	}
	if r.TotalClusters > 0 && r.AllocatedClusters > 0 {
		fmt.Fprintf(&b, "%d/%d = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed clusters\n",
			r.AllocatedClusters, r.TotalClusters,
			percent(r.AllocatedClusters, r.TotalClusters),
			percent(r.FragmentedClusters, r.AllocatedClusters),
			percent(r.CompressedClusters, r.AllocatedClusters))
	}
	if r.ImageEndOffset > 0 {
		fmt.Fprintf(&b, "Image end offset: %d\n", r.ImageEndOffset)
	}
	return b.String()
}

func percent(part, whole int64) float64 { return float64(part) * 100 / float64(whole) }

// JSON renders the report as qemu-img check --output=json does: counts of nothing are
// left out, but for the errors of the check itself.
func (r *CheckReport) JSON() string {
	var o object
	count := func(key string, n int64) {
		if n != 0 {
			o.add(key, n)
		}
	}
	count("image-end-offset", r.ImageEndOffset)
	count("compressed-clusters", r.CompressedClusters)
	count("total-clusters", r.TotalClusters)
	count("corruptions", r.Corruptions)
	count("corruptions-fixed", r.CorruptionsFixed)
	o.add("check-errors", r.CheckErrors)
	count("leaks", r.Leaks)
	count("leaks-fixed", r.LeaksFixed)
	count("allocated-clusters", r.AllocatedClusters)
	o.add("filename", r.Filename)
	o.add("format", r.Format)
	count("fragmented-clusters", r.FragmentedClusters)
	return prettyJSON(o) + "\n"
}
