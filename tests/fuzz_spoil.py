"""Ways to spoil a good file: bytes in, bytes out, decided by a `random.Random` and nothing else.

Most checks of a format are sums over its parts, which catch whatever is merely flipped: so besides blind damage there
are ways that take a format apart, spoil one piece, and put it together again with the right sums.

No library does this here: Hypothesis makes values and looks for the smallest one that fails, which is not the same as a
damaged file of a megabyte; fuzzers that follow coverage (atheris, AFL) want every extension module built anew.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import io
import json
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

#: Takes the file, the source of chance, and another good file of the same kind.
Spoiler = Callable[[bytes, Random, bytes], bytes]

#: Names, shapes and lengths stand at the ends of a file; the numbers between them fill it.
EDGE = 6000
#: Nothing that a way of spoiling makes is larger.
MOST = 8_000_000
#: What a bomb unpacks to, in MB: more than the memory that a reader may take.
BOMB = 1500
INTEGERS = (0, 1, -1, 7, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
INTEGERS += (2**62, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = ("0", "-1", "1e999", "-1e999", "nan", "NaN", "Infinity", "-inf", "9" * 5000, "2147483648", "1e-400", "0.5")
NUMBERS += ("18446744073709551616", "1_0", "0x10", "00", "true", "null", "1" + "0" * 400, "-0", "１", "1e6", "1e15", "")
TEXTS = (
    "",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\u202egnp.exe",
    "a\nb",
    "a\r\nb",
    "\x00",
    "\ud800",
    "\x85",
    "\u2028",
)
TEXTS += ("é" * 50, "💥", "../../../etc/passwd", "/dev/zero", "=1+1", "%s%n{0}", "[bold]x[/]", "\x9b31m", "x" * 300)
TEXTS += ("x" * 100_000, "\u200b\u200d", "\ufeff", "0", "nan", "__class__", "\\", '"', "'", "con")
VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 1, 3, 2**31, 2**63, 2**70, 1e308, -1e308, 0.5, float("nan"))
VALUES += (float("inf"), "", [], {}, [[]], [None], {"a": 1}, "x", *TEXTS)


def odd_text(rng: Random) -> str:
    """Return a text that nobody expects."""
    return rng.choice(TEXTS)


def to_bytes(text: str) -> bytes:
    """Return a text as bytes, half characters, too."""
    return text.encode("utf-8", "surrogatepass")


# -- blind damage


def place(content: Sequence[Any], rng: Random) -> int:
    """Return a place in the content, more often near one of its ends."""
    if not content:
        return 0
    edge = min(EDGE, len(content))
    chance = rng.random()
    if chance < 0.5:
        return rng.randrange(edge)
    return len(content) - 1 - rng.randrange(edge) if chance < 0.75 else rng.randrange(len(content))


def length(rng: Random) -> int:
    """Return a length: mostly short."""
    return rng.randint(1, rng.choice((4, 16, 64, 1000, 20_000)))


def flip_bits(content: bytes, rng: Random, other: bytes) -> bytes:
    """Flip one to eight bits."""
    spoilt = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8)) if spoilt else 0):
        spoilt[place(spoilt, rng)] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def overwrite(content: bytes, rng: Random, other: bytes) -> bytes:
    """Overwrite a run of bytes: with zeros, ones, or at random."""
    at, size = place(content, rng), length(rng)
    run = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    return content[:at] + run + content[at + size :]


def cut(content: bytes, rng: Random, other: bytes) -> bytes:
    """Take the end away."""
    return content[: place(content, rng)]


def remove(content: bytes, rng: Random, other: bytes) -> bytes:
    """Take a piece away."""
    at = place(content, rng)
    return content[:at] + content[at + length(rng) :]


def insert(content: bytes, rng: Random, other: bytes) -> bytes:
    """Put bytes between others."""
    at, size = place(content, rng), length(rng)
    return content[:at] + rng.choice((bytes(size), rng.randbytes(size), b"\xff" * size)) + content[at:]


def repeat(content: bytes, rng: Random, other: bytes) -> bytes:
    """Put a piece there once more, or very often."""
    at, size = place(content, rng), length(rng)
    piece = content[at : at + size]
    return content[:at] + piece * min(rng.choice((2, 2, 10, 10_000)), MOST // (size + 1)) + content[at + size :]


def swap(content: bytes, rng: Random, other: bytes) -> bytes:
    """Let two pieces change places."""
    first, second = sorted((place(content, rng), place(content, rng)))
    size = min(length(rng), second - first)
    a, b = content[first : first + size], content[second : second + size]
    return content[:first] + b + content[first + size : second] + a + content[second + size :]


def splice(content: bytes, rng: Random, other: bytes) -> bytes:
    """Go over to another file of the same kind."""
    return content[: place(content, rng)] + other[place(other, rng) :]


def number(content: bytes, rng: Random, other: bytes) -> bytes:
    """Overwrite a place that may be a length or an offset with an integer on the edge of what fits."""
    size = rng.choice((2, 4, 8))
    at = place(content, rng) & ~(size - 1) if rng.random() < 0.5 else place(content, rng)
    value = rng.choice((*INTEGERS, len(content), len(content) + 1, rng.randrange(2**16))) % 256**size
    return content[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + content[at + size :]


BLIND: tuple[Spoiler, ...] = (flip_bits, overwrite, cut, remove, insert, repeat, swap, splice, number, number)


def blind(content: bytes, rng: Random, other: bytes) -> bytes:
    """Damage the content in one to four places."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(BLIND)(content, rng, other)
    return content[:MOST]


