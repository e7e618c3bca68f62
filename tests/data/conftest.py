"""Fixtures for tests of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.base.errors import InputError
from shared.data import cifar10, fashion_mnist, places
from shared.data.download import Download, fetch
from tests.data.foreign import SMALL, Answers, quickly


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """Neither $RESNET_TWINS_DATA nor a cache with anything in it, and no network."""
    monkeypatch.delenv("RESNET_TWINS_DATA", raising=False)
    for module in (places, fashion_mnist, cifar10):
        monkeypatch.setattr(module, "data_cache", lambda: tmp_path / "cache")
    return tmp_path


@pytest.fixture
def image() -> Any:
    return pytest.importorskip("PIL.Image", reason="Pillow is not installed")


# -- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in "ab":
        for number in range(2):
            (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / label / f"{number}.png").write_bytes(SMALL)
    return tmp_path / "set"


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
