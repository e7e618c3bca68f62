"""What the pixels of a JPEG or PNG file need, and nothing else of it: this is all that a decoder gets to see.

Whatever else is in such a file (texts, colour profiles, thumbnails, further pictures, the camera's notes) has been used
to fill the memory or to keep the processor busy. Of all that only the orientation of the camera is read, here.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

#: More pixels than this in one picture are refused: a small file can decode to gigabytes.
MOST_PIXELS = 100_000_000
#: In bytes: the file, what is kept of it, and all that decoding holds at a time.
MOST_DECODED = 650_000_000
#: A scan goes over all pixels. A picture that gets sharper as it loads has about ten.
MOST_SCANS, MOST_SCANNED = 100, 2_000_000_000
#: Parts of a file. Large PNG files have one for every 8 kB.
MOST_PARTS = 200_000
TOO_MANY_PARTS = f"it has more than {MOST_PARTS:,} parts; no picture has"
MOST_TEXT = 1_000_000
ORIENTATION = 0x0112
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')

#: How other files begin that people take for pictures.
OTHER_KINDS = (
    (rb"GIF8", "a GIF picture"),
    (rb"RIFF....WEBP", "a WebP picture"),
    (rb"BM", "a BMP picture"),
    (rb"II[*+]\0|MM\0[*+]", "a TIFF picture"),
    (rb"....ftyp", "a HEIC or AVIF picture, or a film"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL picture"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file"),
    (rb"%PDF", "a PDF file"),
    (rb"8BPS", "a Photoshop file"),
    (rb"SIMPLE  =", "a FITS file"),
    (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile"),
    (rb"icns|\0\0[\1\2]\0", "an icon"),
    (rb"(?i)\s*<(?:svg|\?xml)", "an SVG drawing or another XML file"),
    (rb"(?i)\s*<(?:!doctype|html|head)", "a web page"),
)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The format, what a decoder needs of the file, the size that it says, and how the camera was held (1 to 8)."""

    kind: str
    content: bytes
    width: int
    height: int
    orientation: int


