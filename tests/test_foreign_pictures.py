"""Pictures, archives, folders and data sets of somebody who means no good: bounded, named, and never waited for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import struct
import subprocess
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.base.budget import Budget
from shared.base.errors import InputError
from shared.data import archives, cifar10, download, fashion_mnist, listing, picture_parts, pictures
from shared.data.archives import list_archive
from shared.data.download import Download, fetch
from shared.data.fashion_mnist import read_idx
from shared.data.load import load_data
from shared.data.pictures import decode, find_pictures, open_picture, read_picture, to_square
from shared.twins.prediction import picture_paths

unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")


@pytest.fixture
def image() -> Any:
    return pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, extra: bytes = b"", after: bytes = b"") -> bytes:
    """A black PNG. Colours: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    row = bytes(1 + (width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth + 7) // 8)
    packer, rows = zlib.compressobj(9), max(1, 2**20 // len(row))
    parts = [packer.compress(row * min(rows, height - start)) for start in range(0, height, rows)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", b"".join([*parts, packer.flush()]))
    return b"\x89PNG\r\n\x1a\n" + head + extra + pixels + after + chunk(b"IEND", b"")


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


SMALL = png(8, 8, 8, 0)
PALETTE = chunk(b"PLTE", bytes(range(256)) * 3)


def saved(picture: Any, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def quickly(seconds: float = 20.0) -> Any:
    """Fail if what is inside takes longer: on any computer it takes a small part of this."""

    class Watch:
        def __enter__(self) -> None:
            self.started = time.monotonic()

        def __exit__(self, *_: object) -> None:
            assert time.monotonic() - self.started < seconds

    return Watch()


# -- honest pictures come out as they always did


def as_before(content: bytes, channels: int, size: int) -> np.ndarray:
    """How pictures were read when the whole of them was converted at once."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        turned = ImageOps.exif_transpose(picture)
        if turned.mode in ("I;16", "I", "I;16B", "I;16L"):
            turned = Image.fromarray((np.asarray(turned) / 257).clip(0, 255).round().astype(np.uint8))
        if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
            turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned.convert("RGBA"))
        turned = turned.convert({1: "L", 3: "RGB"}[channels])
    side = min(turned.size)
    left, top = (turned.width - side) // 2, (turned.height - side) // 2
    return np.asarray(turned.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR))


def pictures_of_every_kind() -> Iterator[tuple[str, bytes]]:
    from PIL import Image

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (37, 50, 4), np.uint8)
    base = Image.frombytes("RGBA", (50, 37), noise.tobytes())
    rgb, grey = base.convert("RGB"), base.convert("L")
    deep = Image.fromarray(rng.integers(0, 65536, (37, 50), np.uint16))
    palette = rgb.quantize(64)
    yield "PNG RGBA", saved(base, "PNG")
    yield "PNG LA", saved(base.convert("LA"), "PNG")
    yield "PNG RGB", saved(rgb, "PNG")
    yield "PNG RGB, one colour see-through", saved(rgb, "PNG", transparency=rgb.getpixel((3, 3)))
    yield "PNG L", saved(grey, "PNG")
    yield "PNG L, one grey see-through", saved(grey, "PNG", transparency=grey.getpixel((3, 3)))
    yield "PNG 1", saved(grey.convert("1"), "PNG")
    yield "PNG P", saved(palette, "PNG")
    yield "PNG P, one colour see-through", saved(palette, "PNG", transparency=5)
    yield "PNG P, alpha for each colour", saved(palette, "PNG", transparency=bytes(range(64)))
    yield "PNG I;16", saved(deep, "PNG")
    yield "JPEG RGB", saved(rgb, "JPEG")
    yield "JPEG L", saved(grey, "JPEG")
    yield "JPEG CMYK", saved(rgb.convert("CMYK"), "JPEG")
    yield "JPEG progressive", saved(rgb, "JPEG", progressive=True)
    yield "JPEG with restart marks", saved(rgb, "JPEG", restart_marker_blocks=1)
    yield "JPEG with texts", saved(rgb, "JPEG", comment=b"hello", icc_profile=bytes(200_000), dpi=(300, 300))
    yield "JPEG RGB kept as RGB", saved(rgb, "JPEG", keep_rgb=True)
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"JPEG held so: {orientation}", saved(rgb, "JPEG", exif=exif)
        yield f"PNG held so: {orientation}", saved(base, "PNG", exif=exif)
        yield f"16 bits held so: {orientation}", saved(deep, "PNG", exif=exif)
        raw = exif.tobytes().hex().encode()
        text = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n%b\n" % (len(raw) // 2, raw)))
        good = saved(rgb, "PNG")
        yield f"PNG by ImageMagick held so: {orientation}", good[:33] + text + good[33:]
        xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation
        yield f"JPEG with XMP: {orientation}", saved(rgb, "JPEG", xmp=xmp)
        told = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        yield f"PNG with XMP: {orientation}", good[:33] + told + good[33:]


@pytest.mark.parametrize("band", [pictures.BAND, 200], ids=["at once", "in bands of rows"])
@pytest.mark.parametrize("channels", [1, 3])
def test_honest_pictures_of_every_kind_give_the_same_bytes_as_before(image, monkeypatch, band, channels):
    monkeypatch.setattr(pictures, "BAND", band)
    count = 0
    for name, content in pictures_of_every_kind():
        for size in (8, 37, 64):
            square = np.asarray(to_square(open_picture(content, channels), size))
            assert np.array_equal(square, as_before(content, channels, size)), (name, size)
            count += 1
    assert count > 200


def test_a_pillow_image_too_is_cut_in_bands_to_the_same_bytes(image, monkeypatch):
    noise = image.frombytes("RGB", (90, 70), np.random.default_rng(0).bytes(90 * 70 * 3))
    whole = np.asarray(to_square(noise, 24))
    monkeypatch.setattr(pictures, "BAND", 300)
    assert np.array_equal(np.asarray(to_square(noise, 24)), whole)
    assert to_square(noise.crop((0, 0, 24, 24)), 24).size == (24, 24)


def test_what_phones_write_is_read(image):
    """A second picture in the same file makes it an MPO, a film behind it a motion photo; an APNG begins with one."""
    one, other = image.new("RGB", (64, 48), (9, 200, 30)), image.new("RGB", (64, 48), "red")
    both = saved(one, "MPO", save_all=True, append_images=[other])
    assert image.open(io.BytesIO(both)).format == "MPO"
    film = saved(one, "JPEG") + np.random.default_rng(0).bytes(2_000_000)
    moving = saved(one, "PNG", save_all=True, append_images=[other])
    for content in (both, film, moving):
        square = np.asarray(to_square(open_picture(content, 3), 4))
        assert np.abs(square.astype(int) - (9, 200, 30)).max() <= 2


# -- decoders that we chose


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript file"),
        (b"\xc5\xd0\xd3\xc6" + bytes(60), "a PostScript file"),
        (b"GIF89a", "a GIF picture"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture"),
        (b"BM", "a BMP picture"),
        (b"II*\0", "a TIFF picture"),
        (b"MM\0*", "a TIFF picture"),
        (b"II+\0\x08", "a TIFF picture"),
        (b"\0\0\0\x18ftypheic", "a HEIC or AVIF picture"),
        (b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 picture"),
        (b"%PDF-1.7", "a PDF file"),
        (b"8BPS", "a Photoshop file"),
        (b"SIMPLE  =     T", "a FITS file"),
        (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
        (b"icns", "an icon"),
        (b"\0\0\1\0", "an icon"),
        (b"  <svg xmlns='x'>", "an SVG drawing"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"P6 8 8 255\n", "neither a JPEG nor a PNG"),
        (b"#define x_width 8\n", "neither a JPEG nor a PNG"),
        (b"\x89PNX", "neither a JPEG nor a PNG"),
        (b"", "is empty"),
    ],
)
def test_other_kinds_of_files_are_named_and_no_decoder_sees_them(image, monkeypatch, start, words):
    monkeypatch.setattr(image, "open", lambda *_, **__: pytest.fail("a decoder was asked"))
    with pytest.raises(ValueError, match=words) as caught:
        open_picture(start + bytes(100 if start else 0), 3)
    assert "only JPEG and PNG" in str(caught.value) or "neither" in words or "empty" in words


def test_decoders_are_told_which_formats_they_may_take(image, monkeypatch):
    asked = []
    before = image.open
    monkeypatch.setattr(image, "open", lambda file, formats=None: asked.append(formats) or before(file, "r", formats))
    open_picture(SMALL, 3)
    open_picture(saved(image.new("RGB", (8, 8)), "JPEG"), 3)
    assert asked == [("PNG",), ("JPEG",)]


def test_nothing_but_what_the_pixels_need_reaches_a_decoder(image):
    texts = chunk(b"tEXt", b"a\0secret") + chunk(b"iCCP", b"a\0\0secret") + chunk(b"eXIf", b"secret")
    frames = chunk(b"acTL", struct.pack(">II", 10**6, 0)) + chunk(b"abCd", b"secret")
    kept = picture_parts.take_apart(png(8, 8, 8, 3, PALETTE + texts + frames, chunk(b"fdAT", b"secret")) + b"secret")
    assert b"secret" not in kept.content
    assert b"PLTE" in kept.content
    good = saved(image.new("RGB", (8, 8)), "JPEG")
    notes = segment(0xE1, b"Exif\0\0secret") + segment(0xE2, b"MPF\0secret") + segment(0xFE, b"secret")
    kept = picture_parts.take_apart(good[:2] + notes + segment(0xED, b"secret") + good[2:] + b"secret")
    assert b"secret" not in kept.content
    assert kept.content == good


# -- pictures that cost too much


def exif_bomb(entries: int, size: int) -> bytes:
    """Camera notes in which every entry says that the same bytes are its own."""
    table = b"".join(struct.pack(">HHII", number, 7, size, 8) for number in range(1000, 1000 + entries))
    return b"MM\0*" + struct.pack(">IH", 8, entries) + table + bytes(4 + size)


def scans(image: Any, count: int) -> bytes:
    good = saved(image.new("L", (64, 64), 7), "JPEG", progressive=True)
    last = good.rindex(b"\xff\xda")
    return good[:last] + good[last:-2] * count + good[-2:]


def sized(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG that only says that it has this size."""
    return SMALL[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + SMALL[33:]


def in_many_frames(image: Any) -> bytes:
    good = saved(image.new("RGB", (8, 8)), "JPEG")
    frame = good.index(b"\xff\xc0")
    return good[:frame] + good[frame : frame + 19].replace(b"\0\x08\0\x08", b"\xff\xff\xff\xff") + good[frame:]


TOO_MUCH: list[tuple[str, Callable[[Any], bytes], str]] = [
    ("a billion pixels", lambda _: sized(40_000, 40_000), "too many"),
    ("no width", lambda _: png(0, 8, 8, 0), "no pixels"),
    ("no height", lambda _: png(8, 0, 8, 0), "no pixels"),
    ("one column", lambda _: sized(1, 10**8), "takes 900 MB of memory"),
    ("one row of 64 bits a pixel", lambda _: sized(6 * 10**7, 1, 16, 6), "MB of memory"),
    ("parts without end", lambda _: png(8, 8, 8, 0, chunk(b"abCd", b"") * 210_000), "more than 200,000 parts"),
    ("two sizes in a PNG", lambda _: SMALL[:33] + png(9, 9, 8, 0)[8:33] + SMALL[33:], "two sizes"),
    ("two sizes in a JPEG", in_many_frames, "two sizes"),
    ("a thousand steps", lambda image: scans(image, 1000), "told in 1,0.. steps"),
    ("comments without end", lambda _: b"\xff\xd8" + segment(0xFE, b"") * 210_000, "more than 200,000 parts"),
    ("no picture in it", lambda _: b"\xff\xd8" + segment(0xFE, b"x"), "damaged or only half there"),
    ("a cut header", lambda _: SMALL[:20], "damaged or only half there"),
    ("a cut PNG", lambda _: png(64, 64, 8, 2)[:60], "."),
    ("a cut JPEG", lambda image: saved(image.new("RGB", (640, 640)), "JPEG")[:3000], "truncated"),
]


@pytest.mark.parametrize(("what", "make", "words"), TOO_MUCH, ids=[case[0] for case in TOO_MUCH])
def test_a_picture_that_costs_too_much_is_refused_before_it_is_decoded(image, what, make, words):
    content = make(image)
    with quickly(), pytest.raises(ValueError, match=words) as caught:
        open_picture(content, 3)
    assert len(str(caught.value).splitlines()) == 1


def test_a_large_picture_in_steps_holds_all_its_numbers_and_is_weighed_so(image):
    """A progressive JPEG of 10,000 x 10,000 pixels needs a gigabyte, one that is told row by row 400 MB."""
    for progressive, words in ((True, "takes 1,00. MB"), (False, "")):
        content = saved(image.new("RGB", (16, 16)), "JPEG", progressive=progressive, subsampling=0)
        large = content.replace(b"\x08\0\x10\0\x10\x03", b"\x08" + struct.pack(">HH", 10_000, 10_000) + b"\x03")
        if words:
            with pytest.raises(ValueError, match=words):
                picture_parts.take_apart(large)
        else:
            assert picture_parts.take_apart(large).width == 10_000


NOTES: list[tuple[str, Callable[[Any], bytes]]] = [
    ("texts", lambda _: png(8, 8, 8, 0, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7))) * 9)),
    ("colour profile", lambda _: png(8, 8, 8, 0, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8), 9)))),
    ("a million pictures", lambda _: png(8, 8, 8, 0, chunk(b"acTL", struct.pack(">II", 10**6, 0)))),
    ("camera notes in a PNG", lambda _: png(8, 8, 8, 0, chunk(b"eXIf", exif_bomb(60_000, 3_000_000)))),
    (
        "camera notes in a text",
        lambda _: png(
            8,
            8,
            8,
            0,
            chunk(
                b"zTXt",
                b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n1\n" + exif_bomb(9000, 90_000).hex().encode()),
            ),
        ),
    ),
    (
        "camera notes in a JPEG",
        lambda image: (
            (good := saved(image.new("RGB", (8, 8)), "JPEG"))[:2]
            + segment(0xE1, b"Exif\0\0" + exif_bomb(2500, 30_000))
            + segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 500
            + good[2:]
        ),
    ),
    (
        "a table that leads to itself",
        lambda _: png(8, 8, 8, 0, chunk(b"eXIf", b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x8769, 4, 1, 8))),
    ),
]


