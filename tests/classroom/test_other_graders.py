"""Grading without our course."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from shared.classroom import grade_class
from tests.classroom.support import ROOT, TINY, hand_in

# --- other graders


def program(name: str) -> str:
    """The Python program of `docs/other-graders.md` that stands under this heading."""
    text = (ROOT / "docs" / "other-graders.md").read_text(encoding="utf-8")
    return text.split(f"\n## {name}\n")[1].split("```python\n")[1].split("```")[0]


def run_program(name: str, *arguments: Path) -> None:
    import subprocess

    done = subprocess.run([sys.executable, "-c", program(name), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_program_for_gradescope_translates_a_verdict(released, tmp_path):
    hand_in(released, "ann", {"add_up": "def add_up(numbers):\n    return float(sum(numbers[:3]))"})
    grade_class.grade(released, jobs=1)
    run_program("Gradescope", released.verdict_path(TINY, "ann"), tmp_path / "results.json")
    tests = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["tests"]
    visible_ones = [test for test in tests if test["visibility"] == "visible"]
    assert [(t["name"], t["score"], t["max_score"]) for t in visible_ones] == [
        ("add_up", 1, 2),
        ("ends", 3, 3),
        ("array", 1, 1),
    ]
    assert visible_ones[0]["output"] == "short lists: 1 of 1\nlong lists: 0 of 1"
    assert [test["name"] for test in tests if test["visibility"] == "hidden"] == ["add_up: why"]


def test_the_program_for_otter_makes_a_master_notebook_without_hidden_tests(released, tmp_path):
    import nbformat

    run_program("Otter-Grader", released.source(TINY), tmp_path / "master.ipynb")
    text = (tmp_path / "master.ipynb").read_text(encoding="utf-8")
    cells = nbformat.reads(text, as_version=4).cells
    assert "exam" not in text
    questions = [cell.source for cell in cells if cell.source.startswith("# BEGIN QUESTION")]
    assert [q.splitlines()[1:] for q in questions] == [
        ["name: test_add_up", "points: 2"],
        ["name: test_ends", "points: 3"],
        ["name: test_array", "points: 1"],
        ["name: why", "points: 4", "manual: true"],
    ]
    assert any("size + 1" in cell.source and "BEGIN PROMPT" in cell.source for cell in cells)
