#!/bin/sh
# Makes the images of this directory with python3, in the layout that diskutil of macOS 26
# writes (github.com/huven/asif-format), and contents.txt, which has for each the SHA-256
# of the disk. The images are mostly zeroes, so they are stored packed.
set -eu
cd "$(dirname "$0")"
rm -f ./*.gz contents.txt
python3 - <<'END'
import gzip, hashlib, struct

CHUNK, SECTOR = 1 << 20, 512
N = 4 * SECTOR            # data chunks of a group
S = 8 * (N + 1)           # bytes of a group
C = CHUNK // S            # groups of a table
SPAN = C * N * CHUNK      # disk of a table

def image(name, size, chunks, sequences=(1, 2)):
    """chunks: offset in the disk -> (status, {sector: data}); tables, bitmaps and data follow each other."""
    most = 1 << 43
    header = struct.pack(">4sIIIQQ16xQQIHxxQ", b"shdw", 1, 512, 0, 512, 0x41400, size // SECTOR, most // SECTOR,
                         CHUNK, SECTOR, most // CHUNK - 1)
    file = {0: bytearray(CHUNK)}
    file[0][:len(header)] = header
    new = lambda: file.setdefault(len(file), bytearray(CHUNK)) and len(file) - 1
    put = lambda chunk, at, v: struct.pack_into(">Q", file[chunk], at, v)
    get = lambda chunk, at: struct.unpack_from(">Q", file[chunk], at)[0]
    active = 512 if sequences[0] > sequences[1] else 0x41400
    put(0, 512, sequences[0])
    put(0, 0x41400, sequences[1])
    disk = bytearray(size)
    for off, (status, sectors) in chunks.items():
        entry = active + 8 + off // SPAN * 8
        if not get(0, entry):
            put(0, entry, new())
        table, group = get(0, entry), off % SPAN // (N * CHUNK) * S
        if not get(table, group + 8 * N):
            put(table, group + 8 * N, new())
        bitmap, data = get(table, group + 8 * N), new()
        put(table, group + off % (N * CHUNK) // CHUNK * 8, status << 62 | data)
        # What was not written must not be seen.
        file[data][:] = b"\xee" * CHUNK if status == 3 else bytes(CHUNK)
        for s, byte in sectors.items():
            file[data][s * SECTOR:(s + 1) * SECTOR] = bytes([byte]) * SECTOR
            disk[off + s * SECTOR:off + (s + 1) * SECTOR] = bytes([byte]) * SECTOR
            i = off % (N * CHUNK) // SECTOR + s
            if status == 3:
                file[bitmap][i // 4] |= 1 << i % 4 * 2
    blob = b"".join(bytes(c) for c in file.values())
    open(name, "wb").write(gzip.compress(blob, 9, mtime=0))
    print(hashlib.sha256(disk).hexdigest(), name, file=contents)

with open("contents.txt", "w") as contents:
    image("empty.asif.gz", 3 << 20, {})
    image("data.asif.gz", 5 << 20, {0: (3, {0: 1, 1: 2, 5: 3, 2047: 4}), 2 << 20: (1, {0: 5, 700: 6}), 4 << 20: (3, {1000: 7})})
    image("first-directory.asif.gz", 2 << 20, {1 << 20: (1, {9: 8})}, sequences=(7, 6))
END
