#!/bin/sh
# Makes the images of this directory with QEMU's tools (7.2), and contents.txt, which has
# for each the SHA-256 of the disk as qemu-img reads it.
set -eu
cd "$(dirname "$0")"
rm -f ./*.qcow ./*.raw contents.txt

qemu-img create -q -f qcow qemu-img.qcow 200k
qemu-io -f qcow -c 'write -P 1 100k 6k' -c 'write -P 2 10000 100' -c 'write -P 3 199k 1k' qemu-img.qcow >/dev/null

# Compressed clusters, of text that packs well and of data that does not; one written over.
seq 1 4000 >text.tmp
head -c 10000 /dev/urandom >>text.tmp
truncate -s 64k text.tmp
# qemu-img 7.2 fails without a word after it has written everything.
qemu-img convert -f raw -O qcow -c text.tmp qemu-img-packed.qcow || true
qemu-io -f qcow -c 'write -P 10 6k 1k' qemu-img-packed.qcow >/dev/null
rm text.tmp

# An overlay that is longer than its backing file.
printf 'base%.0s' $(seq 1 5000) >base.raw
truncate -s 20480 base.raw
qemu-img create -q -f qcow -b base.raw -F raw qemu-img-overlay.qcow 40k
qemu-io -f qcow -c 'write -P 11 1k 3k' -c 'write -P 12 18k 3k' qemu-img-overlay.qcow >/dev/null

for f in *.qcow; do
	qemu-img convert -f qcow -O raw "$f" out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f"
	rm out.tmp
done >contents.txt
