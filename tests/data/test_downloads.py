"""Downloads that survive what goes wrong."""

from __future__ import annotations

import hashlib
import re
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared.base.errors import InputError
from shared.data import cifar10, fashion_mnist, places
from shared.data.cifar10 import CIFAR_JPEG
from shared.data.download import Download, fetch
from shared.data.load import find_local, load_data

# -- downloads, from a server on this machine

CONTENT = bytes(range(256)) * 2000


class Server(BaseHTTPRequestHandler):
    """Serves `CONTENT` with resume, and every kind of trouble."""

    trouble = ""
    ranges: list[str] = []  # noqa: RUF012 (the handler's class is made anew for every test)

    def do_GET(self) -> None:
        if self.trouble == "gone":
            self.send_error(404)
            return
        start = int(re.findall(r"\d+", self.headers.get("Range", "bytes=0-"))[0])
        self.ranges.append(self.headers.get("Range", ""))
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:] if self.trouble != "wrong" else b"x" * len(CONTENT)
        body = body[:1000] if self.trouble == "truncated" else body
        self.send_response(206 if start and self.trouble != "wrong" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.trouble == "interrupted" else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server():
    pytest.importorskip("pooch", reason="pooch is not installed")
    handler = type("Handler", (Server,), {"ranges": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01), daemon=True)
        thread.start()
        handler.url = f"http://127.0.0.1:{running.server_address[1]}/file.bin"
        yield handler
        running.shutdown()


@pytest.fixture
def wanted(server, tmp_path):
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return Download(url=server.url, sha256=sha256, path=tmp_path / "cache" / "set" / "file.bin")


def test_a_good_download_arrives_once_and_reports_progress(server, wanted):
    seen = []
    assert fetch(wanted, lambda *news: seen.append(news)).read_bytes() == CONTENT
    assert seen[-1] == ("downloading file.bin", len(CONTENT), len(CONTENT))
    fetch(wanted)
    assert len(server.ranges) == 1, "what is there is not fetched again"
    assert [path.name for path in wanted.path.parent.iterdir()] == ["file.bin"]


def test_an_interrupted_download_goes_on_where_it_ended(server, wanted):
    server.trouble = "interrupted"
    with pytest.raises(InputError) as caught:
        fetch(wanted)
    assert "cannot download" in str(caught.value)
    assert not wanted.path.exists(), "half a file must not pass for a whole one"
    server.trouble = ""
    assert fetch(wanted).read_bytes() == CONTENT
    first, second = server.ranges
    assert (first, int(second.strip("bytes=-")) > len(CONTENT) // 3) == ("", True)


@pytest.mark.parametrize("trouble", ["wrong", "truncated"])
def test_a_wrong_or_truncated_file_is_refused_and_not_kept(server, wanted, trouble):
    server.trouble = trouble
    with pytest.raises(InputError, match="is another file than expected") as caught:
        fetch(wanted)
    assert wanted.sha256 in str(caught.value)
    assert not wanted.path.parent.exists(), "nor an empty folder"
    server.trouble = ""
    assert fetch(wanted).read_bytes() == CONTENT


def test_a_leftover_that_is_too_long_is_thrown_away(server, wanted):
    wanted.path.parent.mkdir(parents=True)
    wanted.path.with_name("file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(wanted).read_bytes() == CONTENT


def test_without_network_one_line_says_what_is_wanted_from_where_and_where_to_put_it(monkeypatch, no_data):
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setattr(fashion_mnist, "FASHION_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(cifar10, "CIFAR_URL", "http://127.0.0.1:9/cifar-10-binary.tar.gz")
    for name, file, sha256 in [
        ("fashion-mnist", "train-images-idx3-ubyte.gz", fashion_mnist.FASHION_FILES["train-images-idx3-ubyte.gz"][0]),
        ("cifar10", "cifar-10-binary.tar.gz", cifar10.CIFAR_SHA256),
    ]:
        with pytest.raises(InputError) as caught:
            load_data(name)
        text = str(caught.value)
        assert f"wanted is {file} from http://127.0.0.1:9/{file} (SHA-256 {sha256})" in text
        assert str(no_data / "cache") in text
        assert "or into the folder that --data-dir or $RESNET_TWINS_DATA names" in text
        assert "\n" not in text
    assert not (no_data / "cache").exists(), "no empty folder is left behind"


@pytest.mark.parametrize("option", [True, False], ids=["--data-dir", "$RESNET_TWINS_DATA"])
def test_a_file_that_was_fetched_by_hand_is_found_where_the_message_says(monkeypatch, no_data, option):
    (no_data / "mine").mkdir()
    (no_data / "mine" / cifar10.CIFAR_ARCHIVE).write_bytes(b"half of it")
    if not option:
        monkeypatch.setenv("RESNET_TWINS_DATA", str(no_data / "mine"))
    with pytest.raises(InputError, match=r"mine/cifar-10-binary.tar.gz is damaged"):
        load_data("cifar10", data_dir=no_data / "mine" if option else None)


def test_a_server_that_lost_the_file_is_explained(server, wanted):
    server.trouble = "gone"
    with pytest.raises(InputError, match="404"):
        fetch(wanted)


def test_a_data_set_is_found_without_a_download(tmp_path, monkeypatch):
    monkeypatch.setenv("RESNET_TWINS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in (places, fashion_mnist, cifar10):
        monkeypatch.setattr(module, "data_cache", lambda: tmp_path / "cache")
    assert find_local("digits") == "digits"
    assert find_local("fashion-mnist") is None
    assert find_local("cifar10") is None
    (tmp_path / "cifar-10").mkdir()
    (tmp_path / CIFAR_JPEG).touch()
    assert find_local("cifar10") == f"folder:{CIFAR_JPEG}"
    (tmp_path / "cifar-10" / "cifar-10-batches-bin").mkdir()
    assert find_local("cifar10") == "cifar10"
    for name in fashion_mnist.FASHION_FILES:
        assert find_local("fashion-mnist") is None
        (tmp_path / name).touch()
    assert find_local("fashion-mnist") == "fashion-mnist"
    with pytest.raises(InputError, match="unknown data set 'imagenet'"):
        find_local("imagenet")
