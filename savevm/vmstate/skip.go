package vmstate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/qmon/qmon/blockdev"
)

// Media reads which media a stream of size bytes in r was written with; none if it does not
// tell, as QEMU's do not.
func Media(r io.ReaderAt, size int64) ([]blockdev.Medium, error) {
	d, err := source{r: r, size: size}.description()
	if errors.Is(err, errNoDescription) {
		return nil, nil
	}
	return d.Media, err
}

var errNoDescription = errors.New("the stream has no description")

// skip reads over a section of which only the description tells the length.
func (p *parser) skip(key sectionKey) error {
	if p.lengths == nil {
		d, err := p.src.description()
		if err != nil {
			return fmt.Errorf("section '%s' %d is skipped: %w", key.name, key.instance, err)
		}
		p.lengths = map[sectionKey]int64{}
		for _, s := range d.Devices {
			n, err := s.checkedLength()
			if err != nil {
				return fmt.Errorf("description of section '%s': %w", s.ID, err)
			}
			p.lengths[sectionKey{s.ID, s.Instance}] = n
		}
	}
	n, ok := p.lengths[key]
	if !ok {
		return fmt.Errorf("section '%s' %d is not in the stream's description", key.name, key.instance)
	}
	p.d.Skip(n)
	return p.d.err
}

// descriptionHead is what stands in front of the JSON text: kind and length.
const descriptionHead = 1 + 4

// description finds the JSON text from the end of the stream: the byte 6, a length that
// reaches to the end, and an object.
func (s source) description() (Description, error) {
	var d Description
	tail := make([]byte, min(s.size, maxDescription))
	from := s.size - int64(len(tail))
	if _, err := io.ReadFull(io.NewSectionReader(s.r, from, int64(len(tail))), tail); err != nil {
		return d, err
	}
	for i := len(tail) - descriptionHead - 1; i >= 0; i-- {
		text := tail[i+descriptionHead:]
		if tail[i] != kindDescription || text[0] != '{' ||
			int64(binary.BigEndian.Uint32(tail[i+1:])) != int64(len(text)) {
			continue
		}
		err := json.Unmarshal(text, &d)
		return d, err
	}
	return d, errNoDescription
}

// checkedLength is length for a description that nobody here made.
func (s StructDescription) checkedLength() (int64, error) {
	var n int64
	add := func(size int64, count int) error {
		if size < 0 || count < 0 || size > maxSkip || int64(count) > maxSkip || n+size*int64(count) > maxSkip {
			return fmt.Errorf("unlikely size %d times %d", size, count)
		}
		n += size * int64(count)
		return nil
	}
	for _, f := range s.Fields {
		if f.ArrayLen < 0 {
			return 0, fmt.Errorf("unlikely size %d times %d", f.Size, f.ArrayLen)
		}
		if err := add(f.Size, max(f.ArrayLen, 1)); err != nil {
			return 0, err
		}
	}
	for _, sub := range s.Subsections {
		k, err := sub.checkedLength()
		if err != nil {
			return 0, err
		}
		if err := add(int64(1+1+len(sub.Name)+4)+k, 1); err != nil {
			return 0, err
		}
	}
	return n, nil
}
