"""What a teacher's computer reads: submissions, verdicts, class lists, and answers of students' processes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np

from shared.classroom.form import release_folders
from shared.classroom.grading import Mark, Verdict
from shared.classroom.sandbox import wire
from tests.campaigns.fuzz.formats.damage import blind, odd_text
from tests.campaigns.fuzz.formats.texts import spoil_json
from tests.campaigns.fuzz.formats.weights import spoil_safetensors


def notebooks() -> list[bytes]:
    """Return submissions: the assignments as they are handed out, the first one more often and filled in."""
    found = [(folder / f"{folder.name}.ipynb").read_bytes() for folder in release_folders()]
    filled = json.loads(found[0])
    for cell in filled["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = "def answer(x):\n    return x + 1\n"
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    return [found[0], json.dumps(filled).encode(), json.dumps(filled, indent=1).encode(), *found]


def spoil_notebook(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a submission: its cells, their names, or what stands in them."""
    if rng.random() < 0.6:
        return spoil_json(content, rng, other)
    notebook = json.loads(content)
    cells = notebook["cells"]
    at = rng.randrange(len(cells))
    sources: tuple[Any, ...] = (
        "### BEGIN HIDDEN TESTS\n" * 50_000,
        "### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS\n" * 20_000,
    )
    sources += (
        "\n" * 1_000_000,
        " " * 1_000_000,
        ["x = 1\n"] * 100_000,
        "a" * 1_000_000,
        "é" * 100_000,
        "\u202e# a\r# b\x1b[2J",
    )
    chance = rng.random()
    if chance < 0.4:
        cells[at]["source"] = rng.choice(sources)
    elif chance < 0.55:
        cells[at : at + 1] = [cells[at]] * rng.choice((2, 3000))
    elif chance < 0.7:
        rng.shuffle(cells)
    elif chance < 0.85:
        cells[at]["metadata"]["nbgrader"] = rng.choice(
            ({"grade_id": cells[0].get("id"), "solution": True}, {"grade_id": "x" * 100_000}, {"grade_id": [1]}, [], 3)
        )
    else:
        stream = {"output_type": "stream", "name": "stdout", "text": odd_text(rng)}
        cells[at]["outputs"] = [stream] * rng.choice((1, 50_000 if len(stream["text"]) < 50 else 20))
    return json.dumps(notebook).encode()


def verdict() -> bytes:
    """Return a verdict as grading writes it."""
    part = {"title": "adds", "points": 2.0, "earned": 1.0, "reason": "2 + 2 is 4", "unsure": False}
    marks = [Mark(task="output_size", points=3.0, score=1.0, parts=[part]), Mark(task="why", points=2.0, score=None)]
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1", "outputs": [], "execution_count": None}
    found = Verdict(student="ann", assignment="a1", digest="0" * 64, marks=marks, cells=[cell], look=["looks odd"])
    return found.to_json().encode()


def class_lists() -> list[bytes]:
    """Return a table of students as spreadsheets save it."""
    rows = [["id", "first_name", "last_name", "email"], ["ann", "Ann", "Ä", "a@x"], ["bob", "Bob", "B", ""]]
    tables = ["\r\n".join(sign.join(row) for row in rows) for sign in ",;\t"]
    encodings = ("utf-8", "utf-8-sig", "utf-16", "cp1252")
    return [table.encode(encoding) for table in tables for encoding in encodings]


def answers() -> list[bytes]:
    """Return what a student's process sends back."""
    values: tuple[Any, ...] = (
        3,
        {"value": np.arange(12.0).reshape(3, 4), "error": None},
        {"outputs": [{"output_type": "stream", "text": "x"}], "error": None, "value": [1, 2.5, "x", None, (1, 2)]},
        [np.zeros((2, 0)), np.float32(1), True],
    )
    return [wire.to_bytes(value) for value in values]


def spoil_answer(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil the tree of an answer, or its arrays, and give both the right lengths."""
    if rng.random() < 0.4:
        return blind(content, rng, other)
    (size,) = wire.LENGTH.unpack_from(content)
    tree, arrays = content[8 : 8 + size], content[8 + size :]
    if rng.random() < 0.6:
        tree = spoil_json(tree, rng, b"{}")
    else:
        arrays = spoil_safetensors(arrays, rng, arrays)
    if rng.random() < 0.05:
        tree = b'{"list": [' + b'{"list": []},' * 300_000 + b"1]}"
    return wire.LENGTH.pack(len(tree)) + tree + arrays
