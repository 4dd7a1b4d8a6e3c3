package img

import (
	"slices"
	"testing"
)

// measureFixtures: t.raw has data in odd places, b2.qcow2 many bitmaps.
var measureFixtures = []string{
	"truncate -s 7G t.raw",
	"qemu-io -f raw -c 'write 1000000 100' -c 'write 1M 64k' -c 'write 5G 1M' -c 'write 5632M 1536' t.raw",
	"cp b.qcow2 b2.qcow2",
	"qemu-img bitmap --add -g 512 b2.qcow2 fine",
	"qemu-img bitmap --add --disable -g 512 b2.qcow2 finer",
	"qemu-img create -q -f qcow2 -o cluster_size=512 -b t.raw -F raw small.qcow2 8G",
	"qemu-io -f qcow2 -c 'write 7G 3000' -c 'write -z 1M 32k' small.qcow2",
	"cp b.qcow2 broken.qcow2",
	`sh -c "qemu-io -f qcow2 -c 'write 0 64k' -c 'sigraise 9' broken.qcow2 2>/dev/null || true"`,
}

// measureCases are compared as parityCases are.
var measureCases = []string{
	"measure", "measure --size 1G", "measure --size 1G a.qcow2", "measure --size 1000", "measure --size 0", "measure -O qcow2 --size 0", "measure -O qcow2 --size 1",
	"measure -O qcow2 --size 1G", "measure -O qcow2 --size 1000", "measure -O qcow2 --size 1P", "measure -O qcow2 --size 3T", "measure -O qcow2 --size 17G -o cluster_size=4k",
	"measure -O qcow2 --size 10G -o cluster_size=512", "measure -O qcow2 --size 10G -o cluster_size=512,refcount_bits=64", "measure -O qcow2 --size 100G -o cluster_size=2M,refcount_bits=1",
	"measure -O qcow2 --size 1P -o cluster_size=512", "measure -O qcow2 --size 1G -o refcount_bits=3", "measure -O qcow2 --size 1G -o cluster_size=5",
	"measure -O qcow2 --size 1G -o size=5M", "measure -O qcow2 --size 1G -o preallocation=full", "measure -O qcow2 --size 1G -o preallocation=metadata",
	"measure -O qcow2 --size 1G -o lazy_refcounts=on,compat=0.10", "measure -O qcow2 --size 1G -o bogus=5", "measure -O qcow2 --size 1G -o preallocation=foo", "measure -O qcow2 --size 1G -o cluster_size=foo",
	"measure --size foo", "measure --size -1", "measure --size 8E -O qcow2", "measure -f qcow2 --size 1G", "measure --image-opts --size 1G", "measure -l s --size 1G",
	"measure --output=foo --size 1G", "measure --output=json --size 1G", "measure --output=json -O qcow2 b.qcow2", "measure missing", "measure a.qcow2 d.qcow2", "measure -o help",
	"measure --image-opts -f qcow2 driver=qcow2,file.filename=a.qcow2", "measure --image-opts driver=qcow2,file.filename=d.qcow2 -O qcow2", "measure -U d.qcow2", "measure -f foo d.qcow2",
	"measure a.raw", "measure a.qcow2", "measure d.qcow2", "measure o.qcow2", "measure -O qcow2 a.raw", "measure -O qcow2 a.qcow2", "measure -O qcow2 d.qcow2", "measure -O qcow2 d.raw",
	"measure -O qcow2 e.raw", "measure -O qcow2 o.qcow2", "measure -O qcow2 sub/o.qcow2", "measure -O qcow2 c.qcow2", "measure -O qcow2 s.qcow2", "measure -O qcow2 -l one s.qcow2",
	"measure -O qcow2 -l nope s.qcow2", "measure -O qcow2 -l snapshot.id=1 s.qcow2", "measure -l one a.raw", "measure -O qcow2 orphan.qcow2", "measure -O qcow2 empty.qcow2",
	"measure -O qcow2 t.raw", "measure -O qcow2 -o cluster_size=512 t.raw", "measure -O qcow2 -o cluster_size=2M t.raw", "measure -O qcow2 small.qcow2", "measure -O qcow2 -o cluster_size=512 small.qcow2",
	"measure -O qcow2 -o preallocation=falloc d.qcow2", "measure -O qcow2 -o backing_file=x,backing_fmt=raw o.qcow2", "measure -O qcow2 -o compat=0.10 b.qcow2", "measure -O raw b.qcow2",
	"measure -O qcow2 b.qcow2", "measure -O qcow2 b2.qcow2", "measure -O qcow2 -o cluster_size=512 b2.qcow2", "measure -O qcow2 broken.qcow2", "measure -O qcow2 v2.qcow2",
	"measure -O qcow2 -o encrypt.format=luks --size 1G",
	"measure -O vdi --size 1G", "measure -O vmdk --size 1G", "measure -O vpc d.qcow2", "measure -O vhdx --size 1G", "measure -O qed --size 1G", "measure -O qcow --size 1G",
	"measure -O parallels --size 1G", "measure -O foo --size 1G", "measure -O file --size 1G", "measure -O null-co --size 1G", "measure -O dmg --size 1G",
	"measure -O luks --size 1G", "measure -O luks --object secret,id=s1,data=x -o key-secret=s1,iter-time=10 --size 1000",
}

func TestMeasureParity(t *testing.T) {
	runParity(t, slices.Concat(fixtures, measureFixtures), measureCases, nil)
}
