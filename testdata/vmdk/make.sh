#!/bin/sh
# Makes the images of this directory with QEMU's tools (7.2), and contents.txt, which has
# for each image the SHA-256 of the disk as qemu-img reads it.
set -eu
cd "$(dirname "$0")"
rm -f ./*.vmdk contents.txt

io() { # image, commands...
	f=$1
	shift
	for c in "$@"; do set -- "$@" -c "$c"; shift; done
	qemu-io -f vmdk "$@" "$f" >/dev/null
}

qemu-img create -q -f vmdk sparse.vmdk 4M
io sparse.vmdk 'write -P 1 64k 1k' 'write -P 2 3M 64k'

qemu-img create -q -f vmdk -o zeroed_grain=on zeroes.vmdk 1M
io zeroes.vmdk 'write -P 3 0 128k' 'write -z 64k 64k' 'write -z 512k 64k'

qemu-img create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 20k
io flat.vmdk 'write -P 4 1k 3k'

qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse split.vmdk 2560M
io split.vmdk 'write -P 5 2147418112 128k' # over the end of the first extent

seq 1 20000 >text.tmp
truncate -s 200k text.tmp
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized text.tmp stream.vmdk
rm text.tmp

for f in sparse zeroes flat stream; do
	qemu-img convert -f vmdk -O raw $f.vmdk disk.tmp
	echo "$(sha256sum <disk.tmp | cut -d ' ' -f 1) $f.vmdk" >>contents.txt
done
rm disk.tmp
