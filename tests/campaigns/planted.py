"""Readers that break what they promise, each in its own way, and honest ones: the campaign must tell them apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from shared.base.errors import InputError
from tests.campaigns.fuzz import child
from tests.campaigns.fuzz.campaign import Campaign
from tests.campaigns.fuzz.judge import READER
from tests.campaigns.fuzz.kinds import Kind
from tests.campaigns.fuzz.readers import Refusal
from tests.campaigns.fuzz.seeds import CANARY


def burn(path: Path) -> list[np.ndarray]:
    while True:
        pass


def fall_silent(path: Path) -> list[np.ndarray]:
    os.closerange(3, 200)
    time.sleep(1000)
    return []


def take(path: Path) -> list[np.ndarray]:
    return [np.ones(3_000_000_000, np.uint8)]


def take_and_hide_it(path: Path) -> list[np.ndarray]:
    try:
        return take(path)
    except MemoryError as error:
        raise InputError(f"{path} is damaged") from error


def write(name: str) -> Callable[[Path], list[np.ndarray]]:
    def read(path: Path) -> list[np.ndarray]:
        (path.parent / name).write_text("x")  # `name` may lead elsewhere
        return []

    return read


def refuse(text: str) -> Callable[[Path], list[np.ndarray]]:
    def read(path: Path) -> list[np.ndarray]:
        raise Refusal(text)

    return read


def say(text: str) -> Callable[[Path], list[np.ndarray]]:
    def read(path: Path) -> list[np.ndarray]:
        print(text)
        return []

    return read


def look_up(path: Path) -> list[np.ndarray]:
    return [{}["weights"]]  # type: ignore[return-value]


def remove(path: Path) -> list[np.ndarray]:
    path.unlink()
    return []


def start(path: Path) -> list[np.ndarray]:
    subprocess.run(["true"])
    return []


def connect(path: Path) -> list[np.ndarray]:
    import socket

    with socket.socket() as made:
        made.settimeout(0.1)
        made.connect_ex(("127.0.0.1", 9))
    return []


#: What a reader does -> it, and what the campaign must say of it; "" where it is right.
PLANTED: dict[str, tuple[Callable[[Path], list[np.ndarray]], str]] = {
    "accepts": (lambda path: [np.zeros(3)], ""),
    "refuses": (lambda path: (_ for _ in ()).throw(InputError("no such thing")), ""),
    "crashes": (lambda path: os.kill(os.getpid(), signal.SIGSEGV), "it crashes: SIGSEGV"),  # type: ignore[dict-item]
    "exits": (lambda path: os._exit(0), "it ends without a word"),
    "waits": (lambda path: time.sleep(1000), "for ever"),  # type: ignore[dict-item]
    "waits and says that it is done": (fall_silent, "for ever"),
    "burns": (burn, "for ever"),
    "takes memory": (take, "the memory ran out"),
    "hides that memory ran out": (take_and_hide_it, "the memory ran out"),
    "raises KeyError": (look_up, "KeyError"),
    "writes beside the input": (write("new.txt"), "it writes or removes 1 files"),
    "writes over the input": (write("x.txt"), "it writes or removes 1 files"),
    "writes into the working folder": (write(str(Path("..", "work", "new.txt"))), "it writes or removes 1 files"),
    "removes the input": (remove, "it writes or removes 1 files"),
    "prints": (say("a warning"), "a reader prints"),
    "refuses with escape codes": (refuse("\x1b[31mno\x1b[0m"), "does not only print"),
    "refuses in two lines": (refuse("no\nno"), "does not only print"),
    "refuses without a word": (refuse(""), "does not only print"),
    "refuses without an end": (refuse("no" * 100_000), "does not only print"),
    "starts a program": (start, "subprocess.Popen"),
    "asks the network": (connect, "socket.connect"),
    "reads another file": (lambda path: [np.frombuffer(CANARY, np.uint8)], "another file was read"),
}


def plant(name: str) -> Kind:
    """A kind of input whose reader does what PLANTED says."""

    def make(seeds: Any, rng: Random, place: Path) -> Path:
        (place / "x.txt").write_text("an input")
        return place / "x.txt"

    return Kind(words=name, make=make, read=PLANTED[name][0])


def run_planted(place: str) -> None:
    """In a process of its own, which has one thread: give one input to each planted reader, and print what is found."""
    child.SECONDS, child.CLOCK = 1, 3
    made = Campaign(Path(place), kinds={name: plant(name) for name in PLANTED}, jobs=4)
    made.warm()
    made.run([(name, 0, READER) for name in PLANTED], 60, print)
    found = {each.kind: each.text for outcomes in made.findings.values() for each in outcomes}
    print("found:" + json.dumps(found))
