package luks1

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/qmon/qmon/formats/internal/sectors"
)

// slotAlign is what slots, and the payload behind them, begin at, as cryptsetup and QEMU
// have it: a page.
const slotAlign = 4096

// Volume is a header and the master key that one of its slots gave.
type Volume struct {
	*Header
	key []byte
}

// Cipher is how the volume's sectors are encrypted.
func (v *Volume) Cipher() (*sectors.Cipher, error) { return sectors.New(v.Spec, v.key) }

// New makes a volume with a new master key, and writes its header, with the passphrase in
// slot 0, to w.
func New(r Recipe, w io.WriterAt) (*Volume, error) {
	h := &Header{Spec: r.Spec, Hash: r.Hash, UUID: newUUID()}
	if err := h.checkNames(); err != nil {
		return nil, err
	}
	h.layOut()
	v := &Volume{Header: h, key: make([]byte, h.KeySize)}
	_, _ = rand.Read(v.key) // it never fails
	iterations, err := benchmark(h.Hash, h.KeySize, r.IterTime)
	if err != nil {
		return nil, err
	}
	// The digest is only a check of what a slot has given: an eighth of the effort.
	h.Iterations = max(iterations/8, minIterations)
	_, _ = rand.Read(h.salt[:]) // it never fails
	digest, err := h.digestOf(v.key)
	if err != nil {
		return nil, err
	}
	copy(h.digest[:], digest)
	material, err := h.fill(0, v.key, r.passphrase, iterations)
	if err != nil {
		return nil, err
	}
	h.Slots[0].Active = true
	if _, err := w.WriteAt(material, h.Slots[0].Offset); err != nil {
		return nil, err
	}
	_, err = w.WriteAt(h.Encode(), 0)
	return v, err
}

// layOut places the slots, and the payload behind them.
func (h *Header) layOut() {
	h.KeySize = h.KeyBytes()
	size := (h.materialBytes() + slotAlign - 1) / slotAlign * slotAlign
	for i := range h.Slots {
		h.Slots[i] = Slot{Offset: slotAlign + int64(i)*size, Stripes: stripes}
	}
	h.Payload = slotAlign + slotCount*size
}

// benchmark is how many iterations take that long here. It measures a few, until that
// takes long enough to be measured.
func benchmark(hash string, keySize int, d time.Duration) (uint32, error) {
	const (
		enough = 20 * time.Millisecond
		first  = 1 << 12
	)
	for n := first; ; n *= 2 {
		start := time.Now()
		if _, err := pbkdf2.Key(sectors.Hashes[hash], "benchmark", make([]byte, saltBytes), n, keySize); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if took < enough && n < maxIterations {
			continue
		}
		want := float64(n) * float64(d) / float64(took)
		return uint32(min(max(want, minIterations), maxIterations)), nil
	}
}

// newUUID makes a random UUID, version 4.
func newUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // it never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
