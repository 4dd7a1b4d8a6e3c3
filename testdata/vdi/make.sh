#!/bin/sh
# Makes the images of this directory with QEMU's tools (7.2), and contents.txt, which has
# for each the SHA-256 of the disk as qemu-img reads it.
set -eu
cd "$(dirname "$0")"
rm -f ./*.vdi contents.txt

qemu-img create -q -f vdi qemu-img.vdi 4M
qemu-io -f vdi -c 'write -P 1 3M 6k' -c 'write -P 2 3155000 100' qemu-img.vdi >/dev/null
# The end of the only block is zeroes, and need not be there.
truncate -s 16k qemu-img.vdi

for f in *.vdi; do
	qemu-img convert -f vdi -O raw "$f" out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f"
	rm out.tmp
done >contents.txt
