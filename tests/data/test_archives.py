"""Archives of somebody else: read within a budget, and never followed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.base.errors import InputError
from shared.data import pictures
from shared.data.archives import list_archive
from shared.data.load import load_data
from shared.data.pictures import find_pictures
from tests.data.foreign import END, GLOBAL, LONG, PAX, SMALL, header, member, png, quickly, unix, written


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


HONEST = b"".join(member(f"{label}/{number}.png", SMALL) for label in "ab" for number in range(2))


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
            with pytest.raises(InputError, match=r"is no plain file|is a folder|leads back|cannot be read"):
                find_pictures(path)
    (tmp_path / "loop.tar").symlink_to("loop.tar")
    for path in (tmp_path / "loop.tar", tmp_path / ("x" * 5000), Path("a\0b")):
        with pytest.raises(InputError, match="there is no folder or archive"):
            find_pictures(path)
        with pytest.raises(InputError, match="there is no such folder or archive"):
            load_data(f"folder:{path}")
