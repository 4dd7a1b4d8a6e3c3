package img

import (
	"fmt"
	"testing"
)

// faultFixtures are images below which something fails, and one with a bad entry.
var faultFixtures = []string{
	"qemu-img create -q -f raw base.raw 1M", "qemu-io -f raw -c 'write -q -P 1 0 1M' base.raw",
	"qemu-img create -q -f raw other.raw 1M", "qemu-io -f raw -c 'write -q -P 2 0 1M' other.raw",
	"qemu-img create -q -f qcow2 full.qcow2 1M", "qemu-io -c 'write -q 0 64k' full.qcow2",
	"qemu-img create -q -f qcow2 -F raw -b base.raw over.qcow2", "qemu-io -c 'write -q 0 64k' over.qcow2",
	"qemu-img create -q -f qcow2 -F raw -b base.raw empty.qcow2",
	"qemu-img create -q -f qcow2 bad.qcow2 1M", "qemu-io -c 'write -q 0 192k' bad.qcow2",
	`python3 -c 'f = open("bad.qcow2", "r+b"); f.seek(0x40006); f.write(b"\x2a")'`,
	"qemu-img create -q -f qcow2 badzero.qcow2 1M", "qemu-io -c 'write -q 0 192k' badzero.qcow2",
	`python3 -c 'f = open("badzero.qcow2", "r+b"); f.seek(0x40006); f.write(b"\x2a\x01")'`,
	"qemu-img create -q -f qcow2 -o compat=v2 early.qcow2 1M", "qemu-io -c 'write -q 0 192k' early.qcow2",
	`python3 -c 'f = open("early.qcow2", "r+b"); f.seek(0x40007); f.write(b"\x01")'`,
}

// failing describes an image that fails once an event has come.
func failing(image, event string) string {
	return fmt.Sprintf("driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=%s,file.inject-error.0.event=%s", image, event)
}

// faultCases are compared as parityCases are.
var faultCases = []string{
	"rebase --image-opts -F raw -b '' " + failing("over.qcow2", "l2_load"),
	`rebase -F raw -b 'json:{"driver":"raw","file":{"driver":"blkdebug","image":{"driver":"file","filename":"other.raw"},"inject-error":[{"event":"read_aio"}]}}' empty.qcow2`,
	"measure -O qcow2 --image-opts " + failing("full.qcow2", "l2_load"),
	"commit --image-opts " + failing("over.qcow2", "l2_load"),
	"commit --image-opts " + failing("over.qcow2", "read_aio"),
	"commit -d --image-opts " + failing("over.qcow2", "read_aio"),
	"dd --image-opts if=" + failing("full.qcow2", "read_aio") + " of=x",
	"map --image-opts " + failing("full.qcow2", "l2_load"),
	"convert -O raw --image-opts " + failing("full.qcow2", "read_aio") + " x",
	"convert -O raw --image-opts " + failing("full.qcow2", "l2_load") + " x",
	"compare --image-opts " + failing("full.qcow2", "l2_load") + " driver=raw,file.filename=base.raw",
	"compare --image-opts " + failing("full.qcow2", "read_aio") + " driver=raw,file.filename=base.raw",
	"snapshot --image-opts -c a " + failing("full.qcow2", "cluster_alloc"),
	"bench --image-opts -c 1 " + failing("full.qcow2", "read_aio"),
	"map bad.qcow2", "convert -O raw bad.qcow2 x", "compare bad.qcow2 base.raw", "dd if=bad.qcow2 of=x", "measure -O qcow2 bad.qcow2",
	"snapshot -c a bad.qcow2; check bad.qcow2", "amend -o compat=v2 bad.qcow2", "resize --shrink bad.qcow2 64k; check bad.qcow2",
	"map early.qcow2", "dd if=early.qcow2 of=x",
	"map badzero.qcow2", "convert -O raw badzero.qcow2 x", "amend -o compat=v2 badzero.qcow2; check badzero.qcow2", "check -r all badzero.qcow2; check badzero.qcow2",
}

// faultDifferences has the cases that leave other files, and why.
var faultDifferences = map[string]string{
	"convert -O raw --image-opts " + failing("full.qcow2", "read_aio") + " x": removed,
	"convert -O raw --image-opts " + failing("full.qcow2", "l2_load") + " x":  removed,
	"convert -O raw bad.qcow2 x":                                           removed,
	"convert -O raw badzero.qcow2 x":                                       removed,
	"snapshot --image-opts -c a " + failing("full.qcow2", "cluster_alloc"): "it stays marked until its refcounts were seen to be right",
	"snapshot -c a bad.qcow2; check bad.qcow2":                             "the image cannot be compared: it is bad",
}

const removed = "a target that is not complete is removed"

func TestFaultParity(t *testing.T) { runParity(t, faultFixtures, faultCases, faultDifferences) }
