"""Assignments: a class with every trick we know is graded as it should be, and the teacher's files stay untouched."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nbgrader", reason="nbgrader is not installed")
pytest.importorskip("jupytext", reason="jupytext is not installed")

from shared.base.errors import InputError
from shared.classroom import course as courses
from shared.classroom import grade_class
from shared.classroom.course import Course
from shared.classroom.exam import Exam, StudentError, WrongAnswerError
from shared.classroom.folders import remove_tree
from shared.classroom.form import build_source, read_assignment
from shared.classroom.report import for_cell, write_feedback, write_report
from shared.classroom.sandbox import wire
from shared.classroom.sandbox.sandbox import DiedError, Limits, Sandbox, why_not
from shared.classroom.selftest import selftest, with_answers, wrong_answers
from shared.classroom.submission import find_tasks, identity, merge, read_notebook, split_hidden
from tools.build_assignments import README, readme_with_table
from tools.classroom_trial import CLASS, Outcome, find, run_class

ROOT = Path(__file__).parents[1]
ASSIGNMENTS = ROOT / "tutorials" / "assignments"
NAMES = sorted(path.parent.name for path in ASSIGNMENTS.glob("*/notebook.py"))
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


@pytest.fixture
def tiny(tmp_path: Path) -> Course:
    return write_tiny(tmp_path / "course")


@pytest.fixture
def released(tiny: Course) -> Course:
    courses.release(tiny)
    return tiny


@pytest.fixture(scope="session")
def graded_class(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Course, dict[str, Outcome]]]:
    """The class of `tools/classroom_trial.py`, graded once, with its tricks planted into the answer `ends`."""
    course = write_tiny(tmp_path_factory.mktemp("class") / "course")
    courses.release(course)
    outcomes, _ = run_class(course, TINY, "ends", jobs=2)
    yield course, {outcome.handed.name: outcome for outcome in outcomes}
    remove_tree(course.folder)  # pytest's own way is recursive


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


# --- the tricks


@pytest.mark.parametrize("name", [handed.name for handed in CLASS])
def test_each_student_gets_the_marks_and_flags_that_fit(graded_class, name):
    outcomes = graded_class[1]
    if name not in outcomes:
        pytest.skip(f"only a sandbox stops this: {why_not()}")
    assert outcomes[name].problems == []


def test_nobody_of_the_class_is_lost(graded_class):
    course, outcomes = graded_class
    assert course.students() == sorted(outcomes)
    for student in outcomes:
        assert (course.folder / "autograded" / student / TINY / f"{TINY}.ipynb").exists(), student


def test_a_process_that_dies_costs_only_the_task_that_killed_it(graded_class):
    marks = graded_class[1]["os._exit"].line.marks
    assert marks["test_ends"] == 0
    assert marks["test_add_up"] == 2
    assert marks["test_array"] == 1


def test_pages_for_students_do_not_show_hidden_tests(graded_class):
    course, _ = graded_class
    pages, failed = write_feedback(course, None)
    assert failed == []
    assert len(pages) == len(course.students())
    good = next(page for page in pages if "/good/" in page.as_posix()).read_text(encoding="utf-8")
    assert "short lists: 1 of 1 points" in good
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for secret in ("what only the judge knows", '<span class="n">exam</span>', "HIDDEN TESTS"):
            assert secret not in text, f"{page} shows {secret!r}"


def test_the_released_notebook_has_no_solution_and_no_hidden_test(released):
    text = (released.release(TINY) / f"{TINY}.ipynb").read_text(encoding="utf-8")
    assert "NotImplementedError" in text
    for secret in ("min(numbers)", "HIDDEN", "SOLUTION", "exam", "Because", "ones((size, size), dtype"):
        assert secret not in text
    assert "size + 1" in text, "the program to mend is not what students start with"


def test_the_report_names_all_that_needs_a_look(graded_class, tmp_path):
    course, outcomes = graded_class
    class_list = "".join(f"{name},{name.title()}\n" for name in ["absent", *outcomes])
    (course.folder / "students.csv").write_text(f"id,first_name\n{class_list}", encoding="utf-8")
    try:
        table, page = write_report(course, None, tmp_path / "report")
    finally:
        (course.folder / "students.csv").unlink()
    rows = rows_of(table)
    assert rows.keys() == {"absent", *map(for_cell, outcomes)}
    assert rows["good"] == {
        "assignment": TINY,
        "student": "good",
        "add_up": "2",
        "ends": "3",
        "array": "1",
        "why": "",
        "total": "6",
        "of": "10",
        "flags": "written",
        "notes": "written: why",
    }
    assert rows["absent"]["flags"] == "missing"
    assert rows["broken file"]["flags"] == "failed"
    assert "tampered" in rows["points"]["flags"]
    text = page.read_text(encoding="utf-8")
    assert "absent" in text
    assert "nothing was handed in" in text
    assert "<script" not in text.lower()


# --- the exam


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (True, 1),
        (1.0, 1),
        ("1", 1),
        (None, 0),
        ([1, 2], [1, 2, 3]),
        ({"a": 1}, {"b": 1}),
        (np.zeros(2), [0.0, 0.0]),
        (np.zeros((1, 2)), np.zeros(2)),
        (np.zeros(2, "float32"), np.zeros(2)),
        (np.zeros(2, int), np.zeros(2)),
        (np.array([0.0, np.nan]), np.zeros(2)),
        (float("nan"), 0.0),
        (1e-3, 0.0),
    ],
)
def test_an_answer_of_the_wrong_type_shape_or_value_is_wrong(answer, expected):
    with pytest.raises(WrongAnswerError, match="it"):
        Exam().equal(answer, expected, "it")


def test_close_takes_either_precision_but_not_nan():
    exam = Exam()
    exam.close(np.full(3, 1 + 1e-6, "float32"), np.ones(3), "it")
    exam.close(1, 1.0, "it")
    for answer in (np.array([1.0, 1.0, np.nan]), np.array([1.0, 1.0, np.inf]), np.array([1, 1, 1])):
        with pytest.raises(WrongAnswerError):
            exam.close(answer, np.ones(3), "it")


def test_a_part_without_a_judgement_earns_nothing_and_is_marked_as_unsure():
    exam = Exam()
    with exam.part(2, "broken"):
        _ = {}["no such key"]
    with exam.part(3, "whole"):
        pass
    assert [(part.earned, part.unsure) for part in exam.parts] == [(0, True), (3, False)]


def test_questions_can_be_asked_in_the_notebook_itself(monkeypatch):
    import __main__

    monkeypatch.setattr(__main__, "double", lambda x: 2 * x, raising=False)
    exam = Exam()
    assert exam.call("double", 4) == 8
    assert np.array_equal(exam.call("double", np.ones(2)), [2, 2])
    with pytest.raises(StudentError, match="does not define triple"):
        exam.call("triple", 4)


def test_a_hidden_test_that_gives_no_score_leaves_the_mark_to_a_person(tiny):
    path = tiny.folder / TINY / "notebook.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("exam.score()\n### END", "### END", 1), encoding="utf-8")
    courses.release(tiny)
    hand_in(tiny, "ann")
    grade_class.grade(tiny, jobs=1)
    row = report_row(tiny)
    assert row["add_up"] == "", "marks for a cell that gave no score"
    assert row["ends"] == "3"
    assert row["flags"].split() == ["look", "written"]
    assert "gave no score" in row["notes"]


# --- the wire


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, "text", [1, [2.0, None]], {"a": 1, 2: [3]}, np.arange(6).reshape(2, 3), np.float32(2.5)],
)
def test_plain_data_comes_through_the_wire_as_it_was(value):
    back = wire.from_bytes(wire.to_bytes(value))
    assert np.array_equal(back, value) if isinstance(value, np.ndarray) else back == value


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, np.array([object()]), np.array(["a"]), b"bytes", 1j, {1: {2: {}}}.items()]
)
def test_objects_do_not_get_on_the_wire(value):
    with pytest.raises(wire.WireError, match="expected"):
        wire.to_bytes(value)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00" * 7, b"\xff" * 64, wire.LENGTH.pack(2) + b"{}", wire.LENGTH.pack(9) + b'{"a": 1}\n' + b"\xff" * 20],
)
def test_bytes_that_are_no_answer_are_refused(data):
    with pytest.raises(wire.WireError, match="not readable"):
        wire.from_bytes(data)


# --- the sandbox


def test_the_sandbox_shows_pictures_as_jupyter_does():
    pytest.importorskip("matplotlib")
    with Sandbox(Limits()) as sandbox:
        reply = sandbox.run_cell("%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
    assert reply["error"] is None
    assert [list(output["data"]) for output in reply["outputs"]] == [["text/plain", "image/png"]]


def test_html_and_scripts_of_students_do_not_reach_the_teachers_browser():
    with Sandbox(Limits()) as sandbox:
        reply = sandbox.run_cell("from IPython.display import HTML\nHTML('<script>alert(1)</script>')")
    assert "text/html" not in json.dumps(reply)


def test_scripts_in_written_answers_do_not_run_on_anybodys_page(released):
    text = "Because <script>alert(1)</script><img src=x onerror=alert(2)> 1 < 2 and **so on**."
    hand_in(released, "ann", {"why": text})
    grade_class.grade(released, jobs=1)
    ((page,), _) = write_feedback(released, None)
    cells = read_notebook(released.folder / "autograded" / "ann" / TINY / f"{TINY}.ipynb")["cells"]
    answer = next(cell["source"] for cell in cells if identity(cell) == "why")
    assert "**so on**" in answer
    for shown in (answer, page.read_text(encoding="utf-8")):
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown.replace('"', "") or "onerror" not in shown


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_the_sandbox_hides_packages_and_folders(tmp_path):
    code = "import resnet_torch\nprint(hasattr(resnet_torch, 'create_model'))"
    with Sandbox(Limits(), hides=["resnet_torch"], secret=[ROOT]) as sandbox:
        hidden = sandbox.run_cell(code)
        shown = sandbox.run_cell("import shared\nprint(shared.__version__)")
        home = sandbox.run_cell(f"import os\nprint(os.path.exists({str(ASSIGNMENTS)!r}), os.environ.get('USER'))")
    assert "True" not in json.dumps(hidden)
    assert shown["error"] is None
    assert home["outputs"][0]["text"] == "False None\n"


def test_without_bubblewrap_grading_goes_on_and_says_so(released, monkeypatch):
    from shared.classroom.sandbox import sandbox

    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    sandbox.why_not.cache_clear()
    try:
        hand_in(released, "ann")
        (verdict,) = grade_class.grade(released, jobs=1)
        assert "bubblewrap is missing" in sandbox.why_not()
    finally:
        monkeypatch.undo()
        sandbox.why_not.cache_clear()
    assert not verdict.sandboxed
    assert sum(mark.score or 0 for mark in verdict.marks) == 6


def test_a_process_that_is_gone_stays_gone():
    with Sandbox(Limits(cell_seconds=1)) as sandbox:
        started = time.monotonic()
        with pytest.raises(DiedError, match="more than 1 seconds"):
            sandbox.run_cell("while True: pass")
        assert time.monotonic() - started < 20
        with pytest.raises(DiedError, match="more than 1 seconds"):
            sandbox.run_cell("1")


# --- the course


def test_selftest_passes_on_a_right_assignment_and_reports_a_wrong_one(tiny):
    trials = selftest(tiny, jobs=2)
    assert [trial.name for trial in trials] == [
        "solution",
        "empty",
        "wrong 1 - adds one",
        "wrong 2 - short only",
        "wrong 3 - two at once",
    ]
    assert all(trial.passed for trial in trials), [trial for trial in trials if not trial.passed]
    path = tiny.folder / TINY / "wrong.py"
    path.write_text(WRONG.replace('{"add_up": 1}', '{"add_up": 2}'), encoding="utf-8")
    assert [trial.name for trial in selftest(tiny, jobs=2) if not trial.passed] == ["wrong 2 - short only"]
    quick = selftest(tiny, quick=True, jobs=2)
    assert [trial.name for trial in quick[2:]] == ["wrong 1 - adds one, two at once", "wrong 2 - short only"]
    assert [trial.passed for trial in quick] == [True, True, True, False]
    assert not (tiny.folder / "gradebook.db").exists(), "selftest must not touch the course"


def test_selftest_finds_visible_tests_that_stop_right_answers_or_let_empty_ones_pass(tiny):
    path = tiny.folder / TINY / "notebook.py"
    text = path.read_text(encoding="utf-8").replace("== 3.0", "== 4.0").replace("array(2).size == 4", "array(2).size")
    path.write_text(text, encoding="utf-8")
    solution, empty = selftest(tiny, quick=True, jobs=2)[:2]
    assert solution.got == solution.expected
    assert solution.problems == ["test_add_up: the visible test stops a right answer: AssertionError: add one and two"]
    assert empty.problems == ["test_array: the visible test lets an empty answer pass"]


def test_selftest_takes_names_of_any_length_and_with_any_character(tiny):
    path = tiny.folder / TINY / "wrong.py"
    long = "adds one, and then says of it so many words that " * 3
    path.write_text(WRONG.replace("adds one", long).replace("short only", "a[1] * b/c?"), encoding="utf-8")
    trials = selftest(tiny, jobs=2)
    assert [trial.passed for trial in trials] == [True] * 5
    assert trials[3].name == "wrong 2 - a-1- - b-c-"


def test_names_of_people_and_of_learning_platforms_are_graded_as_they_are(released):
    students = ["José", "x+y", "O'Neil", "dot.name", "b c", "paren (2)", "-dash", "{x}", "a,b", "a;b"]
    for student in students:
        hand_in(released, student)
    grade_class.grade(released, jobs=2)
    table, _ = write_report(released, None, released.folder / "report")
    rows = rows_of(table)
    assert rows.keys() == {"'-dash" if student == "-dash" else student for student in students}
    for student, row in rows.items():
        assert (row["total"], row["flags"]) == ("6", "written"), student
    assert len(write_feedback(released, None)[0]) == len(students)


def test_what_was_graded_is_not_run_again_until_it_changes(released):
    path = hand_in(released, "ann")
    first = grade_class.grade(released, jobs=1)[0]
    stamp = released.verdict_path(TINY, "ann").stat().st_mtime_ns
    grade_class.grade(released, jobs=1)
    assert released.verdict_path(TINY, "ann").stat().st_mtime_ns == stamp
    path.write_text(path.read_text(encoding="utf-8").replace("float(sum(numbers))", "0.0"), encoding="utf-8")
    second = grade_class.grade(released, jobs=1)[0]
    assert [mark.score for mark in first.marks[:1] + second.marks[:1]] == [2, 0]


def test_a_mark_given_by_a_person_survives_grading_again(released):
    from shared.classroom.course import nbgrader_api

    hand_in(released, "ann")
    grade_class.grade(released, jobs=1)
    with nbgrader_api(released) as api, api.gradebook as gradebook:
        gradebook.find_grade("why", TINY, TINY, "ann").manual_score = 3.0
        gradebook.db.commit()
    grade_class.grade(released, jobs=1, again=True)
    row = report_row(released)
    assert (row["why"], row["total"]) == ("3", "9")


def test_nbgraders_own_command_grades_in_the_same_way(released):
    import subprocess

    hand_in(released, "ann", {"add_up": "def add_up(numbers):\n    return float(sum(numbers[:3]))"})
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "autograde", TINY],
        cwd=released.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    notebook = read_notebook(released.folder / "autograded" / "ann" / TINY / f"{TINY}.ipynb")
    outputs = find(notebook, "test_add_up")["outputs"]
    assert outputs[-1]["data"]["text/plain"] in ("1", ["1"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"cells": 1}',
        '{"cells": [1]}',
        '{"cells": [{"cell_type": "code", "metadata": [], "source": ""}]}',
        '{"cells": [{"cell_type": "video", "metadata": {}, "source": ""}]}',
        '{"cells": [{"cell_type": "code", "metadata": {}, "source": [1]}]}',
        "[" * 100_000,
    ],
    ids=range(9),
)
def test_a_file_that_is_no_notebook_gets_no_points_and_a_line_in_the_report(released, text):
    path = hand_in(released, "ann")
    path.write_text(text, encoding="utf-8")
    verdict = grade_class.verdict_on(released, TINY, "ann")
    assert len(verdict.failed) == 1
    assert "a0_tiny.ipynb is not a notebook that can be read" in verdict.failed[0]
    assert [mark.score for mark in verdict.marks] == [0, 0, 0, None]


def test_half_characters_and_odd_metadata_do_not_stop_the_grading(released):
    path = hand_in(released, "ann", {"add_up": "def add_up(numbers):\n    return float(sum(numbers))  # \ud800"})
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"].append({"cell_type": "code", "metadata": {"nbgrader": 3}, "source": "print('\ud800')"})
    notebook["cells"].append({"cell_type": "markdown", "metadata": {"nbgrader": {"grade_id": []}}, "source": "x"})
    path.write_text(json.dumps(notebook), encoding="utf-8")
    grade_class.grade(released, jobs=1)
    row = report_row(released)
    assert row["total"] == "6"
    assert (released.folder / "autograded" / "ann" / TINY / f"{TINY}.ipynb").exists()


def test_a_notebook_under_another_name_is_graded_and_mentioned(released):
    path = hand_in(released, "ann")
    path.rename(path.with_name("a0_tiny (2).ipynb"))
    (verdict,) = grade_class.grade(released, jobs=1)
    assert sum(mark.score or 0 for mark in verdict.marks) == 6
    assert any("a0_tiny (2).ipynb" in reason for reason in verdict.look)


def test_merge_puts_the_teachers_cells_back_and_keeps_what_the_student_added(released):
    source = read_notebook(released.source(TINY))
    empty = read_notebook(released.release(TINY) / f"{TINY}.ipynb")
    notebook = with_answers(empty, source)
    notebook["cells"].insert(3, {"cell_type": "code", "metadata": {}, "source": "helper = 1", "outputs": []})
    merged, findings = merge(source, empty, notebook)
    assert findings == []
    assert [cell["source"] for cell in merged["cells"]].index("helper = 1") == 3
    assert [identity(c) for c in merged["cells"] if identity(c)] == [identity(c) for c in source["cells"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("points=3", "points=0"), "ends has no points"),
        (lambda text: text.replace('answer="ends"', 'answer="add_up"'), "add_up stands for two cells"),
        (lambda text: text.replace('starts="array"', 'starts="other"'), "belongs to no answer"),
        (lambda text: text.replace("### END HIDDEN", "# END HIDDEN"), "has no hidden tests"),
        (lambda text: text.replace("points=2", "points=two"), "cell with hidden tests, whose marks cannot be read"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(tiny, change, message):
    path = tiny.folder / TINY / "notebook.py"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        build_source(tiny.folder / TINY)


def test_what_nbgrader_refuses_is_told_with_its_reason(tiny, monkeypatch):
    path = tiny.folder / TINY / "notebook.py"
    text = path.read_text(encoding="utf-8").replace("# %%\nimport math", "# %%\n### BEGIN SOLUTION\nimport math")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match="could not make the student version of a0_tiny: RuntimeError: no end solution"
    ):
        courses.release(tiny)


@pytest.mark.parametrize(
    "data",
    [
        "id,name\nann,A\nJörg,B\n".encode(),
        "\ufeffid,name\nann,A\nJörg,B\n".encode(),
        "ID; name\r\nann; A\r\nJörg; B\r\n".encode("cp1252"),
        "name\tid\nA\tann\nB\tJörg\n\n".encode("utf-16"),
    ],
)
def test_a_class_list_is_read_as_any_spreadsheet_saves_it(tiny, data):
    (tiny.folder / "students.csv").write_bytes(data)
    assert tiny.students() == ["Jörg", "ann"]


def test_a_class_list_without_a_column_id_is_refused_with_its_first_line(tiny):
    (tiny.folder / "students.csv").write_text("ann;A\nbob;B\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"one must be called id; it is 'ann;A'"):
        tiny.students()


def test_notebooks_in_the_wrong_place_are_named_and_make_no_students(released, tmp_path):
    path = hand_in(released, "ann")
    submitted = released.folder / "submitted"
    wrong = {
        "ina/work.ipynb": "submitted/ina/NAME/",
        f"karl/A0/{TINY}.ipynb": f"submitted/karl/{TINY}/",
        "lena.ipynb": "submitted/STUDENT/NAME/",
        f"{TINY}/mona/{TINY}.ipynb": f"submitted/mona/{TINY}/",
        f"nils/{TINY}/{TINY}/x.ipynb": f"submitted/nils/{TINY}/",
    }
    fine = [f"ann/{TINY}/old/draft.ipynb", f"ann/{TINY}/.ipynb_checkpoints/x.ipynb", "__MACOSX/ann/x.ipynb"]
    for name in [*wrong, *fine]:
        (submitted / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, submitted / name)
    assert released.students() == ["ann", "ina", "karl", "nils"]
    told: list[str] = []
    grade_class.grade(released, jobs=1, report=told.append)
    told = [line for line in told if line.startswith("not graded")]
    _, page = write_report(released, None, tmp_path / "report")
    shown = page.read_text(encoding="utf-8")
    assert len(told) == len(wrong)
    for name, home in wrong.items():
        line = f"submitted/{name} is not where grading looks; it belongs into {home}"
        assert f"not graded: {line}" in told
        assert line in shown


def test_when_all_lies_in_the_wrong_place_the_error_says_where(released):
    path = released.folder / "submitted" / "ann" / "work.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"nothing was handed in: .*; but submitted.ann.work\.ipynb is not where"):
        grade_class.grade(released, jobs=1)


def test_what_was_never_released_in_this_course_is_not_graded(released):
    hand_in(released, "ann")
    (released.folder / "gradebook.db").unlink()  # as after copying a course whose release/ is built already
    with pytest.raises(InputError, match=r"a0_tiny: not released in this course yet; run resnet-twins classroom rel"):
        grade_class.grade(released, jobs=1)
    courses.release(released)
    (verdict,) = grade_class.grade(released, jobs=1)
    assert verdict.failed == []


def test_marks_that_could_not_be_entered_are_entered_the_next_time(released):
    import sqlite3

    hand_in(released, "ann")
    base = sqlite3.connect(released.folder / "gradebook.db")
    base.execute("create trigger full before insert on submitted_assignment begin select raise(abort, 'no room'); end")
    base.commit()
    (verdict,) = grade_class.grade(released, jobs=1)
    assert "nbgrader could not enter the marks: " in verdict.failed[0]
    assert "no room" in verdict.failed[0]
    base.execute("drop trigger full")
    base.commit()
    base.close()
    (verdict,) = grade_class.grade(released, jobs=1)
    assert verdict.failed == []
    table, _ = write_report(released, None, released.folder / "report")
    assert "a0_tiny,ann,2,3,1,,6,10,written" in table.read_text(encoding="utf-8")


def test_a_released_assignment_that_changes_is_mentioned_once_there_are_submissions(released):
    told: list[str] = []
    courses.release(released, report=told.append)
    hand_in(released, "ann")
    courses.release(released, report=told.append)
    assert told == []
    path = released.folder / TINY / "notebook.py"
    path.write_text(path.read_text(encoding="utf-8").replace("import math", "import cmath"), encoding="utf-8")
    courses.release(released, report=told.append)
    assert told == [
        "a0_tiny has changed, and 1 submissions are of the version before: cells that you changed will be reported in "
        "them as edited"
    ]


def test_the_report_says_when_marks_are_not_of_what_lies_there_now(released):
    path = hand_in(released, "ann")
    grade_class.grade(released, jobs=1)
    assert report_row(released)["flags"] == "written"
    path.write_text(path.read_text(encoding="utf-8").replace("float(sum(numbers))", "0.0"), encoding="utf-8")
    assert "has changed since; grade again" in report_row(released)["notes"]
    grade_class.grade(released, jobs=1)
    assert report_row(released)["flags"] == "written"
    path.unlink()
    path.parent.rmdir()
    (released.folder / "students.csv").write_text("id\nann\n", encoding="utf-8")
    hand_in(released, "other")
    table, _ = write_report(released, None, released.folder / "report")
    rows = rows_of(table)
    assert "what was handed in is gone" in rows["ann"]["notes"]
    assert "look: not in students.csv" in rows["other"]["notes"]


def test_a_persons_mark_stands_for_its_answer_and_is_asked_for_again_when_that_changes(released):
    from shared.classroom.course import nbgrader_api

    def mark(score: float) -> None:  # as nbgrader's pages do
        with nbgrader_api(released) as api, api.gradebook as gradebook:
            grade = gradebook.find_grade("why", TINY, TINY, "ann")
            grade.manual_score, grade.needs_manual_grade = score, False
            gradebook.db.commit()

    path = hand_in(released, "ann", {"why": "Because it is so."})
    grade_class.grade(released, jobs=1)
    mark(3.0)
    path.write_text(path.read_text(encoding="utf-8").replace("float(sum(numbers))", "0.0"), encoding="utf-8")
    grade_class.grade(released, jobs=1)  # other answers have changed, this one has not
    assert (report_row(released)["why"], report_row(released)["flags"]) == ("3", "")
    path.write_text(path.read_text(encoding="utf-8").replace("Because it is so.", "I do not know."), encoding="utf-8")
    grade_class.grade(released, jobs=1)
    grade_class.grade(released, jobs=1)  # grading twice must not make it look right
    assert "why: marked before; is the mark still right for this answer?" in report_row(released)["notes"]
    mark(0.0)
    grade_class.grade(released, jobs=1)
    assert (report_row(released)["why"], report_row(released)["flags"]) == ("0", "")


def test_a_mark_that_a_person_gave_in_place_of_a_test_is_asked_for_again_after_every_grading(tiny):
    """The test's own text never changes: it says nothing of the answer, so no mark stands because of it."""
    from shared.classroom.course import nbgrader_api

    path = tiny.folder / TINY / "notebook.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("exam.score()\n### END", "### END", 1), encoding="utf-8")  # it gives no score
    courses.release(tiny)
    path = hand_in(tiny, "ann")
    grade_class.grade(tiny, jobs=1)
    with nbgrader_api(tiny) as api, api.gradebook as gradebook:
        grade = gradebook.find_grade("test_add_up", TINY, TINY, "ann")
        grade.manual_score, grade.needs_manual_grade = 2.0, False
        gradebook.db.commit()
    path.write_text(path.read_text(encoding="utf-8").replace("float(sum(numbers))", "0.0"), encoding="utf-8")
    grade_class.grade(tiny, jobs=1)
    assert "test_add_up: marked before" in report_row(tiny)["notes"]