@pytest.mark.parametrize(("what", "make"), NOTES, ids=[case[0] for case in NOTES])
def test_what_is_no_pixel_costs_nothing(image, what, make):
    import tracemalloc

    content = make(image)
    open_picture(SMALL, 3)  # imports what it needs
    tracemalloc.start()
    try:
        with quickly():
            assert open_picture(content, 3).size == (8, 8)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(content) + 10_000_000
    finally:
        tracemalloc.stop()


def test_half_a_picture_is_never_taken_for_a_whole_one(image, monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    half = saved(image.frombytes("RGB", (64, 64), np.random.default_rng(0).bytes(64 * 64 * 3)), "PNG")[:6000]
    with pytest.raises(ValueError, match=r"truncated|damaged|broken"):
        open_picture(half, 3)
    assert ImageFile.LOAD_TRUNCATED_IMAGES, "what other code asked for is left as it was"


def test_a_decoder_that_warns_says_nothing_and_changes_nothing(image, recwarn):
    odd = png(8, 8, 8, 3, PALETTE + chunk(b"tRNS", bytes(256)))
    assert open_picture(odd, 3).mode == "RGB"
    assert not recwarn.list


HUGE = {
    "16 bits": (16, 0, b""),
    "16 bits, colours": (16, 2, b""),
    "alpha": (8, 6, b""),
    "16 bits, alpha": (16, 6, b""),
    "grey and alpha": (8, 4, b""),
    "palette": (8, 3, PALETTE),
    "palette and alpha": (8, 3, PALETTE + chunk(b"tRNS", bytes(256))),
    "one bit": (1, 0, b""),
}
MEASURED = """
import resource, sys, numpy as np, PIL.PngImagePlugin
from pathlib import Path
from shared.pictures import open_picture, read_picture, to_square
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
to_square(open_picture(read_picture(Path(sys.argv[1])), 3), 224)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no resource module")
@pytest.mark.parametrize("kind", HUGE)
def test_a_picture_of_10000_by_10000_pixels_stays_below_700_mb(image, run_python, tmp_path, kind):
    (tmp_path / "huge.png").write_bytes(png(10_000, 10_000, *HUGE[kind]))
    result = run_python(MEASURED.replace("sys.argv[1]", repr(str(tmp_path / "huge.png"))))
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) * 1024 < 700_000_000


# -- all together


def many(count: int, content: bytes) -> list[pictures.Picture]:
    return [pictures.Picture(name=f"a/{n}.png", label="a", split="", read=lambda: content) for n in range(count)]


def test_pictures_that_fill_the_memory_together_are_refused_at_the_first_one(image, monkeypatch):
    monkeypatch.setattr(pictures, "machine_memory", lambda: 10_000_000)
    with pytest.raises(InputError, match=r"400 pictures of 200 x 200 pixels fill 0\.0 GB.*--set image_size=64"):
        decode(many(400, png(200, 200, 8, 0)), 0, 0, 3)
    assert len(decode(many(400, png(200, 200, 8, 0)), 32, 0, 3).images) == 400


def test_pictures_as_they_are_may_not_be_larger_than_image_size_may(image):
    with pytest.raises(InputError, match=r"5,000 x 5,000 pixels are too large for a network.*--set image_size=64"):
        decode(many(2, png(5000, 5000, 8, 0)), 0, 0, 1)
    assert decode(many(2, png(5000, 5000, 8, 0)), 16, 0, 1).images.shape == (2, 16, 16, 1)


def test_pictures_that_take_too_long_together_end_with_one_line(image, monkeypatch):
    monkeypatch.setattr(Budget, "allow_picture", lambda self, size: setattr(self, "seconds", 0.05))
    slow = [pictures.Picture(name="x", label="a", split="", read=lambda: time.sleep(0.03) or SMALL)] * 100
    with pytest.raises(InputError, match="reading the pictures takes more than"):
        decode(slow, 8, 8, 1)


def test_what_did_not_decode_is_counted_with_reasons_and_its_names_only_print(image):
    odd = pictures.Picture(name="a/\x1b[2J\u202e.png", label="a", split="", read=lambda: b"GIF89a")
    found = decode([*many(3, SMALL), odd, odd, *many(1, b"")], 8, 8, 1)
    assert found.notes == (
        r"3 pictures did not decode and were skipped: a/\x1b[2J\u202e.png, a/\x1b[2J\u202e.png, a/0.png",
        "2 of them: it is a GIF picture, whatever its name says; only JPEG and PNG are read: save it as one of them",
        "1 of them: the file is empty",
    )


# -- archives


def header(name: str | bytes, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo("x")
    info.size, info.type, info.linkname = size, kind, link
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw = name if isinstance(name, bytes) else name.encode()
    block[:100] = raw[:100].ljust(100, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: str | bytes, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


HONEST = b"".join(member(f"{label}/{number}.png", SMALL) for label in "ab" for number in range(2))
END = bytes(1024)


def written(tmp_path: Path, content: bytes, name: str = "x.tar") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_every_form_are_read_as_pythons_own_reader_reads_them(tmp_path, packing, form):
    place = tmp_path / f"x.tar.{packing}"
    names = [f"set/{label}/{number}.png" for label in "ab" for number in range(3)]
    if form != tarfile.USTAR_FORMAT:
        names += [f"set/a/{'long' * 60}.png", "set/b/\u00e4\u4f60.png", f"set/{'d' * 120}/x.png"]
    with tarfile.open(place, f"w:{packing}", format=form) as archive:
        folder = tarfile.TarInfo("set/empty/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(SMALL) + number * 300, 1.5
            info.pax_headers = {"comment": "x" * 3000}
            archive.addfile(info, io.BytesIO(SMALL + bytes(number * 300)))
        archive.addfile(tarfile.TarInfo("set/readme.txt"))
    found = list_archive(place, pictures.PICTURES)
    with tarfile.open(place) as archive:
        for name in names:
            assert found.read(name) == archive.extractfile(name).read(), name
    assert (found.files, found.folders, found.notes) == (names, {"set/empty"}, ())


def test_an_archive_that_is_packed_in_several_pieces_is_read_whole(tmp_path):
    raw = HONEST + END
    for pack, between in ((gzip.compress, b""), (bz2.compress, b""), (lzma.compress, bytes(8))):
        pieces = between.join(pack(raw[start : start + 700]) for start in range(0, len(raw), 700))
        assert len(find_pictures(written(tmp_path, pieces)).pictures) == 4
    alone = lzma.compress(raw, format=lzma.FORMAT_ALONE)
    assert len(find_pictures(written(tmp_path, alone)).pictures) == 4


LONG, PAX, GLOBAL = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE
BOMBS: list[tuple[str, Callable[[], bytes], str]] = [
    ("a long name of 100 MB", lambda: header("x", 10**8, LONG) + bytes(10**6), "a name, or what is noted"),
    ("a table of 100 MB", lambda: header("x", 10**8, PAX) + bytes(10**6), "a name, or what is noted"),
    ("a table for all of 300 MB", lambda: header("x", 10**8, GLOBAL) + bytes(10**8) + END, "unpacks to"),
    ("a table of names in names", lambda: member("x", b"2 " * 250_000 + b"=", PAX) + HONEST, "noted of a member"),
    ("a table that stands still", lambda: member("x", b"0 a=b\n", PAX) + HONEST, "noted of a member is damaged"),
    ("a length of 5,000 digits", lambda: member("x", b"9" * 5000 + b" a=b\n", PAX) + HONEST, "a size that is no"),
    ("a size of 30 digits", lambda: member("x", record("size", "9" * 30), PAX) + HONEST, "a size that is no number"),
    ("a negative size", lambda: member("x", record("size", "-512"), PAX) + HONEST, "a size that is no number"),
    ("a size in the header below zero", lambda: _negative() + HONEST, "a member of -512 bytes"),
    ("names without a member", lambda: member("x", b"y" * 9, LONG) * 1500, "holds 0 pictures"),
    ("zeros", lambda: member("a/1.txt", bytes(10**8)) + END, "unpacks to"),
    ("a picture of zeros", lambda: member("a/1.png", bytes(10**8)) + END, "unpacks to"),
    ("a picture of a terabyte", lambda: header("a/1.png", 10**12) + bytes(10**6), "too early|unpacks to"),
    ("many empty members", lambda: header("a/1.png") * 20_000, "unpacks to|more than"),
    ("a broken header in the middle", lambda: HONEST + b"x" * 512 + HONEST + END, "is no readable"),
    ("a cut member", lambda: HONEST + header("a/9.png", 5000) + b"xx", "it ends too early"),
    ("nothing", lambda: b"", "there is nothing in it"),
    ("deep names", lambda: _named(b"dd/" * 1300 + b"%d.png") * 30, "unpacks to|holds 0 pictures"),
    ("wide names", lambda: _named("\U0001f600".encode() * 900 + b"/%d.png"), "unpacks to|in 1 classes"),
]


def _named(name: bytes) -> bytes:
    return b"".join(member("x", name % number, LONG) + header("x") for number in range(300))


def _negative() -> bytes:
    block = bytearray(header("a/0.png"))
    block[124:136] = b"\xff" * 10 + b"\xfe\x00"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(("what", "make", "words"), BOMBS, ids=[case[0] for case in BOMBS])
def test_an_archive_costs_no_more_than_its_size_allows(tmp_path, monkeypatch, what, make, words):
    import tracemalloc

    monkeypatch.setattr("shared.base.budget.SLACK", 2_000_000)
    path = written(tmp_path, gzip.compress(make(), 1), "x.tar.gz")
    tracemalloc.start()
    try:
        with quickly(60), pytest.raises(InputError, match=words) as caught:
            find_pictures(path)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


def test_links_devices_and_holes_in_archives_are_left_out_and_named(tmp_path):
    odd = (
        header("a/hard.png", 0, tarfile.LNKTYPE, "a/0.png")
        + header("a/soft.png", 0, tarfile.SYMTYPE, "/etc/passwd")
        + header("b/pipe.png", 0, tarfile.FIFOTYPE)
        + header("b/zero.png", 0, tarfile.CHRTYPE)
        + member("b/x", record("GNU.sparse.major", "1") + record("GNU.sparse.realsize", str(10**15)), PAX)
        + member("b/sparse.png", b"1\n0\n512\n".ljust(1024, b"\0"))
        + _old_sparse("b/old.png", 3)
    )
    found = find_pictures(written(tmp_path, odd + HONEST + END))
    assert [picture.name for picture in found.pictures] == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    (note,) = found.notes
    assert note == (
        "6 members are links, devices or have holes, and were not read: a/hard.png, a/soft.png, b/pipe.png, ..."
    )


def _old_sparse(name: str, blocks: int) -> bytes:
    block = bytearray(header(name, 512, tarfile.GNUTYPE_SPARSE))
    block[482] = 1
    block[483:495] = b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    further = b"".join(bytes(504) + bytes([number < blocks - 1]) + bytes(7) for number in range(blocks))
    return bytes(block) + further + bytes(512)


def test_odd_names_in_archives_are_kept_as_classes_and_only_print_where_they_are_shown(tmp_path, image):
    odd = b"\xff\x1b[2J"
    content = HONEST + b"".join(member(odd + b"/%d.png" % number, SMALL) for number in range(2))
    content += member("x", b"c/" + b"n" * 5000 + b".png", LONG) + member("c/n", SMALL)
    content += member("x", b"/".join([b"d"] * 2000) + b"/1.png", LONG) + member("d", SMALL)
    content += member("a/0.png", png(8, 8, 8, 2))
    found = find_pictures(written(tmp_path, content + END))
    assert found.classes == ("a", "b", os.fsdecode(odd))
    notes = " ".join(found.notes)
    assert "1 members have names of more than 4,096 characters: c/nnnn" in notes
    assert "1 names are there twice; the last one counts: a/0.png" in notes
    assert "1 pictures lie in no folder of a class and were left out" in notes
    assert notes.isprintable()
    assert len(notes) < 1500
    assert load_data(f"folder:{tmp_path / 'x.tar'}", default_size=8).notes[: len(found.notes)] == found.notes


def test_an_archive_without_an_end_is_read_and_says_so(tmp_path):
    found = find_pictures(written(tmp_path, HONEST))
    assert found.notes == ("1 archives have no mark at their end, and may be only half there: x.tar",)
    with pytest.raises(InputError, match="is no readable folder or tar archive"):
        find_pictures(written(tmp_path, HONEST + b"a/3.png"))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_unpacks_to_nothing_for_ever_is_ended_by_the_clock(tmp_path, monkeypatch, pack):
    monkeypatch.setattr("shared.base.budget.SECONDS", 0.2)
    monkeypatch.setattr("shared.base.budget.SECONDS_PER_BYTE", 0)
    path = written(tmp_path, pack(b"") * (20_000_000 // len(pack(b""))))
    with quickly(), pytest.raises(InputError, match=r"takes more than 0 seconds|holds 0 pictures|no readable"):
        find_pictures(path)


def test_an_xz_file_that_asks_for_gigabytes_of_memory_is_refused(tmp_path):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**20}]
    packed = bytearray(lzma.compress(HONEST + END, filters=filters, check=lzma.CHECK_NONE))
    # The block's header: its length, flags, the filter (0x21), the length of what follows, and the size of its memory.
    place = 12
    assert packed[place + 2 : place + 4] == b"\x21\x01"
    packed[place + 4] = 40  # 4 GB
    length = (packed[place] + 1) * 4
    packed[place + length - 4 : place + length] = struct.pack(
        "<I", zlib.crc32(bytes(packed[place : place + length - 4]))
    )
    with pytest.raises(InputError, match=r"no readable folder or tar archive \(Memory usage limit"):
        find_pictures(written(tmp_path, bytes(packed)))
    strongest = lzma.compress(HONEST + END, preset=9 | lzma.PRESET_EXTREME)
    assert len(find_pictures(written(tmp_path, strongest)).pictures) == 4


def test_archives_in_archives_and_pictures_packed_twice_are_no_pictures(tmp_path):
    inner = written(tmp_path, HONEST + END, "inner.tar").read_bytes()
    for content in (member("inner.tar", inner) + END, gzip.compress(gzip.compress(inner)), b"PK\x03\x04" + bytes(600)):
        with pytest.raises(InputError, match=r"holds 0 pictures|no readable folder or tar archive"):
            find_pictures(written(tmp_path, content))


@unix
def test_an_archive_that_is_no_plain_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.tar")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(tmp_path)  # a socket's path is short
    try:
        server.bind("socket.tar")
    finally:
        os.chdir(here)
    with quickly(), server:
        for path in (tmp_path / "pipe.tar", tmp_path / "socket.tar", Path("/dev/zero")):
            with pytest.raises(InputError, match=r"is no plain file|cannot be read"):
                find_pictures(path)
    (tmp_path / "loop.tar").symlink_to("loop.tar")
    for path in (tmp_path / "loop.tar", tmp_path / ("x" * 5000), Path("a\0b")):
        with pytest.raises(InputError, match="there is no folder or archive"):
            find_pictures(path)
        with pytest.raises(InputError, match="there is no such folder or archive"):
            load_data(f"folder:{path}")


# -- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in "ab":
        for number in range(2):
            (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / label / f"{number}.png").write_bytes(SMALL)
    return tmp_path / "set"


@unix
def test_a_folder_of_links_to_pictures_is_an_honest_data_set(folder, image):
    farm = folder.parent / "farm"
    for path in folder.rglob("*.png"):
        (farm / path.parent.name).mkdir(parents=True, exist_ok=True)
        (farm / path.parent.name / path.name).symlink_to(path)
    found = load_data(f"folder:{farm}")
    assert (len(found.train) + len(found.test), found.notes) == (4, ("4 pictures: grey ones got three equal channels",))


@unix
def test_links_in_a_folder_lead_nowhere_else_and_are_named(folder, image):
    (folder / "a" / "up").symlink_to(folder)
    os.mkfifo(folder / "a" / "pipe.png")
    (folder / "a" / "zero.png").symlink_to("/dev/zero")
    (folder / "a" / "gone.png").symlink_to("nowhere")
    (folder / "a" / "self.png").symlink_to("self.png")
    (folder / "b" / "words.png").symlink_to("/etc/passwd")
    with quickly():
        found = load_data(f"folder:{folder}")
    notes = " ".join(found.notes)
    assert "1 links to folders were not followed: a/up" in notes
    assert "4 are named like pictures but are no files" in notes
    assert "1 pictures did not decode and were skipped: b/words.png" in notes
    assert "root:" not in notes
    (folder / "c").symlink_to(folder / "a")
    with pytest.raises(InputError, match=r"no picture in the folder c; .* 2 links to folders were not followed"):
        load_data(f"folder:{folder}")


@unix
def test_a_picture_that_turns_into_a_pipe_is_not_waited_for(folder, image):
    found = find_pictures(folder)
    (folder / "a" / "0.png").unlink()
    os.mkfifo(folder / "a" / "0.png")
    with quickly():
        assert decode(found.pictures, 8, 8, 1).skipped == ("a/0.png",)


@unix
def test_a_folder_of_a_thousand_levels_is_no_error(folder):
    here = os.open(folder / "a", os.O_RDONLY)
    try:
        for _ in range(1100):
            os.mkdir("d" * 9, dir_fd=here)
            below = os.open("d" * 9, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    try:
        found = find_pictures(folder)
        assert len(found.pictures) == 4
        assert "1 folders more than 50 levels deep were not looked into" in found.notes[0]
        assert len(list(picture_paths([str(folder)]))) == 4
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)  # Python's own way calls itself for each level


@unix
def test_folders_that_cannot_be_read_and_odd_names_are_told(folder, image):
    if os.geteuid() == 0:
        pytest.skip("nothing is closed to the system's owner")
    (folder / "a" / "closed").mkdir(mode=0)
    assert "1 folders could not be read (Permission denied): a/closed" in find_pictures(folder).notes[0]


@unix
def test_names_that_are_no_text_are_classes_like_others(folder, image):
    odd = os.fsencode(folder) + b"/\xff\x1b[31m"
    Path(os.fsdecode(odd)).mkdir()
    for number in range(2):
        Path(os.fsdecode(odd + b"/\xfe%d.png" % number)).write_bytes(SMALL)
    found = load_data(f"folder:{folder}")
    assert found.classes == ("a", "b", "\udcff\x1b[31m")
    assert len(found.sha256) == 64
    for number in range(2):
        Path(os.fsdecode(odd + b"/\xfe%d.png" % number)).write_bytes(b"no")
    with pytest.raises(InputError) as caught:
        load_data(f"folder:{folder}")
    assert str(caught.value).isprintable()


def test_too_many_files_and_too_many_classes_end_with_one_line(folder, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_CLASSES", 1)
    with pytest.raises(InputError, match="holds 2 folders with pictures; at most 1 are classes"):
        find_pictures(folder)
    monkeypatch.setattr(listing, "MOST_FILES", 5)
    with pytest.raises(InputError, match="holds more than 5 entries"):
        find_pictures(folder)


def test_many_empty_folders_are_no_product_of_folders_and_pictures(tmp_path):
    content = b"".join(header(f"c{number:05}/", 0, tarfile.DIRTYPE) for number in range(5000))
    content += b"".join(member(f"c{number:05}/1.png", SMALL) for number in range(4999))
    with quickly(60), pytest.raises(InputError, match="no picture in the folder c04999"):
        find_pictures(written(tmp_path, content + END))


def test_hidden_files_stay_hidden_in_a_data_set_and_are_pictures_where_they_are_asked_for(folder):
    (folder / "a" / ".9.png").write_bytes(SMALL)
    assert len(find_pictures(folder).pictures) == 4
    assert len(list(picture_paths([str(folder)]))) == 5


# -- lists of pictures


def test_a_list_on_standard_input_is_bounded(folder, monkeypatch):
    def given(text: str) -> list[Path]:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return list(picture_paths(["-"]))

    assert given(f"{folder}\n\n-\n{folder}/a/0.png") == [*sorted(folder.rglob("*.png")), folder / "a" / "0.png"]
    with pytest.raises(InputError, match="has a line of more than 5,000 characters"):
        given("x" * 10_000_000)
    with pytest.raises(InputError, match="there is no picture"):
        given("x" * 4900)
    with pytest.raises(InputError, match="there is no picture"):
        given("a\0b")
    monkeypatch.setattr(listing, "MOST_FILES", 50)
    with pytest.raises(InputError, match="the list of pictures holds more than 50 entries"):
        given(f"{folder}\n" * 20)


@unix
def test_a_picture_that_is_a_pipe_or_never_ends_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    with quickly():
        for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
            with pytest.raises(ValueError, match=r"is no plain file|cannot be read"):
                read_picture(path)
        monkeypatch.setattr(pictures, "MOST_PICTURE", 1000)
        with pytest.raises(ValueError, match="no picture has"):
            read_picture(written(tmp_path, bytes(2000)))


@unix
def test_predict_says_what_of_a_folder_it_left_out(call, torch_twin, folder, image):
    (folder / "a" / "up").symlink_to(folder)
    os.mkfifo(folder / "a" / "pipe.png")
    result = call("predict", folder, "--weights", "resnet8_digits", "--framework", "torch", "--top", "1")
    assert result.returncode == 0, result.stderr
    assert "1 links to folders were not followed: a/up" in result.stdout.replace("\n", " ")
    assert "1 are named like pictures but are no files: a/pipe.png" in result.stdout.replace("\n", " ")


# -- data sets


def test_a_data_set_that_unpacks_without_end_is_read_no_further_than_it_should_be(tmp_path):
    path = written(tmp_path, gzip.compress(bytes(10**6)) * 400, "x.gz")
    with quickly(), pytest.raises(InputError, match=r"holds 48,000,000 bytes that are not those of Fashion-MNIST"):
        read_idx(path, "0" * 64)


@unix
def test_a_data_set_that_is_a_pipe_is_not_waited_for(tmp_path):
    for name in fashion_mnist.FASHION_FILES:
        os.mkfifo(tmp_path / name)
    (tmp_path / cifar10.CIFAR_FOLDER).mkdir()
    os.mkfifo(tmp_path / cifar10.CIFAR_FOLDER / "data_batch_1.bin")
    with quickly():
        for name in ("fashion-mnist", "cifar10"):
            with pytest.raises(InputError, match=r"is no plain file|has no data_batch_2"):
                load_data(name, data_dir=tmp_path)
        os.mkfifo(tmp_path / cifar10.CIFAR_ARCHIVE)
        for number in range(2, 6):
            (tmp_path / cifar10.CIFAR_FOLDER / f"data_batch_{number}.bin").write_bytes(b"")
        (tmp_path / cifar10.CIFAR_FOLDER / "test_batch.bin").write_bytes(b"")
        with pytest.raises(InputError, match=r"data_batch_1.bin is no plain file"):
            load_data("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            header(f"{cifar10.CIFAR_FOLDER}/data_batch_1.bin", 0, tarfile.SYMTYPE, "/etc/passwd") + END,
            "no data_batch_1",
        ),
        (member(f"{cifar10.CIFAR_FOLDER}/data_batch_1.bin", bytes(99)) + END, "has 99 bytes"),
        (member(f"{cifar10.CIFAR_FOLDER}/data_batch_1.bin", bytes(40_000_000)) + END, "has 30,730,001 bytes"),
        (member("x", bytes(10**8)) + END, "unpacks to"),
        (header("x", 10**8, LONG) + END, "is damaged or only half there"),
    ],
)
def test_the_cifar_archive_of_somebody_else_costs_no_more_than_it_should(tmp_path, content, words):
    (tmp_path / cifar10.CIFAR_ARCHIVE).write_bytes(gzip.compress(content, 1))
    with quickly(), pytest.raises(InputError, match=words):
        load_data("cifar10", data_dir=tmp_path)


# -- downloads


class Answers(threading.Thread):
    """A server of one kind of trouble: `send` gets what it writes with."""

    def __init__(self, head: bytes, send: Callable[[Callable[[bytes], None]], None]) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/file.bin"
        self.head, self.send = head, send

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(self.head + b"\r\n\r\n")
                    self.send(connection.sendall)
                except OSError:  # nobody listens any more
                    pass


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Ask a server of this kind, and return what is said of it."""
    pytest.importorskip("pooch", reason="pooch is not installed")
    servers = []

    def ask(head: bytes, send: Callable[[Callable[[bytes], None]], None] = lambda _: None) -> str:
        servers.append(Answers(head, send))
        servers[-1].start()
        wanted = Download(url=servers[-1].url, sha256="0" * 64, path=tmp_path / "cache" / "file.bin")
        with quickly(30), pytest.raises(InputError) as caught:
            fetch(wanted)
        return str(caught.value)

    yield ask
    for server in servers:
        server.listener.close()


def test_a_server_that_never_stops_sending_is_left(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "MOST_BYTES", 1_000_000)

    def send(write: Callable[[bytes], None]) -> None:
        while True:
            write(bytes(65536))

    assert "it sends more than 1,000,000 bytes" in asked(b"HTTP/1.1 200 OK", send)
    assert (tmp_path / "cache" / "file.bin.part").stat().st_size <= 1_100_000


def test_a_server_that_sends_drop_by_drop_is_left(asked, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE_S", 0.5)

    def send(write: Callable[[bytes], None]) -> None:
        while True:
            write(b"x")
            time.sleep(0.05)

    assert "bytes came in" in asked(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999", send)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd", "cannot download"),
        (b"HTTP/1.1 302 Found\r\nLocation: /again", "cannot download"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many", "cannot download|another file"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000, "cannot download|another file"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "cannot download|another file"),
        (b"HTTP/1.1 200 \x1b[2J\r\nContent-Length: 0", "another file"),
        (b"nonsense", "cannot download"),
    ],
)
def test_a_server_that_talks_nonsense_is_answered_with_one_line(asked, head, words):
    import re

    text = asked(head)
    assert re.search(words, text), text
    assert text.isprintable()


def test_what_a_server_packs_is_not_unpacked(asked, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 5_000_000)
    bomb = gzip.compress(bytes(10**8))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d" % len(bomb)
    assert "another file than expected" in asked(head, lambda write: write(bomb))


@unix
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_half_a_download_that_leads_elsewhere_is_refused(asked, tmp_path, kind):
    (tmp_path / "cache").mkdir()
    (tmp_path / "victim.txt").write_text("precious")
    part = tmp_path / "cache" / "file.bin.part"
    if kind == "link":
        part.symlink_to(tmp_path / "victim.txt")
    elif kind == "hard link":
        os.link(tmp_path / "victim.txt", part)
    else:
        os.mkfifo(part)
    text = asked(b"HTTP/1.1 200 OK\r\nContent-Length: 3", lambda write: write(b"bad"))
    assert "file.bin.part is" in text
    assert (tmp_path / "victim.txt").read_text() == "precious"


def test_the_reader_of_archives_is_the_only_one() -> None:
    """Python's `tarfile` opens no archive of somebody else, and Pillow is told its formats wherever it opens a file."""
    root = Path(archives.__file__).parents[1]
    for place in (*root.glob("shared/**/*.py"), *root.glob("resnet_*/*.py"), *root.glob("tools/*.py")):
        text = place.read_text(encoding="utf-8")
        assert "tarfile.open(" not in text, place
        for call in text.split("Image.open(")[1:]:
            assert "formats=" in call.partition("\n")[0], place
