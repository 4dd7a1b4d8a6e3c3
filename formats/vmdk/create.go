package vmdk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

const (
	createGrain       = 64 << 10
	createTableLength = 512
	createDescriptor  = 20 * sectorSize
	// splitSize is how large the extents of a split disk are.
	splitSize = 2 << 30
)

// Create makes an image in r.File, and beside it the files of its other extents.
func Create(ctx context.Context, r blockdev.CreateRequest) error {
	o := createOptions{}
	if err := r.Options.Decode(&o); err != nil {
		return err
	}
	if err := o.normalize(r); err != nil {
		return err
	}
	size := (r.Size + sectorSize - 1) / sectorSize * sectorSize
	parentCID := uint32(noParent)
	if r.Backing.Name != "" {
		var err error
		if parentCID, err = readParentCID(ctx, r); err != nil {
			return err
		}
	}
	lines, err := o.createExtents(ctx, r, size)
	if err != nil {
		return err
	}
	text := o.descriptor(r, size, parentCID, lines)
	if len(text) > maxDescriptor {
		return blockdev.Errorf(blockdev.ErrLimit, "create", r.Filename, "VMDK disk has too many extents")
	}
	if o.split() || o.flat() {
		_, err = r.File.WriteAt([]byte(text), 0)
		return err
	}
	if len(text) > createDescriptor {
		return blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "VMDK descriptor is longer than %d bytes", createDescriptor)
	}
	_, err = r.File.WriteAt([]byte(text), sectorSize)
	return err
}

// readParentCID reads the identifier that the parent has now.
func readParentCID(ctx context.Context, r blockdev.CreateRequest) (uint32, error) {
	wrong := blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "backing_file must be a vmdk image")
	if r.Backing.Format != "" && r.Backing.Format != "vmdk" {
		return 0, wrong
	}
	// The name is the user's, who creates the image: no gate is asked. Only the file is
	// opened, no extent of it.
	path, err := blockdev.ResolveReference(blockdev.Reference{Parent: r.Filename, Name: r.Backing.Name})
	if err != nil {
		return 0, err
	}
	var g blockdev.Graph
	v, err := g.OpenPlain(ctx, path, blockdev.OpenOptions{Driver: "file", Mode: blockdev.Mode{ForceShare: true}})
	if err != nil {
		return 0, err
	}
	cid, err := readCID(v.Node)
	if err != nil {
		err = wrong
	}
	return cid, errors.Join(err, v.Unref())
}

// readCID reads the identifier from a descriptor, wherever in the file it is.
func readCID(file blockdev.Node) (uint32, error) {
	at, n := int64(0), min(file.Size(), maxDescriptor)
	head := make([]byte, 4)
	if err := readFull(file, head, 0); err != nil {
		return 0, err
	}
	if string(head) == sparseMagic {
		g, err := readSparse(file, "")
		if err != nil {
			return 0, err
		}
		at, n = g.descriptor, min(g.descSize, maxDescriptor)
	}
	b := make([]byte, n)
	if err := readFull(file, b, at); err != nil {
		return 0, err
	}
	d, err := parseDescriptor(b, "")
	if err != nil {
		return 0, err
	}
	return d.cid, nil
}

// createExtents makes the extents and returns their lines for the descriptor.
func (o *createOptions) createExtents(ctx context.Context, r blockdev.CreateRequest, size int64) ([]string, error) {
	kind := kindSparse
	if o.flat() {
		kind = kindFlat
	}
	if !o.flat() && !o.split() {
		line := fmt.Sprintf("RW %d %s \"%s\"", size/sectorSize, kind, filepath.Base(r.Filename))
		return []string{line}, o.writeSparse(r.File, size, r.Filename)
	}
	dir, base := filepath.Split(r.Filename)
	ext := filepath.Ext(base)
	base = strings.TrimSuffix(base, ext)
	var lines []string
	for i := 1; i == 1 || size > 0; i++ {
		n, name := size, base+"-flat"+ext
		if o.split() {
			n = min(size, splitSize)
			name = fmt.Sprintf("%s-%c%03d%s", base, kind[0]|0x20, i, ext)
		}
		if err := o.createExtentFile(ctx, r, dir+name, n); err != nil {
			return nil, err
		}
		line := fmt.Sprintf("RW %d %s \"%s\"", n/sectorSize, kind, name)
		if o.flat() {
			line += " 0"
		}
		lines = append(lines, line)
		size -= n
	}
	return lines, nil
}