def test_the_teachers_page_says_why_points_were_lost(graded_class, tmp_path):
    course, _ = graded_class
    page = write_report(course, None, tmp_path / "report")[-1].read_text(encoding="utf-8")
    assert "<summary><b>nan</b>, parts lost: 1</summary>" in page
    assert "ends, whole numbers: 0 of 3, ends(" in page
    assert "<summary><b>good</b>" not in page


def test_a_copy_as_browsers_name_it_is_found_among_other_notebooks(released):
    path = hand_in(released, "ann")
    path.rename(path.with_name(f"{TINY} (1).ipynb"))
    path.with_name("draft.ipynb").write_text("{}", encoding="utf-8")
    (verdict,) = grade_class.grade(released, jobs=1)
    assert sum(mark.score or 0 for mark in verdict.marks) == 6
    assert verdict.look == [f"the notebook is called {TINY} (1).ipynb"]


def test_a_course_is_found_from_within_and_never_that_of_the_clone_from_outside(call, released, tmp_path, monkeypatch):
    (released.folder / "submitted").mkdir()
    monkeypatch.chdir(released.folder / "submitted")
    assert courses.open_course(None) == released
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"is no course, nor does it lie in one .*--course"):
        courses.open_course(None)
    assert courses.open_course(None, ours=True).folder == ASSIGNMENTS
    monkeypatch.chdir(ROOT / "docs")
    assert courses.open_course(None).folder == ASSIGNMENTS


