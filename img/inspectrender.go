package img

import "github.com/qmon/qmon/blockdev"

// inspectVersion is the version of the JSON, see docs/inspect.md: it grows when something
// that is there changes its meaning or goes.
const inspectVersion = 1

// JSON renders a report as docs/inspect.md describes.
func (r *Report) JSON() string {
	var images list
	for i := range r.Images {
		images = append(images, r.Images[i].object())
	}
	var o object
	o.add("version", inspectVersion)
	o.add("complete", r.Complete)
	o.add("images", images)
	return prettyJSON(o) + "\n"
}

func (i *InspectedImage) object() object {
	var o object
	o.add("filename", i.Filename)
	if i.Err != nil {
		o.add("error", blockdev.Message(i.Err))
	} else {
		i.addDescription(&o)
	}
	references := list{}
	for _, r := range i.References {
		references = append(references, r.object())
	}
	o.add("references", references)
	return o
}

func (i *InspectedImage) addDescription(o *object) {
	o.add("format", i.Format)
	o.add("format-probed", i.Probed)
	o.add("virtual-size", i.VirtualSize)
	if i.ActualSize != nil {
		o.add("actual-size", *i.ActualSize)
	}
	if i.ClusterSize != 0 {
		o.add("cluster-size", i.ClusterSize)
	}
	var features object
	features.add("encrypted", i.Encrypted)
	features.add("compressed", i.Compressed)
	features.add("dirty", i.Dirty != nil && *i.Dirty)
	features.add("corrupt", i.Corrupt)
	o.add("features", features)
	var counts object
	counts.add("snapshots", len(i.Snapshots))
	counts.add("bitmaps", i.Bitmaps)
	counts.add("references", len(i.References))
	o.add("counts", counts)
	if len(i.Specific) > 0 {
		o.add("format-specific", i.Specific)
	}
}

// referenceKinds are the kinds in the words of the JSON.
var referenceKinds = map[blockdev.ReferenceKind]string{
	blockdev.RefBacking: "backing", blockdev.RefData: "data", blockdev.RefExtent: "extent",
}

func (r InspectedReference) object() object {
	var o object
	o.add("kind", referenceKinds[r.Kind])
	o.add("name", r.Name)
	if r.Format != "" {
		o.add("format", r.Format)
	}
	if r.Path != "" {
		o.add("path", r.Path)
	}
	o.add("followed", r.Followed)
	if r.Err != nil {
		o.add("reason", blockdev.Message(r.Err))
	}
	return o
}
