"""Files of data sets and downloads that are not what they should be."""

from __future__ import annotations

import gzip
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.base.errors import InputError
from shared.data import archives, cifar10, download, fashion_mnist
from shared.data.fashion_mnist import read_idx
from shared.data.load import load_data
from tests.data.foreign import END, LONG, header, member, quickly, unix, written

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
    root = Path(archives.__file__).parents[2]
    for place in (*root.glob("shared/**/*.py"), *root.glob("resnet_*/*.py"), *root.glob("tools/*.py")):
        text = place.read_text(encoding="utf-8")
        assert "tarfile.open(" not in text, place
        for call in text.split("Image.open(")[1:]:
            assert "formats=" in call.partition("\n")[0], place
