"""Writes disk images in Apple's format with chunks of each kind. See make.sh."""
import base64, bz2, hashlib, lzma, random, struct, subprocess, zlib

random.seed(7)
TEXT = (b"Universal Disk Image Format\n" * 10000)[:256 * 512]
NOISE = random.randbytes(24 * 512)
ZERO, RAW, IGNORE, ADC, ZLIB, BZIP2, LZFSE, LZMA = 0, 1, 2, *range(0x80000004, 0x80000009)
END = 0xFFFFFFFF


def adc(data):
    """Greedy: a match with what lies one line back or one byte back, else literals."""
    out, i, plain = bytearray(), 0, bytearray()

    def flush():
        while plain:
            n = min(len(plain), 128)
            out.append(0x7F + n)
            out.extend(plain[:n])
            del plain[:n]

    while i < len(data):
        best = (0, 0)
        for distance in (28, 1, 2800):
            n = 0
            while distance <= i and n < 67 and i + n < len(data) and data[i + n] == data[i + n - distance]:
                n += 1
            best = max(best, (n, distance))
        n, distance = best
        if distance > 1024 and n >= 4 or n > 18:
            flush()
            out += bytes((0x40 | n - 4, distance - 1 >> 8, distance - 1 & 255))
        elif n >= 3:
            flush()
            out += bytes(((n - 3) << 2 | distance - 1 >> 8, distance - 1 & 255))
        else:
            n = 1
            plain.append(data[i])
        i += n
    flush()
    return bytes(out)


def lzfse(data):
    return subprocess.run(["lzfse", "-encode"], input=data, stdout=subprocess.PIPE, check=True).stdout


PACK = {
    RAW: bytes, ADC: adc, ZLIB: lambda d: zlib.compress(d, 9), BZIP2: bz2.compress, LZMA: lzma.compress, LZFSE: lzfse,
    ZERO: lambda d: b"", IGNORE: lambda d: b"",
}


def crc(data):
    return struct.pack(">II", 2, 32) + struct.pack(">I", zlib.crc32(data)).ljust(128, b"\0")


def image(name, parts, resource_fork=False):
    """parts: for each blkx table, a list of (kind, data)."""
    fork, disk, tables, sums = bytearray(), bytearray(), [], b""
    for part in parts:
        first, chunks, checked = len(disk) // 512, [], bytearray()
        for kind, data in part:
            packed = PACK[kind](data)
            at = 0 if kind in (ZERO, IGNORE) else len(fork)
            chunks.append(struct.pack(">IIQQQQ", kind, 0, len(disk) // 512 - first, len(data) // 512, at, len(packed)))
            fork += packed
            disk += data
            checked += data if kind != IGNORE else b""
        chunks.append(struct.pack(">IIQQQQ", END, 0, len(disk) // 512 - first, 0, len(fork), 0))
        sums += struct.pack(">I", zlib.crc32(bytes(checked)))
        tables.append(struct.pack(">4sIQQQII24x", b"mish", 1, first, len(disk) // 512 - first, 0, 520, len(tables))
                      + crc(bytes(checked)) + struct.pack(">I", len(chunks)) + b"".join(chunks))
    meta = forked(tables) if resource_fork else plist(tables)
    places = (len(fork), len(meta), 0, 0) if resource_fork else (0, 0, len(fork), len(meta))
    koly = struct.pack(">4sIIIQQQQQII16x", b"koly", 4, 512, 1, 0, 0, len(fork), places[0], places[1], 1, 1)
    koly += crc(bytes(fork)) + struct.pack(">QQ120x", *places[2:]) + crc(sums)
    koly += struct.pack(">IQ12x", 1, len(disk) // 512)
    open(name, "wb").write(bytes(fork) + meta + koly)
    print(hashlib.sha256(disk).hexdigest(), name, file=contents)


def plist(tables):
    data = "".join(
        f"<dict><key>Attributes</key><string>0x0050</string><key>CFName</key><string>part {i}</string>"
        f"<key>Data</key>\n<data>\n{base64.encodebytes(t).decode()}</data>\n"
        f"<key>ID</key><string>{i}</string><key>Name</key><string>part {i}</string></dict>\n"
        for i, t in enumerate(tables))
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
            '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n<plist version="1.0">\n<dict><key>resource-fork</key>'
            f"<dict><key>blkx</key><array>\n{data}</array></dict></dict>\n</plist>\n").encode()


def forked(tables):
    """A resource fork: 256 bytes of header, length and contents of each resource, the map."""
    data = b"".join(struct.pack(">I", len(t)) + t for t in tables)
    refs, at = b"", 0
    for i, t in enumerate(tables):
        refs += struct.pack(">hHII", i, 0xFFFF, at, 0)
        at += 4 + len(t)
    types = struct.pack(">H4sHH", 0, b"blkx", len(tables) - 1, 10)
    head = struct.pack(">IIII", 256, 256 + len(data), len(data), 28 + len(types) + len(refs))
    return head.ljust(256, b"\0") + data + head + bytes(8) + struct.pack(">HH", 28, 28 + len(types) + len(refs)) + types + refs


zeroes = bytes(100 * 512)
with open("contents.txt", "w") as contents:
    image("udzo.dmg", [[(RAW, NOISE[:512])], [(ZLIB, TEXT), (IGNORE, zeroes), (ZLIB, NOISE), (ZERO, zeroes)]])
    image("udro.dmg", [[(RAW, TEXT[:8192]), (ZERO, zeroes), (RAW, NOISE)]])
    image("udbz.dmg", [[(BZIP2, TEXT), (ZERO, zeroes), (BZIP2, NOISE)]])
    image("udco.dmg", [[(ADC, TEXT), (ZERO, zeroes), (ADC, NOISE[:4096])]])
    image("ulmo.dmg", [[(LZMA, TEXT), (ZERO, zeroes), (LZMA, NOISE)]])
    # The third is too short for entropy coding: LZVN. Noise is stored as it is.
    image("ulfo.dmg", [[(LZFSE, TEXT + NOISE[:4096]), (ZERO, zeroes), (LZFSE, NOISE), (LZFSE, TEXT[:512])]])
    image("resource-fork.dmg", [[(ZLIB, TEXT)], [(ZLIB, NOISE)]], resource_fork=True)
