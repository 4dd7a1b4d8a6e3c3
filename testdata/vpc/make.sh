#!/bin/sh
# Makes the images of this directory with QEMU's tools (7.2), and contents.txt, which has
# for each the SHA-256 of the disk as qemu-img reads it.
set -eu
cd "$(dirname "$0")"
rm -f ./*.vhd contents.txt

# Only the table: a block has 2 MiB, more than belongs in here.
qemu-img create -q -f vpc qemu-img-dynamic.vhd 100M
qemu-img create -q -f vpc -o force_size=on qemu-img-forced.vhd 10M
qemu-img create -q -f vpc -o subformat=fixed,force_size=on qemu-img-fixed.vhd 16k
qemu-io -f vpc -c 'write -P 1 1k 3k' -c 'write -P 2 10000 100' qemu-img-fixed.vhd >/dev/null

for f in *.vhd; do
	qemu-img convert -f vpc -O raw "$f" out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f"
	rm out.tmp
done >contents.txt
