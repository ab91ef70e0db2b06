# SPDX-License-Identifier: Apache-2.0
"""Writes a full saveset as virtnbdbackup does: LZ4 frames of up to 32 MiB of
linked 64 KiB blocks, by the library that it uses.

peer.py FLAT OUT LEVEL START:LENGTH..."""

import json
import os
import sys

import lz4.frame

MAX = 32 << 20  # the largest read from QEMU


def header(kind, start, length):
    return b"%s %016x %016x\r\n" % (kind, start, length)


def main(flat, out, level, extents):
    size = os.path.getsize(flat)
    meta = {
        "virtualSize": size,
        "dataSize": sum(n for _, n in extents),
        "date": "2026-11-22T02:00:00.000001",
        "diskName": "vda",
        "diskFormat": "raw",
        "checkpointName": "virtnbdbackup.0",
        "compressed": level,
        "compressionMethod": "lz4",
        "parentCheckpoint": "",
        "incremental": False,
        "streamVersion": 2,
    }
    trailer = []
    done = 0
    with open(flat, "rb") as src, open(out, "xb") as dst:
        text = json.dumps(meta, indent=4).encode()
        dst.write(header(b"meta", 0, len(text)) + text + b"\r\n")
        for start, length in extents:
            if start > done:
                dst.write(header(b"zero", done, start - done))
            dst.write(header(b"data", start, length))
            sizes = []
            src.seek(start)
            for at in range(0, length, MAX):
                sizes.append(dst.write(lz4.frame.compress(
                    src.read(min(MAX, length - at)), compression_level=level,
                    content_checksum=True, block_checksum=True)))
            dst.write(b"\r\n")
            trailer.append(sizes[0] if length < MAX else {str(sum(sizes)): sizes})
            done = start + length
        if done < size:
            dst.write(header(b"zero", done, size - done))
        text = json.dumps(trailer).encode()
        dst.write(header(b"stop", 0, 0) + text + b"\r\n" + header(b"comp", 0, len(text)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]),
         [tuple(map(int, e.split(":"))) for e in sys.argv[4:]])
