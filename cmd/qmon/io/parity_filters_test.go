package io

import "testing"

// What filters stand on, in short.
const (
	onRaw   = "--image-opts driver=blkdebug,image.filename=a.raw"
	onQcow2 = "--image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a.qcow2"
	overlay = "--image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=o.qcow2"
	throttd = "--image-opts driver=throttle,throttle-group=t,file.driver=raw,file.file.filename=a.raw"
	twoRaws = "--image-opts driver=quorum,children.0.driver=raw,children.0.file.filename=a.raw,children.1.driver=raw,children.1.file.filename=b.raw"
)

// fails is the option that lets one request fail once the event was raised.
func fails(event string) string {
	return ",file.inject-error.0.event=" + event + ",file.inject-error.0.once=on"
}

// filterCases are parity cases about what lies between a format and its file.
var filterCases = []string{
	// blkdebug: rules
	onRaw + ",inject-error.event=foo", onRaw + ",inject-error.0.event=none,inject-error.0.iotype=foo", onRaw + ",inject-error.0.errno=5",
	onRaw + ",inject-error.0.event=none,inject-error.0.errno=0 -c 'read 0 512'", onRaw + ",inject-error.0.event=none,inject-error.0.foo=3",
	onRaw + ",inject-error.0.event=none,inject-error.0.once=x", onRaw + ",inject-error.0.event=none,inject-error.0.state=x", onRaw + ",inject-error.1.event=none",
	onRaw + ",inject-error.0.event=none -c 'read 0 512' -c 'write 0 512' -c map -c flush -c 'discard 0 512' -c 'write -z 0 512'",
	onRaw + ",inject-error.0.event=none,inject-error.0.iotype=block-status -c 'read 0 512' -c map -c 'alloc 0'",
	onRaw + ",inject-error.0.event=none,inject-error.0.sector=1 -c 'read 0 512' -c 'read 0 513' -c 'read 512 1' -c 'read 1024 1'",
	onRaw + ",inject-error.0.event=none,inject-error.0.errno=28,inject-error.0.once=on -c 'write 0 512' -c 'write 0 512'",
	onRaw + ",set-state.0.event=none -c 'read 0 512'", onRaw + ",config=nofile", onRaw + ",foo=1", "--image-opts driver=blkdebug",
	"-f raw -c 'read 0 512' -c 'write 0 512' -c map blkdebug:rules:a.raw", "-f raw blkdebug:a.raw", "-f raw blkdebug::nofile", "blkdebug::json:{}",
	"-f qcow2 -c 'write 0 512' -c 'read 0 512' -c map blkdebug:rules:a.qcow2",
	// blkdebug: limits
	onRaw + ",align=3", onRaw + ",align=4096,max-transfer=5000", onRaw + ",opt-write-zero=5000,align=512", onRaw + ",max-discard=5G", onRaw + ",align=8G",
	"--image-opts driver=raw,file.driver=blkdebug,file.image.filename=a.raw,file.align=4096,file.max-transfer=8192 -c 'write -P 7 100 5000' -c 'read -v 90 20' -c 'read -P 7 100 5000' -c 'read -P 0 5100 5000'",
	onQcow2 + ",file.align=4096 -c 'write -P 7 100 5000' -c 'read -v 90 20' -c 'write -z 10000 10000' -c 'read -P 7 100 5000' -c map",
	// blkdebug: breakpoints
	onRaw + " -c 'break foo x' -c 'break none x' -c 'resume y' -c 'remove_break y' -c 'remove_break x' -c 'read 0 512'",
	onRaw + " -c 'break pwritev A' -c 'aio_write 0 512' -c 'wait_break A' -c 'break pwritev B' -c 'resume A' -c aio_flush -c 'remove_break A' -c 'remove_break B'",
	onRaw + " -c 'break pwritev A' -c 'aio_write 0 512' -c 'wait_break A' -c 'remove_break A' -c aio_flush",
	onQcow2 + " -c 'break write_aio A' -c 'aio_write 0 64k' -c 'wait_break A' -c 'resume A' -c aio_flush -c 'read -q 0 64k'",
	"-c 'break cow_read A' -c 'aio_write 257k 1k' -c 'wait_break A' -c 'resume A' -c aio_flush blkdebug::o.qcow2",
	// blkdebug: events of qcow2
	onQcow2 + fails("cluster_alloc_space") + " -c 'write 100 100' -c 'write 100k 100'", onQcow2 + fails("cow_write") + " -c 'write 100 100'",
	onQcow2 + fails("refblock_alloc") + " -c 'write 0 64k' -c 'write 64k 64k'", onQcow2 + fails("refblock_load") + " -c 'write -b 0 64k' -c 'write 0 64k'",
	onQcow2 + fails("cluster_alloc") + " -c 'write 0 64k' -c 'write 0 64k'", onQcow2 + fails("refblock_update") + " -c 'write 0 64k'",
	overlay + fails("cow_read") + " -c 'write 257k 1k' -c 'write 257k 1k'", overlay + fails("cow_write") + " -c 'write 257k 1k' -c 'write 257k 1k'",
	overlay + fails("read_backing_aio") + " -c 'write 257k 1k' -c 'read 512k 1k'", overlay + fails("l2_load") + " -c 'read 0 1k' -c 'read 0 1k'",
	overlay + fails("cluster_alloc_space") + " -c 'write 1k 1k' -c 'write 2900k 1k'",
	// throttle
	"--image-opts driver=throttle,file.driver=raw,file.file.filename=a.raw", throttd, "--object throttle-group,id=t,x-bps-total=x", "--object throttle-group,id=t,x-foo=1",
	"--object throttle-group,id=t,x-bps-total=-1", "--object throttle-group,id=t,x-bps-total=1000,x-bps-read=100", "--object throttle-group,id=t,x-bps-read-max=100",
	"--object throttle-group,id=t,limits.bps-total=100000 " + throttd + " -c 'read 0 100' -c 'write -z 0 512' -c map -c 'discard 0 512'",
	// quorum
	twoRaws + ",vote-threshold=2 -c 'read 0 512'", twoRaws + ",vote-threshold=0", twoRaws + ",vote-threshold=x", twoRaws + ",vote-threshold=3", twoRaws + ",vote-threshold=1,foo=2",
	twoRaws + ",vote-threshold=1 -c 'write -P 3 100 1000' -c 'read -v 1095 10' -c 'discard 0 512' -c 'write -z 0 512' -c map -c info -c length",
	twoRaws + ",vote-threshold=2,read-pattern=foo", twoRaws + ",vote-threshold=1,read-pattern=fifo -c 'read -v 0 16'", "--image-opts driver=quorum,vote-threshold=1",
	"--image-opts driver=quorum,children.0.filename=a.raw,vote-threshold=1", "--image-opts driver=quorum,children.0.filename=a,children.2.filename=b,vote-threshold=1",
	// blkverify
	"-f raw blkverify:a.raw", "-f raw blkverify:nofile:a.raw", "-f raw blkverify:a.raw:nofile", "--image-opts driver=blkverify,raw.filename=a.raw",
	"--image-opts driver=blkverify,raw.filename=a.raw,test.driver=raw,test.file.filename=b.raw -c 'read 0 512' -c 'write -P 3 0 1024' -c 'read -v 0 16' -c length -c map",
	"--image-opts driver=blkverify,test.driver=raw,test.file.filename=a.raw",
	// preallocate, compress, copy-on-read
	"--image-opts driver=qcow2,file.driver=preallocate,file.file.filename=a.qcow2 -c 'write 0 512' -c length", "--image-opts driver=preallocate,file.filename=a.raw,prealloc-align=1",
	"--image-opts driver=compress,file.driver=qcow2,file.file.filename=a.qcow2 -c 'write 64k 64k' -c 'write 128k 1k' -c map -c 'read -P 0xcd 64k 64k'",
	"--image-opts driver=compress,file.driver=raw,file.file.filename=a.raw", "--image-opts driver=copy-on-read,file.driver=qcow2,file.file.filename=o.qcow2 -c 'read 0 512' -c map",
	"--image-opts driver=copy-on-read,file.driver=qcow2,file.file.driver=blkdebug,file.file.image.filename=o.qcow2,file.file.inject-error.0.event=write_aio,file.file.inject-error.0.once=on -c 'read -P 5 256k 1k' -c map -c 'read -P 5 256k 1k' -c map",
	// null
	"--image-opts driver=null-co,size=1M,read-zeroes=on,latency-ns=1000 -c length -c 'read -P 0 0 512' -c map", "null-aio://x",
}

func TestFilterParity(t *testing.T) { testParity(t, filterCases) }
