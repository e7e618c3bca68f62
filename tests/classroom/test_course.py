"""A course: released, handed in, graded, reported."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from shared.base.errors import InputError
from shared.classroom import course as courses
from shared.classroom import grade_class
from shared.classroom.form import build_source
from shared.classroom.report import write_feedback, write_report
from shared.classroom.selftest import selftest, with_answers
from shared.classroom.submission import identity, merge, read_notebook
from tests.classroom.support import ASSIGNMENTS, ROOT, TINY, WRONG, hand_in, report_row, rows_of
from tools.classroom_tricks import find

pytestmark = pytest.mark.usefixtures("in_one_process")

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
    long = "two at once, and then says of it so many words that " * 3
    wrong = WRONG.replace("two at once", long).replace("short only", "a[1] * b/c?")  # any name will do
    path.write_text(wrong.replace('{"add_up": 1}', '{"add_up": 2}'), encoding="utf-8")
    quick = selftest(tiny, quick=True, jobs=2)
    assert [trial.name[:23] for trial in quick[2:]] == ["wrong 1 - adds one, two", "wrong 2 - a-1- - b-c-"]
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


def test_outside_of_a_clone_there_is_no_course_to_test(monkeypatch, tmp_path):
    """What pip installs holds what students get, and not the sources."""
    monkeypatch.setattr(courses, "OUR_COURSE", tmp_path / "tutorials" / "assignments")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="lie in a clone of the project, and not in what pip installs"):
        courses.open_course(None, ours=True)
