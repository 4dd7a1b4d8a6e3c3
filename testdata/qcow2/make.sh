#!/bin/sh
# Makes the images of this directory with QEMU's tools (7.2), and contents.txt, which has
# for each image, and each snapshot in it, the SHA-256 of the disk as qemu-img reads it.
# The images are the test's input on machines without QEMU.
set -eu
cd "$(dirname "$0")"
rm -f ./*.qcow2 ./*.raw contents.txt

io() { # image, commands...
	f=$1
	shift
	for c in "$@"; do set -- "$@" -c "$c"; shift; done
	qemu-io -f qcow2 "$@" "$f" >/dev/null
}

# Version 2, the smallest clusters, several L2 tables, snapshots that share and differ.
qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=512 v2-512-snapshots.qcow2 200k
io v2-512-snapshots.qcow2 'write -P 1 0 50k' 'write -P 2 100k 1k'
qemu-img snapshot -c first v2-512-snapshots.qcow2
io v2-512-snapshots.qcow2 'write -P 3 10k 3k' 'write -P 4 199k 1k'
qemu-img snapshot -c second v2-512-snapshots.qcow2
io v2-512-snapshots.qcow2 'write -P 5 0 512'

# Version 3: every kind of cluster, with and without storage.
qemu-img create -q -f qcow2 -o cluster_size=4k v3-4k-zeroes.qcow2 1M
io v3-4k-zeroes.qcow2 'write -P 6 0 64k' 'write -z 8k 8k' 'write -z -u 24k 8k' 'discard 40k 4k' 'write -z 512k 16k'

# Refcounts of the narrowest and the widest width.
for bits in 1 2 4 8 32 64; do
	qemu-img create -q -f qcow2 -o cluster_size=1k,refcount_bits=$bits v3-1k-refcount$bits.qcow2 300k
	io v3-1k-refcount$bits.qcow2 'write -P 7 0 20k' 'write -P 8 299k 1k'
done

# Subclusters of every kind, and a snapshot that shares some.
qemu-img create -q -f qcow2 -o cluster_size=16k,extended_l2=on v3-16k-extended.qcow2 300k
io v3-16k-extended.qcow2 'write -P 10 1k 3k' 'write -P 11 20k 30k' 'write -z 22k 2k' 'write -z -u 32k 16k' 'write -c -P 12 64k 16k'
qemu-img snapshot -c first v3-16k-extended.qcow2
io v3-16k-extended.qcow2 'write -P 13 3k 1k' 'write -P 14 299k 1k'

# Default options.
qemu-img create -q -f qcow2 v3-default.qcow2 4M
io v3-default.qcow2 'write -P 9 1M 100k'

# Compressed clusters, of text that packs well and of data that does not.
seq 1 20000 >text.tmp
head -c 20000 /dev/urandom >>text.tmp
truncate -s 256k text.tmp
qemu-img convert -f raw -O qcow2 -c -o cluster_size=4k text.tmp v3-4k-zlib.qcow2
qemu-img convert -f raw -O qcow2 -c -o cluster_size=64k,compression_type=zstd text.tmp v3-64k-zstd.qcow2
io v3-4k-zlib.qcow2 'write -P 10 6k 1k'
rm text.tmp

# An overlay that is longer than its backing file.
printf 'base%.0s' $(seq 1 5000) >base.raw
truncate -s 20480 base.raw
qemu-img create -q -f qcow2 -o cluster_size=512 -b base.raw -F raw overlay.qcow2 40k
io overlay.qcow2 'write -P 11 1k 3k' 'write -z 8k 2k'

# Not closed: lazy refcounts, and the dirty bit set.
qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4k dirty.qcow2 1M
io dirty.qcow2 'write -P 12 0 100k' flush abort 2>/dev/null || true

# A persistent bitmap.
qemu-img create -q -f qcow2 -o cluster_size=4k bitmap.qcow2 1M
qemu-img bitmap --add bitmap.qcow2 b
io bitmap.qcow2 'write -P 13 0 100k'

sum() { # converts with the given options and prints the checksum
	qemu-img convert -U -f qcow2 -O raw "$@" out.tmp
	sha256sum <out.tmp | cut -d' ' -f1
	rm out.tmp
}

for f in *.qcow2; do
	echo "$(sum "$f") $f"
	qemu-img snapshot -U -l "$f" | awk 'NR > 2 { print $1, $2 }' | while read -r id tag; do
		qemu-img convert -l "snapshot.id=$id" -f qcow2 -O raw "$f" out.tmp
		echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f $id $tag"
		rm out.tmp
	done
done >contents.txt
