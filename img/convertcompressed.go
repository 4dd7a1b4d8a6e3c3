package img

import "github.com/qmon/qmon/blockdev"

// checkCompress refuses, before a target is created, what compression does not go with.
func (c *conversion) checkCompress(p *createPlan) error {
	if !c.o.Compress {
		return nil
	}
	if mode, _ := p.values["preallocation"].(string); mode != "" && mode != "off" {
		return invalid("convert", c.o.Target.label(), "Compression and preallocation not supported at the same time")
	}
	if encryption, _ := p.values["encryption"].(bool); encryption || p.values.Has("encrypt.format") {
		return invalid("convert", c.o.Target.label(), "Compression and encryption not supported at the same time")
	}
	if p.driver.Name == "raw" {
		return c.noCompression()
	}
	return nil
}

func (c *conversion) noCompression() error {
	return blockdev.Errorf(blockdev.ErrNotSupported, "convert", c.o.Target.label(), "Compression not supported for this file format")
}

// compressedTarget is what an image that can be written compressed offers.
type compressedTarget interface {
	blockdev.Node
	blockdev.CompressedWriter
	blockdev.Informer
}

// denseCompressed stores zeroes as compressed clusters.
type denseCompressed struct{ compressedTarget }

// WriteZeroes writes whole clusters.
func (d denseCompressed) WriteZeroes(off, n int64, _ blockdev.ZeroFlags) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	zeroes := make([]byte, min(n, info.ClusterSize))
	for n > 0 {
		k := min(n, int64(len(zeroes)))
		if err := d.WriteCompressed(zeroes[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}
