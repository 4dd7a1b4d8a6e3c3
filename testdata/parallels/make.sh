#!/bin/sh
# Makes the images of this directory with QEMU's tools (7.2), and contents.txt, which has
# for each the SHA-256 of the disk as qemu-img reads it.
set -eu
cd "$(dirname "$0")"
rm -f ./*.hds contents.txt

qemu-img create -q -f parallels -o cluster_size=4k qemu-img-4k.hds 200k
qemu-io -f parallels -c 'write -P 1 100k 6k' -c 'write -P 2 10000 100' -c 'write -P 3 199k 1k' qemu-img-4k.hds >/dev/null
qemu-img create -q -f parallels -o cluster_size=63k qemu-img-63k.hds 300000
qemu-io -f parallels -c 'write -P 4 150000 6k' qemu-img-63k.hds >/dev/null

for f in *.hds; do
	qemu-img convert -f parallels -O raw "$f" out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f"
	rm out.tmp
done >contents.txt
