"""Pictures of all kinds, and ways to spoil a chunk of a PNG or a segment of a JPEG."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from random import Random
from typing import Any

import numpy as np

from tests.campaigns.fuzz.formats.damage import BOMB, INTEGERS, MOST, blind, odd_text, to_bytes
from tests.campaigns.fuzz.formats.packed import zlib_zeros


def picture(kind: str, number: int = 0, **options: Any) -> bytes:
    """Return a small picture of another mode each time, as Pillow writes it."""
    from PIL import Image

    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (12, 16, 4), np.uint8)
    modes = {"L": 0, "RGB": (0, 1, 2), "RGBA": (0, 1, 2, 3), "LA": (0, 3)}
    mode = options.pop("mode", "RGB")
    if mode in modes:
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, modes[mode]]), mode if mode != "LA" else "LA")
    elif mode == "I;16":
        image = Image.fromarray(pixels[:, :, :2].copy().view(np.uint16)[:, :, 0])
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, :3])).convert(mode)
    whole = io.BytesIO()
    image.save(whole, kind, **options)
    return whole.getvalue()


def interlaced() -> bytes:
    """Return a grey PNG of 8 x 8 pixels that is sent in seven passes, which Pillow reads and does not write."""
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))  # pixels in a row, rows
    rows = b"".join((b"\0" + bytes(range(width))) * height for width, height in passes)
    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pngs() -> list[bytes]:
    """Return PNG files of all modes."""
    modes = ("L", "RGB", "RGBA", "LA", "P", "1", "I;16")
    return [*(picture("PNG", number, mode=mode) for number, mode in enumerate(modes)), interlaced()]


def jpegs() -> list[bytes]:
    """Return JPEG files: grey, coloured, in scans, of four inks, of several pictures, with a camera's data."""
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    second = Image.new("RGB", (8, 8))
    return [
        picture("JPEG"),
        picture("JPEG", 1, mode="L"),
        picture("JPEG", 2, progressive=True),
        picture("JPEG", 3, mode="CMYK"),
        picture("JPEG", 4, exif=exif),
        picture("MPO", 5, save_all=True, append_images=[second]),
    ]


def strangers() -> list[bytes]:
    """Return pictures of other formats, which come under the name of a PNG."""
    found = []
    for number, kind in enumerate(
        ("BMP", "GIF", "TIFF", "PPM", "ICO", "TGA", "PCX", "WEBP", "EPS", "SGI", "JPEG2000", "PDF")
    ):
        with contextlib.suppress(KeyError, OSError):  # Pillow was built without it
            options = {"creationDate": "D:20261127", "modDate": "D:20261127"} if kind == "PDF" else {}
            found.append(picture(kind, number, **options))
    return found


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
