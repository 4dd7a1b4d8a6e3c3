#!/bin/sh
# Makes the images of this directory with bximage (Bochs) and python3, and contents.txt,
# which has for each the SHA-256 of the disk as qemu-img reads it.
set -eu
cd "$(dirname "$0")"
rm -f ./*.growing contents.txt

bximage -func=create -hd=10M -imgmode=growing -q empty.growing >/dev/null

# Some sectors of 10 MiB, the last one among them.
python3 - <<'END'
f = open("disk.tmp", "wb")
f.truncate(10 << 20)
for at, n in ((0, 1), (3, 2), (700, 33), (20479, 1)):
    f.seek(at * 512)
    f.write(bytes((at + i) % 255 + 1 for i in range(n * 512)))
END
bximage -func=convert -imgmode=growing -q disk.tmp data.growing >/dev/null

# As Bochs 2.1 wrote it: version 1 has no time stamp, and the size is where that was.
python3 - <<'END'
b = bytearray(open("data.growing", "rb").read())
b[64:68] = bytes((0, 0, 1, 0))
b[84:92] = b[88:96]
b[92:96] = bytes(4)
open("version1.growing", "wb").write(b)
END

for f in *.growing; do
	qemu-img convert -f bochs -O raw "$f" out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f"
done >contents.txt
rm ./*.tmp
