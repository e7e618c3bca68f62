"""Zips and streams: bombs of zeros, and ways to spoil a member of a zip and to pack it again."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Sequence
from random import Random

from tests.campaigns.fuzz.formats.damage import BOMB, INTEGERS, MOST, Spoiler, blind, odd_text, to_bytes


@functools.cache
def zeros(megabytes: int) -> tuple[bytes, int]:
    """Return so many million zeros as a raw deflate stream, a thousandth of the size, and their CRC."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)
    total = 0
    for _ in range(megabytes):
        total = zlib.crc32(bytes(10**6), total)
    return first + again * (megabytes - 1) + b"\x03\x00", total


def zlib_zeros(megabytes: int) -> bytes:
    """Return the same as a zlib stream."""
    adler = (megabytes * 10**6 % 65521) << 16 | 1
    return b"\x78\xda" + zeros(megabytes)[0] + struct.pack(">I", adler)


def gzip_zeros(megabytes: int) -> bytes:
    """Return the same as a member of a gzip file."""
    raw, crc = zeros(megabytes)
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + raw + struct.pack("<II", crc, megabytes * 10**6 % 2**32)


def zip_of(members: Sequence[tuple[str, int, bytes, int, int]]) -> bytes:
    """Return a zip of (name, method, packed bytes, CRC, size), which may say what they like."""
    body, directory, at = [], [], 0
    for name, method, packed, crc, size in members:
        raw = to_bytes(name)[:60_000]
        facts = struct.pack("<HHHHHIIIHH", 20, 0x800, method, 0, 33, crc, len(packed), size % 2**32, len(raw), 0)
        directory += [b"PK\x01\x02\x14\0", facts, struct.pack("<HHHII", 0, 0, 0, 0, at), raw]
        body += [b"PK\x03\x04", facts, raw, packed]
        at += 30 + len(raw) + len(packed)
    count, whole = len(members) % 2**16, b"".join(directory)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(whole), at % 2**32, 0)
    return b"".join((*body, whole, b"PK\x05\x06", end))


def spoil_zip(content: bytes, rng: Random, other: bytes, inside: Spoiler = blind) -> bytes:
    """Spoil the members of a zip and pack them again, with the right CRC."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    if not members:
        return blind(content, rng, other)
    at = (
        rng.randrange(len(members))
        if rng.random() < 0.6
        else max(range(len(members)), key=lambda n: len(members[n][1]))
    )
    name, data = members[at]
    packed = [(name, 0, data, zlib.crc32(data), len(data)) for name, data in members]
    chance = rng.random()
    if chance < 0.6:
        data = inside(data, rng, rng.choice(members)[1])
        packed[at] = (name, 0, data, zlib.crc32(data), len(data))
    elif chance < 0.66:
        packed[at] = (odd_text(rng) or name, *packed[at][1:])
    elif chance < 0.72:
        packed += [packed[at]] * min(rng.choice((1, 300)), MOST // (len(data) + 1) + 1)
    elif chance < 0.76:
        del packed[at]
    elif chance < 0.82:
        raw, crc = zeros(BOMB)
        packed[at] = (name, 8, raw, crc, rng.choice((BOMB * 10**6, len(data), 0)))
    elif chance < 0.86:
        packed += [(f"{number}", 0, b"", 0, 0) for number in range(5000)]
    elif chance < 0.92:
        method, pack = rng.choice(((12, bz2.compress), (14, lzma.compress), (8, zlib.compress), (99, bytes)))
        whole = io.BytesIO()
        if method != 99 and rng.random() < 0.7:  # as the library packs it
            with zipfile.ZipFile(whole, "w", method) as archive:
                for each, what in members:
                    archive.writestr(zipfile.ZipInfo(each), what, method)
            return whole.getvalue()
        packed[at] = (name, method, pack(data), zlib.crc32(data), len(data))
    else:
        packed[at] = (*packed[at][:4], rng.choice(INTEGERS) % 2**32)
    return zip_of(packed)


def gz(content: bytes) -> bytes:
    """Return the content packed by gzip, the same bytes each time."""
    return gzip.compress(content, 1, mtime=0)
