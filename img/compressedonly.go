package img

import "github.com/qmon/qmon/blockdev"

// compressedOnly tells if everything that is written to a target is stored compressed,
// as in VMDK's streamOptimized: it is then given whole clusters, asked for or not.
func compressedOnly(n blockdev.Node) bool {
	i, ok := n.(blockdev.Informer)
	if !ok {
		return false
	}
	info, err := i.Info()
	return err == nil && info.Compressed
}
