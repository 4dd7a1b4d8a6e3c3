package blockdev

// Verifier is a node over something that others can change while it is open, and that
// notices. Fallback: [Vertex.Verify] takes such changes for impossible.
type Verifier interface {
	// Verify fails, naming what, if something is not as it was any more.
	Verify() error
}

// Verify fails if v or anything below it was changed by others since it was opened. A
// snapshot is of no use over contents that are not those it was made over.
func (v *Vertex) Verify() error {
	for _, image := range v.Chain() {
		for ; image != nil; image = image.File() {
			if n, ok := image.Node.(Verifier); ok {
				if err := n.Verify(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
