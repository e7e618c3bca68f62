"""A self-learner lists, starts and checks an assignment."""

from __future__ import annotations

import json

import pytest

from shared.classroom import check as checking
from shared.classroom.rerun import MOST_STARTS, CellDiedError
from shared.classroom.selftest import with_answers
from shared.classroom.submission import read_notebook
from tests.classroom.support import TINY
from tools.classroom_tricks import find

# --- the self-learner


@pytest.fixture
def handed_out(released, monkeypatch):
    """The small assignment as if it came with the package."""
    from shared.classroom import form as notebooks

    monkeypatch.setattr(notebooks, "BUILT", released.folder / "release")
    return released


def test_a_learner_starts_checks_and_gets_hints_but_no_solution(call, handed_out, tmp_path):
    assert "Two numbers" in call("assignment", "list").stdout
    assert call("assignment", "start", "0", "work").returncode == 0
    path = tmp_path / "work" / f"{TINY}.ipynb"
    before = path.read_bytes()
    again = call("assignment", "start", "0", "work")
    assert again.returncode == 2
    assert "may hold your work" in again.stderr
    assert path.read_bytes() == before
    empty = call("assignment", "check", path)
    assert empty.returncode == 1
    assert "0 of 6 points, and 4 more for written answers" in empty.stdout
    assert "not written yet" in empty.stdout
    assert path.read_bytes() == before, "check must not change the notebook"
    notebook = read_notebook(path)
    find(notebook, "add_up")["source"] = "def add_up(numbers):\n    return 4.0"
    find(notebook, "ends")["source"] = "def ends(*numbers):\n    return numbers[0], numbers[-1]"
    find(notebook, "test_ends")["source"] = "pass"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    half = call("assignment", "check", path)
    assert half.returncode == 1
    assert "add one and two" in half.stdout
    assert "3 of 6 points" in half.stdout
    assert "test_ends was edited" in half.stdout
    assert "min(" not in half.stdout


def test_a_learner_who_has_it_all_right_gets_all_points(call, handed_out, tmp_path):
    source = read_notebook(handed_out.source(TINY))
    empty = read_notebook(handed_out.release(TINY) / f"{TINY}.ipynb")
    path = tmp_path / "mine.ipynb"
    path.write_text(json.dumps(with_answers(empty, source)), encoding="utf-8")
    result = call("assignment", "check", path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 of 6 points" in result.stdout


def test_what_was_found_before_the_last_death_stays_found(monkeypatch, tmp_path):
    """Four cells end the run, one after the other: as often as it is started."""
    found = []

    def one_pass(merged, assignment, folder, progress, deadly, errors):
        errors["test_first"] = "AssertionError: no"
        found.append(len(deadly))
        raise CellDiedError(len(deadly), "ended the whole process")

    monkeypatch.setattr(checking, "_pass", one_pass)
    merged = {"cells": [{"id": name} for name in ("test_first", "test_second", "a", "b")]}
    errors, notes = checking._run(merged, None, tmp_path, print)
    assert errors == {"test_first": "AssertionError: no", "test_second": "not reached"}
    assert found == list(range(MOST_STARTS))
    assert len(notes) == MOST_STARTS
