"""Fixtures for tests of the classroom."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.base.printable import printable
from shared.classroom import course as courses
from shared.classroom import grade_class, report
from shared.classroom.course import Course
from shared.classroom.folders import remove_tree
from tests.classroom.support import TINY, write_tiny
from tools.classroom_trial import Outcome, run_class


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    """Skip, with the reason, where the packages of the classroom are not installed."""
    for package in ("nbgrader", "jupytext", "pebble"):
        pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.fixture
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grade, and write pages, in this process: to start another one takes seconds, and other tests do."""

    def each(function: Callable[..., None], inputs: Sequence[tuple[Any, ...]], *_: Any) -> Iterator[tuple[int, str]]:
        for number, given in enumerate(inputs):
            failure = ""
            try:
                function(*given)
            except Exception as error:
                failure = f"the grader failed: {type(error).__name__}: {printable(error)}"
            yield number, failure

    for module in (grade_class, report):
        monkeypatch.setattr(module, "each_apart", each)


@pytest.fixture
def tiny(tmp_path: Path) -> Course:
    return write_tiny(tmp_path / "course")


@pytest.fixture(scope="session")
def released_once(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A released course that no test changes: nbgrader takes seconds to make one."""
    course = write_tiny(tmp_path_factory.mktemp("released") / "course")
    courses.release(course)
    return course


@pytest.fixture
def released(released_once: Course, tmp_path: Path) -> Course:
    shutil.copytree(released_once.folder, tmp_path / "course")
    return Course((tmp_path / "course").resolve())


@pytest.fixture(scope="session")
def graded_class(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Course, dict[str, Outcome]]]:
    """The class of `tools/classroom_trial.py`, graded once, with its tricks planted into the answer `ends`."""
    course = write_tiny(tmp_path_factory.mktemp("class") / "course")
    courses.release(course)
    outcomes, _ = run_class(course, TINY, "ends", jobs=2)
    yield course, {outcome.handed.name: outcome for outcome in outcomes}
    remove_tree(course.folder)  # pytest's own way is recursive
