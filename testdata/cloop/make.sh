#!/bin/sh
# Makes the images of this directory with create_compressed_fs (cloop-utils) and python3,
# and contents.txt, which has for each the SHA-256 of the disk as qemu-img reads it.
set -eu
cd "$(dirname "$0")"
rm -f ./*.cloop contents.txt

# Text, noise that cannot be compressed, and zeroes.
python3 - >disk.tmp <<'END'
import random, sys
random.seed(4)
b = b"a compressed loop device\n" * 8000 + random.randbytes(30000)
sys.stdout.buffer.write(b.ljust(500 * 1024, b"\0"))
END
create_compressed_fs -q -B 65536 disk.tmp 64k.cloop 2>/dev/null
create_compressed_fs -q -B 4096 disk.tmp 4k.cloop 2>/dev/null
create_compressed_fs -q -L -1 -B 131072 disk.tmp 7zip-128k.cloop 2>/dev/null

for f in *.cloop; do
	qemu-img convert -f cloop -O raw "$f" out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f"
done >contents.txt
rm ./*.tmp