def spoil_with(spoil: Spoiler, content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil the content in one way; where that way cannot be gone, as another one came before it, damage it blindly."""
    try:
        return spoil(content, rng, other)
    except (ValueError, LookupError, TypeError, RecursionError, struct.error, zipfile.BadZipFile):
        return blind(content, rng, other)


# -- texts


def odd_number(content: bytes, rng: Random, other: bytes) -> bytes:
    """Replace one number of a text by one that few programs expect."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?", content))
    if not found:
        return content
    match = rng.choice(found)
    return content[: match.start()] + to_bytes(rng.choice(NUMBERS)) + content[match.end() :]


def odd_string(content: bytes, rng: Random, other: bytes) -> bytes:
    """Replace what stands between two quotation marks, or put an odd text somewhere."""
    found = list(re.finditer(rb'"[^"\n]*"', content))
    text = odd_text(rng)
    if found and rng.random() < 0.8:
        match = rng.choice(found)
        quoted = json.dumps(text) if rng.random() < 0.7 else f'"{text}"'
        return content[: match.start()] + to_bytes(quoted) + content[match.end() :]
    at = place(content, rng)
    return content[:at] + to_bytes(text) + content[at:]


def nest(content: bytes, rng: Random, other: bytes) -> bytes:
    """Open brackets and never close them, or close them all."""
    depth = rng.choice((5, 500, 5000, 200_000))
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"{a=", b"}"), (b"(", b")"), (b"a.", b"")))
    middle = b"1" if rng.random() < 0.7 else b""
    at = place(content, rng)
    if rng.random() < 0.5:  # in the place of a value, which is where a bracket may stand
        found = list(re.finditer(rb'(?<=[=:,] )("[^"\n]*"|[\w.-]+)', content))
        if found:
            match = rng.choice(found)
            return content[: match.start()] + opened * depth + middle + closed * depth + content[match.end() :]
    return content[:at] + opened * depth + middle + closed * rng.choice((0, depth)) + content[at:]


def lines(content: bytes, rng: Random, other: bytes) -> bytes:
    """Drop, repeat or exchange lines."""
    rows = content.splitlines(keepends=True)
    if not rows:
        return content
    at, to = rng.randrange(len(rows)), rng.randrange(len(rows))
    times = rng.choice((0, 0, 2, 1000))
    if times * len(rows[at]) > MOST:
        times = 2
    if rng.random() < 0.4:
        rows[at], rows[to] = rows[to], rows[at]
    else:
        rows[at : at + 1] = [rows[at]] * times
    return b"".join(rows)


TEXT: tuple[Spoiler, ...] = (odd_number, odd_number, odd_string, odd_string, nest, lines, blind)


