#!/bin/sh
# Makes the images of this directory with QEMU's tools (7.2) and python3, and contents.txt, which has
# for each image the SHA-256 of the disk as qemu-img reads it. An image is several MiB of
# mostly zeroes, so they are stored packed.
set -eu
cd "$(dirname "$0")"
rm -f ./*.vhdx ./*.gz contents.txt

io() { # image, commands...
	f=$1
	shift
	for c in "$@"; do set -- "$@" -c "$c"; shift; done
	qemu-io -f vhdx "$@" "$f" >/dev/null
}

qemu-img create -q -f vhdx -o block_size=1M dynamic.vhdx 20M
io dynamic.vhdx 'write -P 1 0 50k' 'write -P 2 3M 4k' 'write -P 3 20479k 1k' 'write -z 3M 1k'

qemu-img create -q -f vhdx -o subformat=fixed fixed.vhdx 2M
io fixed.vhdx 'write -P 4 1000k 100k'

# QEMU empties its log with every write. As if it had died before that: the header names
# the last entry of the log, and the page of the table that this entry is about is as it
# was before.
qemu-img create -q -f vhdx -o block_size=1M,block_state_zero=off dirty-log.vhdx 8M
cp dirty-log.vhdx before.tmp
io dirty-log.vhdx 'write -P 5 0 4k' 'write -P 6 2M 4k' 'write -P 7 7M 1k'
python3 - <<'END'
import struct
def crc32c(b):
    c = 0xffffffff
    for x in b:
        c ^= x
        for _ in range(8):
            c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
    return c ^ 0xffffffff
d = bytearray(open('dirty-log.vhdx', 'rb').read())
head = max((0x10000, 0x20000), key=lambda o: struct.unpack_from('<Q', d, o + 8))
entry = max((o for o in range(0x100000, 0x200000, 4096) if d[o:o+4] == b'loge'),
            key=lambda o: struct.unpack_from('<Q', d, o + 16))
d[head+48:head+64] = d[entry+32:entry+48]
d[head+4:head+8] = bytes(4)
d[head+4:head+8] = struct.pack('<I', crc32c(d[head:head+4096]))
before = open('before.tmp', 'rb').read()
d[0x200000:0x201000] = before[0x200000:0x201000]
open('dirty-log.vhdx', 'wb').write(d)
END
cp dirty-log.vhdx replayed.tmp
qemu-img check -q -r all -f vhdx replayed.tmp
qemu-img convert -f vhdx -O raw replayed.tmp replayed.raw

for f in *.vhdx; do
	raw=disk.raw
	if [ "$f" = dirty-log.vhdx ]; then raw=replayed.raw; else qemu-img convert -f vhdx -O raw "$f" $raw; fi
	echo "$(sha256sum <$raw | cut -d ' ' -f 1) $f" >>contents.txt
done
gzip -9n ./*.vhdx
rm -f ./*.raw ./*.tmp
