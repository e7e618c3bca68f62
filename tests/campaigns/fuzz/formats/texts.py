"""Ways to spoil texts that people could have written, and JSON."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from tests.campaigns.fuzz.formats.damage import (
    INTEGERS,
    MOST,
    NUMBERS,
    VALUES,
    Spoiler,
    blind,
    odd_text,
    place,
    to_bytes,
)


def odd_number(content: bytes, rng: Random, other: bytes) -> bytes:
    """Replace one number of a text by one that few programs expect."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?", content))
    if not found:
        return content
    match = rng.choice(found)
    return content[: match.start()] + to_bytes(rng.choice(NUMBERS)) + content[match.end() :]


def odd_string(content: bytes, rng: Random, other: bytes) -> bytes:
    """Replace what stands between two quotation marks, or put an odd text somewhere."""
    found = list(re.finditer(rb'"[^"\n]*"', content))
    text = odd_text(rng)
    if found and rng.random() < 0.8:
        match = rng.choice(found)
        quoted = json.dumps(text) if rng.random() < 0.7 else f'"{text}"'
        return content[: match.start()] + to_bytes(quoted) + content[match.end() :]
    at = place(content, rng)
    return content[:at] + to_bytes(text) + content[at:]


def nest(content: bytes, rng: Random, other: bytes) -> bytes:
    """Open brackets and never close them, or close them all."""
    depth = rng.choice((5, 500, 5000, 200_000))
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"{a=", b"}"), (b"(", b")"), (b"a.", b"")))
    middle = b"1" if rng.random() < 0.7 else b""
    at = place(content, rng)
    if rng.random() < 0.5:  # in the place of a value, which is where a bracket may stand
        found = list(re.finditer(rb'(?<=[=:,] )("[^"\n]*"|[\w.-]+)', content))
        if found:
            match = rng.choice(found)
            return content[: match.start()] + opened * depth + middle + closed * depth + content[match.end() :]
    return content[:at] + opened * depth + middle + closed * rng.choice((0, depth)) + content[at:]


def lines(content: bytes, rng: Random, other: bytes) -> bytes:
    """Drop, repeat or exchange lines."""
    rows = content.splitlines(keepends=True)
    if not rows:
        return content
    at, to = rng.randrange(len(rows)), rng.randrange(len(rows))
    times = rng.choice((0, 0, 2, 1000))
    if times * len(rows[at]) > MOST:
        times = 2
    if rng.random() < 0.4:
        rows[at], rows[to] = rows[to], rows[at]
    else:
        rows[at : at + 1] = [rows[at]] * times
    return b"".join(rows)


TEXT: tuple[Spoiler, ...] = (odd_number, odd_number, odd_string, odd_string, nest, lines, blind)


def spoil_text(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a text that people could have written."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = rng.choice(TEXT)(content, rng, other)
    return content[:MOST]


def spoil_value(tree: Any, rng: Random) -> Any:
    """Return a tree of plain data in which one node is another one, gone, or there often."""
    if isinstance(tree, dict | list) and tree and rng.random() < 0.85:
        copy: Any = tree.copy()
        key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
        chance = rng.random()
        if chance < 0.08:
            del copy[key]
        elif chance < 0.14 and isinstance(copy, dict):
            copy[odd_text(rng)] = copy.pop(key)
        elif chance < 0.14:
            copy[key : key + 1] = [copy[key]] * rng.choice((2, 50))
        else:
            copy[key] = spoil_value(copy[key], rng)
        return copy
    chance = rng.random()
    if isinstance(tree, str) and chance < 0.4:
        return to_bytes(rng.choice((odd_text(rng), tree + odd_text(rng), tree * 3))).decode("utf-8", "surrogatepass")
    if isinstance(tree, int | float) and chance < 0.4:
        return rng.choice((-tree, tree + 1, tree * 1000, *INTEGERS))
    return rng.choice(VALUES)


def dump_json(tree: Any, rng: Random) -> bytes:
    """Return a tree as JSON, sometimes with a value so deep that no program walks down to it."""
    text = json.dumps(tree)
    if rng.random() < 0.06:
        depth = rng.choice((900, 5000, 100_000))
        opened, closed = rng.choice((("[", "]"), ('{"a":', "}")))
        tokens = list(re.finditer(r'(?<=[:,] )("[^"\\]{0,80}"|-?[\d.]+)(?=[,}\]])', text))
        if tokens:
            token = rng.choice(tokens)
            text = text[: token.start()] + opened * depth + "1" + closed * depth + text[token.end() :]
    return to_bytes(text)


def spoil_json(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil values of a JSON text, which mostly stays one."""
    if rng.random() < 0.2:
        return spoil_text(content, rng, other)
    try:
        tree = json.loads(content)
    except ValueError:
        return spoil_text(content, rng, other)
    for _ in range(rng.choice((1, 1, 2, 5))):
        tree = spoil_value(tree, rng)
    return dump_json(tree, rng)
