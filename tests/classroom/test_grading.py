"""Submissions are graded: the class with its tricks, the questions, the wire."""

from __future__ import annotations

import numpy as np
import pytest

from shared.classroom import course as courses
from shared.classroom import grade_class
from shared.classroom.exam import Exam, StudentError, WrongAnswerError
from shared.classroom.report import for_cell, write_feedback, write_report
from shared.classroom.sandbox import wire
from shared.classroom.sandbox.bubblewrap import why_not
from tests.classroom.support import TINY, hand_in, report_row, rows_of
from tools.classroom_students import CLASS

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


def test_the_teachers_page_says_why_points_were_lost(graded_class, tmp_path):
    course, _ = graded_class
    page = write_report(course, None, tmp_path / "report")[-1].read_text(encoding="utf-8")
    assert "<summary><b>nan</b>, parts lost: 1</summary>" in page
    assert "ends, whole numbers: 0 of 3, ends(" in page
    assert "<summary><b>good</b>" not in page


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