def spoil_text(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a text that people could have written."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = rng.choice(TEXT)(content, rng, other)
    return content[:MOST]


def spoil_value(tree: Any, rng: Random) -> Any:
    """Return a tree of plain data in which one node is another one, gone, or there often."""
    if isinstance(tree, dict | list) and tree and rng.random() < 0.85:
        copy: Any = tree.copy()
        key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
        chance = rng.random()
        if chance < 0.08:
            del copy[key]
        elif chance < 0.14 and isinstance(copy, dict):
            copy[odd_text(rng)] = copy.pop(key)
        elif chance < 0.14:
            copy[key : key + 1] = [copy[key]] * rng.choice((2, 50))
        else:
            copy[key] = spoil_value(copy[key], rng)
        return copy
    chance = rng.random()
    if isinstance(tree, str) and chance < 0.4:
        return to_bytes(rng.choice((odd_text(rng), tree + odd_text(rng), tree * 3))).decode("utf-8", "surrogatepass")
    if isinstance(tree, int | float) and chance < 0.4:
        return rng.choice((-tree, tree + 1, tree * 1000, *INTEGERS))
    return rng.choice(VALUES)


def dump_json(tree: Any, rng: Random) -> bytes:
    """Return a tree as JSON, sometimes with a value so deep that no program walks down to it."""
    text = json.dumps(tree)
    if rng.random() < 0.06:
        depth = rng.choice((900, 5000, 100_000))
        opened, closed = rng.choice((("[", "]"), ('{"a":', "}")))
        tokens = list(re.finditer(r'(?<=[:,] )("[^"\\]{0,80}"|-?[\d.]+)(?=[,}\]])', text))
        if tokens:
            token = rng.choice(tokens)
            text = text[: token.start()] + opened * depth + "1" + closed * depth + text[token.end() :]
    return to_bytes(text)


def spoil_json(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil values of a JSON text, which mostly stays one."""
    if rng.random() < 0.2:
        return spoil_text(content, rng, other)
    try:
        tree = json.loads(content)
    except ValueError:
        return spoil_text(content, rng, other)
    for _ in range(rng.choice((1, 1, 2, 5))):
        tree = spoil_value(tree, rng)
    return dump_json(tree, rng)


# -- what is packed


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


def spoil_tar(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil one header of a plain tar and give it the right sum, or put a hostile one before it."""
    starts, at = [], 0
    with contextlib.suppress(ValueError):
        while at + 512 <= len(content) and content[at : at + 1] != b"\0":
            starts.append(at)
            at += 512 + -(-int(content[at + 124 : at + 135].strip(b"\0 ") or b"0", 8) // 512) * 512
    if not starts:
        return blind(content, rng, other)
    at = rng.choice(starts)
    header = bytearray(content[at : at + 512])
    chance = rng.random()
    if chance < 0.5:
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
        return content[:at] + summed(header) + content[at + 512 :]
    if chance < 0.75:  # a name of its own member, as GNU and PAX write long ones
        kind = rng.choice((b"L", b"K", b"x", b"g"))
        text = to_bytes(rng.choice((odd_text(rng), "a/" + "n" * 3_000_000, "d/" * 50_000 + "x.png", "a/x.png")))
        if kind in b"xg":
            key = rng.choice(
                ("path", "size", "linkpath", "GNU.sparse.size", "GNU.sparse.map", "GNU.sparse.major", "mtime")
            )
            value = rng.choice((text, to_bytes(rng.choice(NUMBERS)), b"0,1" * 100_000))
            record = to_bytes(f" {key}=") + value + b"\n"
            size = len(record) + len(str(len(record) + 8))
            text = to_bytes(rng.choice((str(size), str(len(record) + len(str(size))), "0", "-5", "9" * 30))) + record
            text *= rng.choice((1, 1, 100 if len(text) < 10_000 else 1))
        block = bytearray(tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT)[:512])
        block[124:136] = b"%011o\0" % rng.choice((len(text), len(text), 10**9, 8**11 - 1))
        block[156:157] = kind
        return content[:at] + summed(block) + text + bytes(-len(text) % 512) + content[at:]
    if chance < 0.85:  # members without content
        members = []
        for index in range(rng.choice((10, 20_000))):
            empty = bytearray(header)
            empty[0:100] = (
                b"a/%d.png".ljust(100, b"\0") if rng.random() < 0.1 else (b"a/%d.png" % index).ljust(100, b"\0")
            )
            empty[124:136] = b"00000000000\0"
            members.append(summed(empty))
        return content[:at] + b"".join(members)[:MOST] + content[at:]
    return blind(content, rng, other)


def summed(header: bytearray) -> bytes:
    """Return a tar header with the right sum."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def gz(content: bytes) -> bytes:
    """Return the content packed by gzip, the same bytes each time."""
    return gzip.compress(content, 1, mtime=0)


PACKERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "": (bytes, bytes),
    ".gz": (gz, gzip.decompress),
    ".bz2": (functools.partial(bz2.compress, compresslevel=1), bz2.decompress),
    ".xz": (functools.partial(lzma.compress, preset=0), lzma.decompress),
}


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


# -- pictures


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG with its CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG."""
    found, at = [], 8
    while at + 12 <= len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def spoil_png(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a chunk of a PNG and give it the right CRC, or add a hostile one."""
    parts = chunks(content)
    if not parts:
        return blind(content, rng, other)
    at = rng.randrange(len(parts))
    kind, data = parts[at]
    chance = rng.random()
    if chance < 0.3:
        parts[at] = (kind, blind(data, rng, rng.choice(parts)[1]))
    elif chance < 0.5:  # size, depth, colour, interlacing
        head = bytearray(parts[0][1])
        place_, size = rng.choice(((0, 4), (4, 4), (8, 1), (9, 1), (10, 1), (11, 1), (12, 1)))
        values = (*INTEGERS, 3, 4, 6, 16, 9999, 20_000)
        head[place_ : place_ + size] = (rng.choice(values) % 256**size).to_bytes(size, "big")
        parts[0] = (parts[0][0], bytes(head))
    elif chance < 0.56:
        parts += [parts[at]] * rng.choice((1, 2000))
    elif chance < 0.62:
        del parts[at]
    elif chance < 0.72:  # pixels that are not those of the head
        pixels = b"".join(what for name, what in parts if name == b"IDAT")
        with contextlib.suppress(zlib.error):
            spoilt = zlib.compress(blind(zlib.decompress(pixels), rng, data))
            parts = [part for part in parts if part[0] != b"IDAT"]
            parts.insert(1, (b"IDAT", spoilt))
    elif chance < 0.9:
        parts.insert(1, hostile_chunk(rng))
    else:  # gigabytes of pixels
        side = rng.choice((9_000, 10_000, 30_000, 60_000))
        depth, colour = rng.choice(((16, 0), (16, 6), (8, 2), (1, 0), (8, 3)))
        head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, rng.choice((0, 1)))
        palette = [(b"PLTE", bytes(768))] if colour == 3 else []
        parts = [(b"IHDR", head), *palette, (b"IDAT", zlib_zeros(BOMB)), (b"IEND", b"")]
    return content[:8] + b"".join(chunk(*part) for part in parts)


def hostile_chunk(rng: Random) -> tuple[bytes, bytes]:
    """Return a chunk that a PNG may have and that readers have stumbled over."""
    text = to_bytes(odd_text(rng))[:3000]
    return rng.choice(
        (
            (b"zTXt", b"k\0\0" + zlib_zeros(BOMB)),
            (b"iTXt", b"k\0\x01\0\0\0" + zlib_zeros(BOMB)),
            (b"iCCP", b"k\0\0" + zlib_zeros(BOMB)),
            (b"iCCP", b"k\0\0" + zlib.compress(rng.randbytes(500))),
            (b"tEXt", text + b"\0" + text),
            (b"eXIf", exif(rng)),
            (b"tRNS", rng.randbytes(rng.choice((0, 1, 2, 6, 300)))),
            (b"PLTE", rng.randbytes(rng.choice((0, 1, 3, 768, 3000)))),
            (b"acTL", struct.pack(">II", rng.choice(INTEGERS) % 2**32, rng.choice(INTEGERS) % 2**32)),
            (b"fcTL", rng.randbytes(26)),
            (b"fdAT", rng.randbytes(30)),
            (b"gAMA", rng.randbytes(4)),
            (b"pHYs", rng.randbytes(9)),
            (b"sRGB", rng.randbytes(rng.choice((0, 1)))),
        )
    )


def exif(rng: Random) -> bytes:
    """Return the part of a picture that says how the camera was held, with an odd value."""
    order = rng.choice("<>")
    kind, count = rng.choice((1, 2, 3, 4, 5, 7, 9, 12, 0, 99)), rng.choice((1, 1, 0, 2, 2**31, 2**32 - 1))
    entry = struct.pack(
        f"{order}HHII", rng.choice((274, 274, 34665, 37500, 700)), kind, count, rng.choice((1, 6, 9, 26, 0))
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    entries = rng.choice((1, 1, 0, 5, 65535))
    return (
        head
        + struct.pack(f"{order}H", entries)
        + entry * min(entries, 100)
        + struct.pack(f"{order}I", rng.choice((0, 8)))
    )


def segments(content: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the segments of a JPEG before its first scan, and the rest."""
    found, at = [], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        (size,) = struct.unpack(">H", content[at + 2 : at + 4])
        found.append((content[at + 1], content[at + 4 : at + 2 + size]))
        at += 2 + size
    return found, content[at:]


def spoil_jpeg(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a segment of a JPEG and give it the right length, add one, or let its scans come again and again."""
    parts, rest = segments(content)
    if not parts:
        return blind(content, rng, other)
    at = rng.randrange(len(parts))
    chance = rng.random()
    if chance < 0.4:
        parts[at] = (parts[at][0], blind(parts[at][1], rng, other)[:65_000])
    elif chance < 0.5:  # the frame: precision, height, width, components
        frames = [n for n, (mark, _) in enumerate(parts) if 0xC0 <= mark <= 0xC2]
        for n in frames:
            data = bytearray(parts[n][1])
            data[1:5] = struct.pack(">HH", rng.choice((0, 1, 8, 30_000, 65_535)), rng.choice((0, 1, 8, 30_000, 65_500)))
            parts[n] = (rng.choice((parts[n][0], 0xC0, 0xC2, 0xC1, 0xC3, 0xC9)), bytes(data))
    elif chance < 0.6:
        parts.insert(at, (0xE1, b"Exif\0\0" + exif(rng)))
    elif chance < 0.7:
        mark, head = rng.choice(
            ((0xE2, b"ICC_PROFILE\0\x01\x01"), (0xE2, b"MPF\0"), (0xED, b"Photoshop 3.0\0"), (0xEE, b"Adobe"))
        )
        parts.insert(at, (mark, head + rng.choice((exif(rng), rng.randbytes(rng.choice((0, 7, 200)))))))
    elif chance < 0.8:
        parts += [parts[at]] * rng.choice((1, 500))
    elif chance < 0.85:
        del parts[at]
    else:
        rest = rest.removesuffix(b"\xff\xd9") * rng.choice((2, 300, 3000)) + b"\xff\xd9"
    head = b"".join(bytes((0xFF, mark)) + struct.pack(">H", len(data) + 2) + data for mark, data in parts)
    return (content[:2] + head + rest)[:MOST]


# -- pickles

#: Pieces of a pickle that build something, or make a reader do so, and leave the stack as it was.
PICKLE_PIECES = (
    b"c__builtin__\nbytearray\n\x8a\x05\x00\xe4\x0bT\x02\x85R0",  # 10**10 bytes
    b"cbuiltins\nbytearray\nJ\x00\x94\x35\x77\x85R0",
    b"cposix\nsystem\nX\x04\x00\x00\x00true\x85R0",
    b"cbuiltins\neval\nX\x01\x00\x00\x001\x85R0",
    b"ccollections\nOrderedDict\n)R0" * 20_000,
    b"ccollections\nCounter\n)R0",
    b"ctorch\nSize\n(K\x01K\x02tR0",
    b"ctorch\nload\nX\x01\x00\x00\x00x\x85R0",
    b"ctorch.serialization\n_get_layout\nX\x03\x00\x00\x00abc\x85R0",
    b"ctorch._utils\n_rebuild_parameter\n(N\x88NtR0",
    b"ctorch._tensor\n_rebuild_from_type_v2\n(NNNNtR0",
    b"ctorch\nfloat32\n0",
    b"ctorch.storage\nUntypedStorage\nJ\x00\x94\x35\x77\x85R0",
    b"ctorch\nFloatStorage\nJ\x00\x94\x35\x77\x85R0",
    b"cnumpy\nndarray\n)R0",
    b"cnumpy.core.multiarray\n_reconstruct\n)R0",
    b"(" * 200_000 + b"1" * 200_000,
    b"]" * 300 + b"0" * 300,
    b"K\x01r\xff\xff\xff\xff0",
    b"K\x01r\xff\xff\xff\x0f0",
    b"X\xff\xff\xff\x7f",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8e\xff\xff\xff\xff\x00\x00\x00\x00",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b"h\xff",
    b"j\xff\xff\xff\xff",
    b"K\x01Q0",
    b"X\x01\x00\x00\x00xQ0",
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\x00\x94\x35\x77tQ0",
    b"2" * 1000 + b"0" * 1000,
    b"\x80\xff",
    b"\x82\x01",
    b"I" + b"9" * 100_000 + b"\n0",
    b"L" + b"9" * 5000 + b"L\n0",
    b"F1e999\n0",
    b"S'" + b"x" * 10 + b"'\n0",
    b"}K\x01K\x02s0",
    b"N}bN0",
)


def spoil_pickle(content: bytes, rng: Random, other: bytes) -> bytes:
    """Put a hostile piece into a pickle, where its opcodes begin or before it stops, or damage it."""
    if rng.random() < 0.5 or content[:1] != b"\x80":
        return blind(content, rng, other)
    piece = rng.choice(PICKLE_PIECES)
    stop = content.rfind(b".")
    at = 2 if rng.random() < 0.7 or stop < 0 else stop
    return content[:at] + piece + content[at:]
