package luks

import "github.com/qmon/qmon/blockdev"

// Info tells what the header says, in the order and with the keys of QEMU.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	h := im.header
	fields := []blockdev.InfoField{{Key: "ivgen-alg", Value: h.IVGen}}
	var slots []any
	for _, s := range h.Slots {
		slot := []blockdev.InfoField{{Key: "active", Value: s.Active}}
		if s.Active {
			slot = append(slot, blockdev.InfoField{Key: "iters", Value: int64(s.Iterations)})
		}
		slot = append(slot, blockdev.InfoField{Key: "key-offset", Value: s.Offset})
		if s.Active {
			slot = append(slot, blockdev.InfoField{Key: "stripes", Value: int64(s.Stripes)})
		}
		slots = append(slots, slot)
	}
	fields = append(fields,
		blockdev.InfoField{Key: "hash-alg", Value: h.Hash},
		blockdev.InfoField{Key: "cipher-alg", Value: h.Cipher},
		blockdev.InfoField{Key: "uuid", Value: h.UUID})
	if h.IVHash != "" {
		fields = append(fields, blockdev.InfoField{Key: "ivgen-hash-alg", Value: h.IVHash})
	}
	fields = append(fields,
		blockdev.InfoField{Key: "cipher-mode", Value: h.Mode},
		blockdev.InfoField{Key: "slots", Value: slots},
		blockdev.InfoField{Key: "payload-offset", Value: h.Payload},
		blockdev.InfoField{Key: "master-key-iters", Value: int64(h.Iterations)})
	return blockdev.ImageInfo{Encrypted: true, Specific: fields}, nil
}