def take_apart(content: bytes) -> Parts:
    """Return the parts of a JPEG or PNG file. Raises `ValueError` for other files and for what costs too much."""
    if content.startswith(b"\xff\xd8\xff"):
        return _jpeg(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(content)
    if not content:
        raise ValueError("the file is empty")
    for start, name in OTHER_KINDS:
        if re.match(start, content[:64], re.DOTALL):
            raise ValueError(
                f"it is {name}, whatever its name says; only JPEG and PNG are read: save it as one of them"
            )
    raise ValueError("it is neither a JPEG nor a PNG picture")


def _check_cost(width: int, height: int, needed: int, content: bytes) -> None:
    if not width or not height:
        raise ValueError("it has no pixels")
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels are too many; at most {MOST_PIXELS:,} are read")
    if needed + 2 * len(content) > MOST_DECODED:
        raise ValueError(
            f"decoding its {width} x {height} pixels takes {(needed + 2 * len(content)) / 1e6:,.0f} MB of memory, too "
            "much; make it smaller"
        )


# -- PNG

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png(content: bytes) -> Parts:
    if len(content) < 33 or content[12:16] != b"IHDR":
        raise ValueError("it is damaged or only half there")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    bits = CHANNELS.get(colour, 4) * depth
    in_memory = {(0, 16): 2}.get((colour, depth), 1 if colour in (0, 3) else 4)
    # A decoded picture has an address for every row; while it is decoded two rows as the file has them are held.
    _check_cost(width, height, height * (8 + width * in_memory) + width * bits // 4, content)
    view = memoryview(content)
    kept, place, count = [view[:8]], 8, 0
    exif, raw_exif, xmp = b"", b"", b""
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        start, end = place + 8, place + 12 + length
        count += 1
        if count > MOST_PARTS:
            raise ValueError(TOO_MANY_PARTS)
        if kind[0:1].isupper() or kind == b"tRNS":
            kept.append(view[place:end])
        elif kind == b"eXIf":
            exif = content[start : min(start + length, start + MOST_TEXT)]
        elif kind in (b"iTXt", b"zTXt", b"tEXt") and length <= MOST_TEXT:
            name, _, text = content[start : start + length].partition(b"\0")
            if name == b"XML:com.adobe.xmp":
                xmp = text
            elif name == b"Raw profile type exif":
                raw_exif = text if kind == b"tEXt" else _inflated(text[1:])
        if kind == b"IEND":
            break
        place = end
    return Parts(
        kind="PNG",
        content=b"".join(kept),
        width=width,
        height=height,
        orientation=_orientation(exif or _unhexed(raw_exif), xmp),
    )


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, MOST_TEXT)
    except zlib.error:
        return b""


def _unhexed(text: bytes) -> bytes:
    """Return what ImageMagick writes as three lines and hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


# -- JPEG

#: A marker; within the data of a scan FF 00 stands for FF, and D0 to D7 are marks to go on from.
MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
START, END, SCAN, ALONE = 0xD8, 0xD9, 0xDA, 0x01
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Frames of which a scan is decoded row by row; of the others the whole picture is held until the last scan.
BY_ROWS = (0xC0, 0xC1)
APPS = range(0xE0, 0xF0)
#: Those that say which colours the numbers are.
COLOURS = {0xE0: b"JFIF", 0xEE: b"Adobe"}
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def _jpeg(content: bytes) -> Parts:
    view = memoryview(content)
    kept, place, count, scans = [view[:2]], 2, 0, 0
    frame, in_first, exif, xmp = b"", b"", b"", b""
    scan_at, end_at = 0, len(content)
    while found := MARKER.search(content, place):
        start = found.end()
        marker = content[start - 1]
        if marker == END:
            end_at = start
            break
        if marker in (START, ALONE):
            place = start
            continue
        place = start + max(2, int.from_bytes(content[start : start + 2], "big"))
        count += 1
        if count > MOST_PARTS:
            raise ValueError(TOO_MANY_PARTS)
        if marker == SCAN:
            scans += 1
            if scans == 1:
                scan_at, in_first = found.start(), content[start + 2 : start + 3]
        elif scans:  # tables between scans
            continue
        elif marker < APPS[0] or (marker in COLOURS and content.startswith(COLOURS[marker], start + 2)):
            kept.append(view[start - 2 : place])
            if marker in FRAMES:
                if frame:
                    raise ValueError("it has two sizes")
                frame = bytes([marker]) + content[start + 2 : place]
        elif marker == APPS[1]:
            segment = content[start + 2 : place]
            if segment.startswith(EXIF):
                exif = exif or segment
            elif segment.startswith(XMP):
                xmp = segment
    if not scans or len(frame) < 7:
        raise ValueError("it is damaged or only half there")
    height, width = struct.unpack_from(">HH", frame, 2)
    _check_cost(width, height, _needed(frame, in_first), content)
    if scans > MOST_SCANS or scans * width * height > MOST_SCANNED:
        raise ValueError(f"its {width} x {height} pixels are told in {scans:,} steps; no picture needs so many")
    kept.append(view[scan_at:end_at])
    joined = b"".join(kept)
    return Parts(kind="JPEG", content=joined, width=width, height=height, orientation=_orientation(exif, xmp))


def _needed(frame: bytes, in_first: bytes) -> int:
    """Return how many bytes decoding holds at a time: the picture, and all its coefficients if there are more scans."""
    height, width, channels = struct.unpack_from(">HHB", frame, 2)
    picture: int = height * (8 + width * (1 if channels == 1 else 4))
    if frame[0] in BY_ROWS and in_first == frame[6:7]:
        return picture
    shares = [(each >> 4) * (each & 15) for each in frame[8 : 7 + 3 * channels : 3]]
    coefficients: int = 2 * width * height * sum(shares) // max([1, *shares])
    return picture + coefficients


# -- orientation


def _orientation(exif: bytes, xmp: bytes) -> int:
    found = _exif_orientation(exif) if exif else None
    if found is None and xmp and (match := XMP_ORIENTATION.search(xmp)):
        found = int(match[1])
    return found if found is not None and 1 <= found <= 8 else 1


def _exif_orientation(exif: bytes) -> int | None:
    exif = exif.removeprefix(EXIF)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    found: int | None = None
    if order is None:
        return None
    try:
        (place,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, place)
        for entry in range(place + 2, place + 2 + 12 * entries, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == ORIENTATION and kind in (3, 4) and values == 1:
                (found,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", exif, entry + 8)
    except struct.error:  # damaged; a picture is not worse for it
        return found
    return found
