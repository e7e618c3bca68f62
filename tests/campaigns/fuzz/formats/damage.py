"""Blind damage to any file: bytes in, bytes out, decided by a `random.Random` alone; and values that nobody expects."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

#: Takes the file, the source of chance, and another good file of the same kind.
Spoiler = Callable[[bytes, Random, bytes], bytes]

#: Names, shapes and lengths stand at the ends of a file; the numbers between them fill it.
EDGE = 6000
#: Nothing that a way of spoiling makes is larger.
MOST = 8_000_000
#: What a bomb unpacks to, in MB: more than the memory that a reader may take.
BOMB = 1500
INTEGERS = (0, 1, -1, 7, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
INTEGERS += (2**62, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = ("0", "-1", "1e999", "-1e999", "nan", "NaN", "Infinity", "-inf", "9" * 5000, "2147483648", "1e-400", "0.5")
NUMBERS += ("18446744073709551616", "1_0", "0x10", "00", "true", "null", "1" + "0" * 400, "-0", "１", "1e6", "1e15", "")
TEXTS = (
    "",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\u202egnp.exe",
    "a\nb",
    "a\r\nb",
    "\x00",
    "\ud800",
    "\x85",
    "\u2028",
)
TEXTS += ("é" * 50, "💥", "../../../etc/passwd", "/dev/zero", "=1+1", "%s%n{0}", "[bold]x[/]", "\x9b31m", "x" * 300)
TEXTS += ("x" * 100_000, "\u200b\u200d", "\ufeff", "0", "nan", "__class__", "\\", '"', "'", "con")
VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 1, 3, 2**31, 2**63, 2**70, 1e308, -1e308, 0.5, float("nan"))
VALUES += (float("inf"), "", [], {}, [[]], [None], {"a": 1}, "x", *TEXTS)


def odd_text(rng: Random) -> str:
    """Return a text that nobody expects."""
    return rng.choice(TEXTS)


def to_bytes(text: str) -> bytes:
    """Return a text as bytes, half characters, too."""
    return text.encode("utf-8", "surrogatepass")


def place(content: Sequence[Any], rng: Random) -> int:
    """Return a place in the content, more often near one of its ends."""
    if not content:
        return 0
    edge = min(EDGE, len(content))
    chance = rng.random()
    if chance < 0.5:
        return rng.randrange(edge)
    return len(content) - 1 - rng.randrange(edge) if chance < 0.75 else rng.randrange(len(content))


def length(rng: Random) -> int:
    """Return a length: mostly short."""
    return rng.randint(1, rng.choice((4, 16, 64, 1000, 20_000)))


def flip_bits(content: bytes, rng: Random, other: bytes) -> bytes:
    """Flip one to eight bits."""
    spoilt = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8)) if spoilt else 0):
        spoilt[place(spoilt, rng)] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def overwrite(content: bytes, rng: Random, other: bytes) -> bytes:
    """Overwrite a run of bytes: with zeros, ones, or at random."""
    at, size = place(content, rng), length(rng)
    run = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    return content[:at] + run + content[at + size :]


def cut(content: bytes, rng: Random, other: bytes) -> bytes:
    """Take the end away."""
    return content[: place(content, rng)]


def remove(content: bytes, rng: Random, other: bytes) -> bytes:
    """Take a piece away."""
    at = place(content, rng)
    return content[:at] + content[at + length(rng) :]


def insert(content: bytes, rng: Random, other: bytes) -> bytes:
    """Put bytes between others."""
    at, size = place(content, rng), length(rng)
    return content[:at] + rng.choice((bytes(size), rng.randbytes(size), b"\xff" * size)) + content[at:]


def repeat(content: bytes, rng: Random, other: bytes) -> bytes:
    """Put a piece there once more, or very often."""
    at, size = place(content, rng), length(rng)
    piece = content[at : at + size]
    return content[:at] + piece * min(rng.choice((2, 2, 10, 10_000)), MOST // (size + 1)) + content[at + size :]


def swap(content: bytes, rng: Random, other: bytes) -> bytes:
    """Let two pieces change places."""
    first, second = sorted((place(content, rng), place(content, rng)))
    size = min(length(rng), second - first)
    a, b = content[first : first + size], content[second : second + size]
    return content[:first] + b + content[first + size : second] + a + content[second + size :]


def splice(content: bytes, rng: Random, other: bytes) -> bytes:
    """Go over to another file of the same kind."""
    return content[: place(content, rng)] + other[place(other, rng) :]


def number(content: bytes, rng: Random, other: bytes) -> bytes:
    """Overwrite a place that may be a length or an offset with an integer on the edge of what fits."""
    size = rng.choice((2, 4, 8))
    at = place(content, rng) & ~(size - 1) if rng.random() < 0.5 else place(content, rng)
    value = rng.choice((*INTEGERS, len(content), len(content) + 1, rng.randrange(2**16))) % 256**size
    return content[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + content[at + size :]


BLIND: tuple[Spoiler, ...] = (flip_bits, overwrite, cut, remove, insert, repeat, swap, splice, number, number)


def blind(content: bytes, rng: Random, other: bytes) -> bytes:
    """Damage the content in one to four places."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(BLIND)(content, rng, other)
    return content[:MOST]


def spoil_with(spoil: Spoiler, content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil the content in one way; where that way cannot be gone, as another one came before it, damage it blindly."""
    try:
        return spoil(content, rng, other)
    except (ValueError, LookupError, TypeError, RecursionError, struct.error, zipfile.BadZipFile):
        return blind(content, rng, other)
