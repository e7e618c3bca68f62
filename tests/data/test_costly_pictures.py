"""Pictures that would cost too much memory or time are refused."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared.base.budget import Budget
from shared.base.errors import InputError
from shared.data import picture_parts, pictures
from shared.data.pictures import decode, open_picture
from tests.data.foreign import PALETTE, SMALL, chunk, png, quickly, saved, segment

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
from shared.data.pictures import open_picture, read_picture, to_square
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