// createExtentFile makes the file of one extent.
func (o *createOptions) createExtentFile(ctx context.Context, r blockdev.CreateRequest, name string, size int64) error {
	protocol, err := blockdev.ProtocolOf(r.Filename)
	if err != nil {
		return err
	}
	if protocol.Name != "file" {
		return blockdev.Errorf(blockdev.ErrNotSupported, "create", r.Filename, "VMDK images of several files lie in files only")
	}
	fileSize := size
	if !o.flat() {
		fileSize = 0
	}
	if err := protocol.Create(ctx, blockdev.CreateRequest{Filename: name, Size: fileSize}); err != nil || o.flat() {
		return err
	}
	var g blockdev.Graph
	v, err := g.OpenPlain(ctx, name, blockdev.OpenOptions{Driver: protocol.Name, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		return err
	}
	return errors.Join(o.writeSparse(v.Node, size, name), v.Unref())
}

// writeSparse writes a sparse extent without grains: the header, room for the descriptor,
// and twice a directory with all its tables, which are holes.
func (o *createOptions) writeSparse(file blockdev.Node, size int64, name string) error {
	const tableSectors = createTableLength * 4 / sectorSize
	tables := (size + createGrain*createTableLength - 1) / (createGrain * createTableLength)
	if tables > maxDirectory {
		return blockdev.Errorf(blockdev.ErrLimit, "create", name, "VMDK extent of %d bytes is too large, try a split one", size)
	}
	dirSectors := (tables*4 + sectorSize - 1) / sectorSize
	rgd := int64(1 + createDescriptor/sectorSize)
	gd := rgd + dirSectors + tables*tableSectors
	const grainSectors = createGrain / sectorSize
	overhead := (gd + dirSectors + tables*tableSectors + grainSectors - 1) / grainSectors * grainSectors

	if _, err := file.WriteAt(o.sparseHeader(size, rgd, gd, overhead), 0); err != nil {
		return err
	}
	for _, at := range []int64{rgd, gd} {
		dir := make([]byte, dirSectors*sectorSize)
		for i := range tables {
			binary.LittleEndian.PutUint32(dir[i*4:], uint32(at+dirSectors+i*tableSectors))
		}
		if _, err := file.WriteAt(dir, at*sectorSize); err != nil {
			return err
		}
	}
	return growTo(file, overhead*sectorSize)
}

// growTo makes a file longer.
func growTo(file blockdev.Node, size int64) error {
	if _, ok := file.(blockdev.Resizer); ok {
		return blockdev.Resize(file, size, blockdev.ResizeOptions{})
	}
	_, err := file.WriteAt([]byte{0}, size-1)
	return err
}

func (o *createOptions) sparseHeader(size, rgd, gd, overhead int64) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	version, flags := uint32(1), uint32(flagNewlines|flagRedundant)
	if o.ZeroGrains {
		version, flags = 2, flags|flagZeroGrain
	}
	if o.Subformat == streamOptimized {
		version, flags = 3, flags|flagCompress|flagMarkers
		le.PutUint16(b[offCompress:], compressDeflate)
	}
	copy(b, sparseMagic)
	le.PutUint32(b[offVersion:], version)
	le.PutUint32(b[offFlags:], flags)
	le.PutUint64(b[offCapacity:], uint64(size/sectorSize))
	le.PutUint64(b[offGrainSize:], createGrain/sectorSize)
	le.PutUint64(b[offDescPlace:], 1)
	le.PutUint64(b[offDescSize:], createDescriptor/sectorSize)
	le.PutUint32(b[offGTEs:], createTableLength)
	le.PutUint64(b[offRGD:], uint64(rgd))
	le.PutUint64(b[offGD:], uint64(gd))
	le.PutUint64(b[offOverhead:], uint64(overhead))
	copy(b[offNewlines:], newlines)
	return b
}

// descriptor is the text of a new disk.
func (o *createOptions) descriptor(r blockdev.CreateRequest, size int64, parentCID uint32, extents []string) string {
	heads := int64(16)
	if o.Adapter != "ide" {
		heads = 255
	}
	const sectors = 63
	hint := ""
	if r.Backing.Name != "" {
		hint = fmt.Sprintf("parentFileNameHint=\"%s\"\n", r.Backing.Name)
	}
	return fmt.Sprintf(`%s
version=1
CID=%08x
parentCID=%08x
createType="%s"
%s
# Extent description
%s

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "%s"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "%s"
ddb.toolsVersion = "%s"
`, descriptorMagic, newCID(0), parentCID, o.Subformat, hint, strings.Join(extents, "\n"),
		o.HWVersion, size/(heads*sectors*sectorSize), heads, sectors, o.Adapter, o.Tools)
}
