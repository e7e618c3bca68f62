"""The small assignment that the tests grade, and what they share."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

from shared.classroom import course as courses
from shared.classroom.course import Course
from shared.classroom.report import write_report
from shared.classroom.selftest import with_answers
from shared.classroom.submission import read_notebook

ROOT = Path(__file__).parents[2]
ASSIGNMENTS = ROOT / "tutorials" / "assignments"

TINY = "a0_tiny"
TOML = """
title = "Assignment 0. Two numbers"
about = "As small as an assignment can be."
minutes = 5
builds_on = [1]
goals = ["add numbers"]
hides = ["resnet_torch"]
seconds = 12
gigabytes = 0.5
"""
NOTEBOOK = """
# %%
import math

# %% [markdown]
# Task 1: `add_up`

# %% answer="add_up"
def add_up(numbers):
    ### BEGIN SOLUTION
    return float(sum(numbers))
    ### END SOLUTION

# %% test="add_up" points=2
assert add_up([1.0, 2.0]) == 3.0, "add one and two"
### BEGIN HIDDEN TESTS
from shared.classroom.exam import exam

SECRET = "what only the judge knows"
with exam.part(1, "short lists"):
    exam.equal(exam.call("add_up", [0.5, 0.25]), 0.75, "add_up([0.5, 0.25])")
with exam.part(1, "long lists"):
    numbers = exam.rng.normal(size=50).tolist()
    exam.close(exam.call("add_up", numbers), sum(numbers), "the sum of fifty numbers")
exam.score()
### END HIDDEN TESTS

# %% answer="ends"
def ends(*numbers):
    ### BEGIN SOLUTION
    return min(numbers), max(numbers)
    ### END SOLUTION

# %% test="ends" points=3
assert tuple(ends(1, 2, 3)) == (1, 3), "the smallest and the largest"
### BEGIN HIDDEN TESTS
with exam.part(3, "whole numbers"):
    for _ in range(3):
        numbers = exam.rng.integers(-99, 99, size=5).tolist()
        exam.equal(exam.call("ends", *numbers), (min(numbers), max(numbers)), f"ends{tuple(numbers)}")
exam.score()
### END HIDDEN TESTS

# %% answer="array"
### BEGIN SOLUTION
import numpy as np

def array(size):
    return np.ones((size, size), dtype="float32")
### END SOLUTION

# %% starts="array"
import numpy as np

def array(size):
    return np.ones((size, size + 1))

# %% test="array" points=1
assert array(2).size == 4, "how many numbers are there?"
### BEGIN HIDDEN TESTS
@exam.question
def squares(student, sizes):
    return {size: student.array(size) for size in sizes}

with exam.part(1, "shape and dtype"):
    for size, found in squares(sizes=[1, 4]).items():
        exam.equal(found, np.ones((size, size), dtype="float32"), f"array({size})")
exam.score()
### END HIDDEN TESTS

# %% [markdown] written="why" points=4
# Because.
""".replace("@exam.question", "import numpy as np\n\n\n@exam.question")
WRONG = """
# %% wrong="adds one" answer="add_up" loses={"add_up": 2}
def add_up(numbers):
    return float(sum(numbers)) + 1

# %% wrong="short only" answer="add_up" loses={"add_up": 1}
def add_up(numbers):
    return float(sum(numbers[:3]))

# %% wrong="two at once" answer="ends" loses={"ends": 3}
def ends(*numbers):
    return max(numbers), min(numbers)

# %% wrong="two at once" answer="array" loses={"array": 1}
def array(size):
    return np.ones((size, size))
"""


def write_tiny(folder: Path) -> Course:
    (folder / TINY).mkdir(parents=True)
    (folder / TINY / "assignment.toml").write_text(TOML, encoding="utf-8")
    (folder / TINY / "notebook.py").write_text(NOTEBOOK, encoding="utf-8")
    (folder / TINY / "wrong.py").write_text(WRONG, encoding="utf-8")
    shutil.copyfile(ASSIGNMENTS / courses.CONFIG, folder / courses.CONFIG)
    return Course(folder.resolve())


def hand_in(course: Course, student: str, answers: dict[str, str] | None = None, assignment: str = TINY) -> Path:
    source = read_notebook(course.source(assignment))
    empty = read_notebook(course.release(assignment) / f"{assignment}.ipynb")
    path = course.submission(assignment, student) / f"{assignment}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(with_answers(empty, source, answers)), encoding="utf-8")
    return path


def rows_of(table: Path) -> dict[str, dict[str, str]]:
    """The rows of a report, by student."""
    return {row["student"]: row for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())}


def report_row(course: Course) -> dict[str, str]:
    """The only row of the report."""
    (row,) = rows_of(write_report(course, None, course.folder / "report")[0]).values()
    return row
