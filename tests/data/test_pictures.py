"""Honest pictures come out as they always did, and no decoder is asked that we did not choose."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from shared.data import picture_parts, pictures
from shared.data.pictures import open_picture, to_square
from tests.data.foreign import PALETTE, SMALL, chunk, png, saved, segment

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
    yield "PNG RGB, one colour transparent", saved(rgb, "PNG", transparency=rgb.getpixel((3, 3)))
    yield "PNG L", saved(grey, "PNG")
    yield "PNG L, one grey transparent", saved(grey, "PNG", transparency=grey.getpixel((3, 3)))
    yield "PNG 1", saved(grey.convert("1"), "PNG")
    yield "PNG P", saved(palette, "PNG")
    yield "PNG P, one colour transparent", saved(palette, "PNG", transparency=5)
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


def test_the_reason_names_no_object_in_memory(image):
    """Pillow names the buffer that it was given."""
    broken = saved(image.new("RGB", (8, 8)), "PNG")[:40]
    with pytest.raises(ValueError, match=r"^(?!.*object at 0x)"):
        open_picture(broken, 3)