def test_bad_usage_is_one_line_and_exit_code_2(call, tmp_path, tiny):
    for arguments, words in (
        (("assignment", "start", "99"), "there is no assignment '99'"),
        (("assignment", "check", "absent.ipynb"), "there is no file absent.ipynb"),
        (("classroom", "grade", "--course", "."), "not a course"),
        (("classroom", "grade", "--course", tiny.folder), "nothing was handed in"),
        (("classroom", "report", "--course", tiny.folder), "nothing to report"),
        (("classroom", "release", "a7", "--course", tiny.folder), "no assignment 'a7'"),
    ):
        result = call(*arguments)
        assert result.returncode == 2, arguments
        assert words in result.stderr
        assert result.stderr.count("\n") <= 3, result.stderr


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


# --- the eight assignments


def test_there_are_eight_assignments():
    assert [name.split("_")[0] for name in NAMES] == [f"a{number}" for number in range(1, 9)]


def test_the_table_of_the_readme_is_that_of_the_sources():
    assert readme_with_table() == README.read_text(encoding="utf-8"), "run python tools/build_assignments.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_notebooks_are_those_of_the_source(name, tmp_path):
    shutil.copyfile(ASSIGNMENTS / courses.CONFIG, tmp_path / courses.CONFIG)
    shutil.copytree(ASSIGNMENTS / name, tmp_path / name)
    (built,) = courses.release(Course(tmp_path.resolve()), [name])
    assert built.read_bytes() == (ASSIGNMENTS / "release" / name / f"{name}.ipynb").read_bytes(), (
        f"release/{name} is not what its source gives; run resnet-twins classroom release {name}"
    )
    source = tmp_path / "source" / name / f"{name}.ipynb"
    assert source.read_bytes() == (ASSIGNMENTS / "source" / name / f"{name}.ipynb").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_assignment_has_all_that_a_teacher_needs(name):
    folder = ASSIGNMENTS / name
    assignment = read_assignment(folder)
    source = build_source(folder)
    assert assignment.title.startswith(f"Assignment {name[1]}. ")
    assert 2 <= len(assignment.goals) <= 5
    assert all((ROOT / "tutorials").glob(f"{number:02d}_*.ipynb") for number in assignment.builds_on)
    notes = (folder / "teacher.md").read_text(encoding="utf-8")
    assert len(notes.split()) > 300
    tasks = find_tasks(source)
    for task in tasks:
        assert task.name.removeprefix("test_") in notes, f"teacher.md says nothing of {task.name}"
    wrong = wrong_answers(folder, source)
    assert len(wrong) >= 6
    hit = {task for answer in wrong for task, points in answer.loses.items() if points}
    missed = {task.name for task in tasks if not task.written} - hit
    assert not missed, f"no wrong answer of {name} hits {', '.join(missed)}"


