package img

import "testing"

// holesFixtures are images whose clusters have holes in the file, some of them written.
var holesFixtures = []string{
	"qemu-img create -q -f qcow2 -o preallocation=metadata p.qcow2 8M",
	"qemu-io -f qcow2 -c 'write 1M 1M' -c 'write 4M 64k' p.qcow2",
	"qemu-img create -q -f qcow2 -o preallocation=falloc f.qcow2 8M",
	"qemu-img create -q -f qcow2 -o preallocation=metadata,cluster_size=2M,extended_l2=on x.qcow2 64M",
	"qemu-io -f qcow2 -c 'write 0 64k' -c 'write 10M 64k' x.qcow2",
	"qemu-img create -q -f qcow2 -b x.qcow2 -F qcow2 o.qcow2",
	"qemu-img create -q -f qcow2 -o data_file=d.raw,preallocation=metadata d.qcow2 8M",
	"qemu-img create -q -f qcow2 s.qcow2 8M",
	"qemu-io -f qcow2 -c 'write 0 512' -c 'write 1M 512' s.qcow2",
}

// holesCases are compared as parityCases are.
var holesCases = []string{
	"map p.qcow2", "map --output=json p.qcow2", "map --output=json f.qcow2", "map x.qcow2", "map --output=json x.qcow2", "map --output=json o.qcow2",
	"map --output=json d.qcow2", "map --output=json s.qcow2", "measure -O qcow2 p.qcow2", "measure -O qcow2 x.qcow2",
	"convert -O qcow2 p.qcow2 n.qcow2; map --output=json n.qcow2", "compare -s p.qcow2 s.qcow2",
	"create -q -f qcow2 -o preallocation=metadata n.qcow2 3M; map --output=json n.qcow2; resize --preallocation=metadata n.qcow2 6M; map --output=json n.qcow2",
}

func TestParityOfHoles(t *testing.T) { runParity(t, holesFixtures, holesCases, nil) }
