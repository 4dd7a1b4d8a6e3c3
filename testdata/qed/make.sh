#!/bin/sh
# Makes the images of this directory with QEMU's tools (7.2), and contents.txt, which has
# for each the SHA-256 of the disk as qemu-img reads it.
set -eu
cd "$(dirname "$0")"
rm -f ./*.qed ./*.raw contents.txt

qemu-img create -q -f qed -o cluster_size=4k,table_size=2 qemu-img-4k.qed 5M
qemu-io -f qed -c 'write -P 1 100k 6k' -c 'write -P 2 10000 100' -c 'write -z 1M 64k' -c 'write -P 3 5119k 1k' qemu-img-4k.qed >/dev/null

# An overlay that is longer than its backing file.
printf 'base%.0s' $(seq 1 5000) >base.raw
truncate -s 20480 base.raw
qemu-img create -q -f qed -o cluster_size=4k,table_size=2 -b base.raw -F raw qemu-img-overlay.qed 40k
qemu-io -f qed -c 'write -P 11 1k 3k' -c 'write -z 8k 4k' -c 'write -P 12 18k 3k' qemu-img-overlay.qed >/dev/null

for f in *.qed; do
	qemu-img convert -f qed -O raw "$f" out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f"
	rm out.tmp
done >contents.txt