@pytest.mark.parametrize("name", NAMES)
def test_every_visible_test_has_a_hint(name):
    import ast

    for cell in build_source(ASSIGNMENTS / name)["cells"]:
        if cell["metadata"]["nbgrader"]["grade"] and cell["cell_type"] == "code":
            tree = ast.parse(split_hidden(cell["source"])[0])
            statements = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
            assert statements, f"{cell['id']} has no visible test"
            for node in statements:
                assert node.msg is not None, f"{cell['id']}: no hint for {ast.unparse(node.test)}"


def test_the_numbers_in_the_model_answer_of_the_ablation_are_those_of_its_runs():
    from statistics import mean, stdev

    folder = ASSIGNMENTS / "a8_ablation"
    cells = build_source(folder)["cells"]
    text = next(" ".join(cell["source"].split()) for cell in cells if identity(cell) == "finding")

    def last(arm: str, framework: str, column: str) -> list[float]:
        paths = [folder / "handed_in" / "runs" / f"{arm}-{seed}" / framework / "metrics.csv" for seed in range(3)]
        rows = [list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))[-1] for path in paths]
        return [float(row[column]) for row in rows]

    right = {(arm, f): last(arm, f, "test_accuracy") for arm in ("with", "without") for f in ("torch", "tf")}
    shares = {key: f"{100 * mean(values):.2f}%" for key, values in right.items()}
    assert shares["without", "torch"] == shares["without", "tf"]
    assert f"with shifts {shares['with', 'torch']} (PyTorch) and {shares['with', 'tf']} (Keras)" in text
    assert f"without them {shares['without', 'torch']} in both" in text
    differences, losses = {}, {}
    for framework in ("torch", "tf"):
        pairs = zip(right["with", framework], right["without", framework], strict=True)
        differences[framework] = [100 * (one - other) for one, other in pairs]
        pairs = zip(last("with", framework, "test_loss"), last("without", framework, "test_loss"), strict=True)
        losses[framework] = [one - other for one, other in pairs]
    for framework, name in (("torch", "PyTorch"), ("tf", "Keras")):
        values = differences[framework]
        half = 4.303 * stdev(values) / 3**0.5  # Student's t, 2 degrees of freedom, 95%
        assert f"{mean(values):.2f} ± {half:.2f} in {name}" in text
        assert f"in {name} (std {stdev(values):.2f}, n = 3)" in text
    one, other = losses["torch"], losses["tf"]
    assert f"{mean(one):+.3f} (std {stdev(one):.3f}) and {mean(other):+.3f} (std {stdev(other):.3f})" in text


@pytest.mark.slow
def test_selftest_of_all_assignments():
    course = Course(ASSIGNMENTS)
    wrong = [trial for trial in selftest(course, quick=True, jobs=2) if not trial.passed]
    assert not wrong, "\n".join(f"{t.assignment}, {t.name}: {'; '.join(t.problems)}" for t in wrong)
