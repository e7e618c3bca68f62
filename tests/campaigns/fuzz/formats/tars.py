"""Archives of pictures: plain and packed tars, and ways to spoil a header of one and to give it the right sum."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from random import Random

from tests.campaigns.fuzz.formats.damage import BOMB, INTEGERS, MOST, NUMBERS, blind, odd_text, to_bytes
from tests.campaigns.fuzz.formats.packed import gz, gzip_zeros
from tests.campaigns.fuzz.formats.pictures import picture

PACKERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "": (bytes, bytes),
    ".gz": (gz, gzip.decompress),
    ".bz2": (functools.partial(bz2.compress, compresslevel=1), bz2.decompress),
    ".xz": (functools.partial(lzma.compress, preset=0), lzma.decompress),
}


def archive(kind: int) -> bytes:
    """Return a plain tar with two classes of pictures; with long names as GNU (1) or PAX (2) writes them."""
    whole = io.BytesIO()
    formats = {0: tarfile.USTAR_FORMAT, 1: tarfile.GNU_FORMAT, 2: tarfile.PAX_FORMAT}
    with tarfile.open(fileobj=whole, mode="w", format=formats[kind]) as packed_:
        for label in ("cat", "dog"):
            folder = tarfile.TarInfo(f"pictures/{label}")
            folder.type = tarfile.DIRTYPE
            packed_.addfile(folder)
            for number in range(3):
                content = picture("PNG", number, mode="RGB")
                long = "n" * 120 if kind else ""
                info = tarfile.TarInfo(f"pictures/{label}/{number}{long}{'é' if kind == 2 else ''}.png")
                info.size = len(content)
                packed_.addfile(info, io.BytesIO(content))
    return whole.getvalue()


def archives() -> list[bytes]:
    """Return tars of all forms, packed by everything that packs tars."""
    plain = [archive(kind) for kind in range(3)]
    return [pack(each) for each in plain for pack, _ in PACKERS.values()]


def spoil_tar(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil one header of a plain tar and give it the right sum, or put a hostile member before it."""
    starts = headers(content)
    if not starts:
        return blind(content, rng, other)
    at = rng.choice(starts)
    header = bytearray(content[at : at + 512])
    chance = rng.random()
    if chance < 0.5:
        return content[:at] + odd_header(header, rng) + content[at + 512 :]
    if chance < 0.75:
        return content[:at] + long_name(rng) + content[at:]
    if chance < 0.85:
        return content[:at] + empty_members(header, rng) + content[at:]
    return blind(content, rng, other)


def headers(content: bytes) -> list[int]:
    """Return where the headers of a plain tar begin."""
    starts, at = [], 0
    with contextlib.suppress(ValueError):
        while at + 512 <= len(content) and content[at : at + 1] != b"\0":
            starts.append(at)
            at += 512 + -(-int(content[at + 124 : at + 135].strip(b"\0 ") or b"0", 8) // 512) * 512
    return starts


def odd_header(header: bytearray, rng: Random) -> bytes:
    """Return a header with an odd value in one of its fields."""
    field, size = rng.choice(
        ((0, 100), (100, 8), (124, 12), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
    )
    value = rng.choice(
        (
            to_bytes(odd_text(rng)),
            rng.randbytes(size),
            rng.choice(b"0123456789LKxgSDVNMXA\0 ").to_bytes(1, "big"),
            b"%o" % (rng.choice(INTEGERS) % 2**33),
            b"\x80" + (rng.choice(INTEGERS) % 2**64).to_bytes(11, "big"),
            b"\xff" + (rng.choice(INTEGERS) % 2**64).to_bytes(11, "big"),
        )
    )[:size]
    header[field : field + size] = value.ljust(size, b"\0")
    return summed(header)


def long_name(rng: Random) -> bytes:
    """Return a member that holds the name of the next one, or a table about it, as GNU and PAX write long ones."""
    kind = rng.choice((b"L", b"K", b"x", b"g"))
    text = to_bytes(rng.choice((odd_text(rng), "a/" + "n" * 3_000_000, "d/" * 50_000 + "x.png", "a/x.png")))
    if kind in b"xg":
        key = rng.choice(("path", "size", "linkpath", "GNU.sparse.size", "GNU.sparse.map", "GNU.sparse.major", "mtime"))
        value = rng.choice((text, to_bytes(rng.choice(NUMBERS)), b"0,1" * 100_000))
        record = to_bytes(f" {key}=") + value + b"\n"
        size = len(record) + len(str(len(record) + 8))
        text = to_bytes(rng.choice((str(size), str(len(record) + len(str(size))), "0", "-5", "9" * 30))) + record
        text *= rng.choice((1, 1, 100 if len(text) < 10_000 else 1))
    block = bytearray(tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT)[:512])
    block[124:136] = b"%011o\0" % rng.choice((len(text), len(text), 10**9, 8**11 - 1))
    block[156:157] = kind
    return summed(block) + text + bytes(-len(text) % 512)


def empty_members(header: bytearray, rng: Random) -> bytes:
    """Return many members without content, some of the same name."""
    members = []
    for index in range(rng.choice((10, 20_000))):
        empty = bytearray(header)
        empty[0:100] = (b"a/%d.png" if rng.random() < 0.1 else b"a/%d.png" % index).ljust(100, b"\0")
        empty[124:136] = b"00000000000\0"
        members.append(summed(empty))
    return b"".join(members)[:MOST]


def summed(header: bytearray) -> bytes:
    """Return a tar header with the right sum."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def spoil_packed_tar(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a tar within what it is packed by, or put a bomb into it."""
    magic = {b"\x1f\x8b": ".gz", b"BZ": ".bz2", b"\xfd7": ".xz"}.get(content[:2], "")
    pack, unpack = PACKERS[magic]
    if rng.random() < 0.25:
        return blind(content, rng, other)
    plain = unpack(content)
    if rng.random() < 0.12:
        name = rng.choice((b"L", b"K", b"x", b"0", b"0", b"S"))
        block = bytearray(tarfile.TarInfo("a/bomb.png").tobuf(tarfile.GNU_FORMAT)[:512])
        block[124:136], block[156:157] = b"%011o\0" % (BOMB * 10**6), name
        return gz(summed(block)) + gzip_zeros(BOMB) + gz(bytes(-BOMB * 10**6 % 512) + plain)
    return pack(spoil_tar(plain, rng, plain))
