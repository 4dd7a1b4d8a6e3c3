package blockdev

// ProbeFormat guesses the format of what n holds: the driver whose Probe is surest.
func ProbeFormat(n Node, filename string) (*Driver, error) {
	head := make([]byte, min(ProbeSize, n.Size()))
	if len(head) > 0 {
		if _, err := n.ReadAt(head, 0); err != nil {
			return nil, &Error{Op: "open", File: filename, Offset: 0,
				Text: "Could not read image for determining its format", Err: err}
		}
	}
	d := ProbeHead(head, filename)
	if d == nil {
		return nil, Errorf(ErrFormat, "open", filename, "Could not determine image format: No compatible driver found")
	}
	return d, nil
}

// ProbeHead is the driver that is surest to know a file that begins with head, nil if none
// does. Of two that are equally sure the first by name is taken.
func ProbeHead(head []byte, filename string) *Driver {
	var best *Driver
	score := 0
	for _, d := range Drivers() {
		if d.Probe == nil {
			continue
		}
		if s := d.Probe(head, filename); s > score {
			best, score = d, s
		}
	}
	return best
}
