"""Texts of students, and what the teacher opens."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from shared.base.errors import InputError
from shared.classroom import grade_class
from shared.classroom.grading import Verdict
from shared.classroom.report import for_cell, write_feedback, write_report
from shared.classroom.sandbox import wire
from shared.classroom.sandbox.sandbox import Sandbox, clean_outputs
from shared.classroom.submission import MAX_CELLS, merge, read_notebook, shortened, split_hidden
from tests.classroom.attacks import TOP, linux, printed
from tests.classroom.support import TINY, hand_in, report_row
from tests.conftest import ROOT
from tools.classroom_trial import asked_before
from tools.classroom_tricks import find

pytestmark = pytest.mark.usefixtures("in_one_process")

# --- text of a student, and what it costs


HOSTILE = "### BEGIN HIDDEN TESTS\n" * 150_000


def test_lines_that_begin_hidden_tests_cost_no_more_than_other_lines():
    code = f"from shared.classroom.submission import split_hidden\ntext = {HOSTILE[:23]!r} * 150_000\n"
    code += "assert split_hidden(text) == (text.rstrip(), '')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_page_is_written_for_who_writes_the_marks_of_hidden_tests(released):
    hand_in(released, "ann", {"add_up": "def add_up(numbers):\n### BEGIN HIDDEN TESTS\n    return float(sum(numbers))"})
    (verdict,) = grade_class.grade(released, jobs=1)
    assert sum(mark.score or 0 for mark in verdict.marks) == 6
    ((page,), failed) = write_feedback(released, None)
    assert failed == []
    assert "BEGIN HIDDEN-TESTS" in page.read_text(encoding="utf-8")


def test_hidden_tests_are_taken_out_of_the_teachers_cells():
    text = "a = 1\n### BEGIN HIDDEN TESTS\nb = 2\n### END HIDDEN TESTS\nc = 3\n"
    assert split_hidden(text) == ("a = 1\nc = 3", "b = 2")
    assert split_hidden("a = 1\n### END HIDDEN TESTS\n### BEGIN HIDDEN TESTS") == (
        "a = 1\n### END HIDDEN TESTS\n### BEGIN HIDDEN TESTS",
        "",
    )


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ('{"cells": [' + "[]," * 3_000_000 + "[]]}", "more than 5,000,000 values"),
        (json.dumps({"cells": [{}] * (MAX_CELLS + 1)}), "1,001 cells, more than 1,000"),
        (
            json.dumps({"cells": [{"cell_type": "code", "metadata": {}, "source": "x" * 3_000_000}]}),
            "3,000,000 characters in its cells",
        ),
        ('{"cells": ' + "[" * 200_000, "is not a notebook that can be read"),
        ('{"cells": [{"cell_type": "code", "metadata": {}, "source": ' + "9" * 100_000 + "}]}", "not a notebook"),
    ],
    ids=["values", "cells", "source", "brackets", "digits"],
)
def test_a_notebook_that_would_fill_the_memory_is_refused_in_one_line(tmp_path, cells, words):
    (tmp_path / "x.ipynb").write_text(cells, encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        read_notebook(tmp_path / "x.ipynb")
    assert len(str(caught.value)) < 400


@linux
def test_a_pipe_is_no_notebook_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.ipynb")
    with pytest.raises(InputError, match="no plain file"):
        read_notebook(tmp_path / "x.ipynb")


def test_twenty_thousand_findings_are_twenty_and_their_number(released):
    source = read_notebook(released.source(TINY))
    empty = read_notebook(released.release(TINY) / f"{TINY}.ipynb")
    notebook = read_notebook(released.release(TINY) / f"{TINY}.ipynb")
    marks = {"grade": True, "points": 1}
    notebook["cells"] += [
        {"cell_type": "code", "metadata": {"nbgrader": {**marks, "grade_id": f"\x1b[2Jcell {n}"}}, "source": ""}
        for n in range(20_000)
    ]
    _, findings = merge(source, empty, notebook)
    assert len(findings) == 21
    assert findings[-1] == "and 19,980 more like these"
    assert "\x1b" not in "".join(findings)
    assert shortened(["a", "b", "a"]) == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [
        {number * (2**61 - 1): 0 for number in range(3000)},
        [[1, [2]]] * 100_000,
        list(range(300_000)),
        "x" * 30_000_000,
    ],
    ids=["numbers that collide", "lists", "numbers", "text"],
)
def test_an_answer_that_would_take_minutes_to_read_is_not_read(value):
    with pytest.raises(wire.WireError, match="the answer is not readable: "):
        wire.from_bytes(wire.to_bytes(value))


def test_millions_of_empty_arrays_are_not_read():
    header = json.dumps(
        {str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(30_000)}
    ).encode()
    data = wire.LENGTH.pack(4) + b"null" + wire.LENGTH.pack(len(header)) + header
    with pytest.raises(wire.WireError, match="names of arrays"):
        wire.from_bytes(data)


@pytest.mark.parametrize(
    "picture", ['x" onerror="alert(1)', 'iVBOR"><script>', "iVBORw0KGgo=" + "A" * 3_000_000, 7, None]
)
def test_what_is_no_picture_is_not_shown_as_one(picture):
    shown = clean_outputs([{"output_type": "display_data", "data": {"image/png": picture, "text/plain": "x"}}])
    assert shown[0]["data"] == {"text/plain": "x"}
    good = clean_outputs([{"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=\n"}}])
    assert good[0]["data"] == {"image/png": "iVBORw0KGgo=\n"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("look", 3),
        ("student", None),
        ("marks", [3]),
        ("marks", [{"task": 1, "points": 1, "score": None}]),
        ("marks", [{"task": "t", "points": 1e999, "score": None}]),
        ("marks", [{"task": "t", "points": 1, "score": 1, "parts": [{"title": "t"}]}]),
        ("cells", [{"cell_type": "code", "id": "x", "metadata": None, "source": ""}]),
        ("cells", [{"cell_type": "code", "id": "x", "metadata": {"nbgrader": 3}, "source": ""}]),
        ("before", {"a": 1}),
        ("nobody", "knows"),
    ],
)
def test_a_verdict_that_is_none_is_made_anew(released, field, value):
    hand_in(released, "ann")
    (verdict,) = grade_class.grade(released, jobs=1)
    path = released.verdict_path(TINY, "ann")
    assert Verdict.from_json(path.read_text(encoding="utf-8")) == verdict
    path.write_text(json.dumps(json.loads(verdict.to_json()) | {field: value}), encoding="utf-8")
    assert released.read_verdict(TINY, "ann") is None
    assert "not graded yet" in report_row(released)["notes"]


# --- what the teacher opens


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－"])
@pytest.mark.parametrize("before", ["", "a;", "a,  ", "a| "])
def test_no_part_of_a_cell_is_taken_for_a_formula(sign, before):
    text = f"{before}{sign}cmd|' /C calc'!A0"
    assert for_cell(text).startswith(f"{before}'{sign}")


def test_a_table_with_every_flag_is_read_by_pythons_own_reader(released):
    hand_in(released, "=1+1")
    folder = released.submission(TINY, "=1+1")
    for number in range(600):
        (folder / f"@{number}").symlink_to("nowhere")
    grade_class.grade(released, jobs=1)
    table, page = write_report(released, None, released.folder / "report")
    (row,) = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
    assert row["student"] == "'=1+1"
    assert "and 580 more like these" in row["notes"]
    assert len(row["notes"]) < 11_000
    assert "=1+1" in page.read_text(encoding="utf-8")


def test_students_cannot_say_when_they_handed_in_but_the_course_can(released):
    from shared.classroom.course import nbgrader_api

    for student in ("ann", "bob"):
        hand_in(released, student)
        (released.submission(TINY, student) / "timestamp.txt").write_text("2001-01-01 00:00:00 UTC")
    (released.folder / "times.csv").write_text(f"id,assignment,time\nbob,{TINY},2026-11-27 18:30:00 UTC\n")
    verdicts = grade_class.grade(released, jobs=2)
    assert all("timestamp.txt was handed in" in " ".join(verdict.look) for verdict in verdicts)
    with nbgrader_api(released) as api, api.gradebook as gradebook:
        times = [gradebook.find_submission(TINY, student).timestamp for student in ("ann", "bob")]
    assert times[0] is None
    assert str(times[1]) == "2026-11-27 18:30:00"
    (released.folder / "times.csv").write_text(f"id,assignment,time\nbob,{TINY},yesterday-ish\n")
    with pytest.raises(InputError, match=r"times\.csv: 'yesterday-ish' of bob is no time"):
        grade_class.grade(released, jobs=1)


# --- what the hidden tests ask


def test_questions_are_drawn_anew_for_every_grading_and_every_student(released):
    wrong = {"ends": "def ends(*numbers):\n    return 1000, 1000"}
    for student in ("ann", "bob"):
        hand_in(released, student, wrong)

    def reasons() -> list[str]:
        verdicts = grade_class.grade(released, jobs=2, again=True)
        return [mark.parts[0]["reason"] for verdict in verdicts for mark in verdict.marks if mark.task == "test_ends"]

    found = [*reasons(), *reasons()]
    assert len(set(found)) == 4, "two of them were asked the same"


def test_a_table_of_what_was_asked_before_gives_no_points(released):
    known = asked_before(read_notebook(released.source(TINY)), "ends")
    assert len(known) == 3
    hand_in(released, "bob", {"ends": f"known = {known}\ndef ends(*numbers):\n    return known[repr(list(numbers))]"})
    (verdict,) = grade_class.grade(released, jobs=1)
    assert [mark.score for mark in verdict.marks] == [2, 0, 1, None]


@pytest.mark.parametrize(
    "code",
    [
        "def ends(*numbers):\n    print('SEEN', numbers)\n    seen.append(numbers)\n"
        "    return min(numbers), max(numbers)",
        "import sys\nsys.settrace(lambda frame, *_: seen.append(frame.f_code.co_filename))\n"
        "def ends(*numbers):\n    return min(numbers), max(numbers)",
        "def ends(*numbers):\n    seen.append(numbers)\n    return min(numbers), max(numbers)",
    ],
    ids=["prints", "traces", "keeps"],
)
def test_what_was_asked_does_not_reach_the_students_page(released, code):
    path = hand_in(
        released, "ann", {"add_up": "seen = []\ndef add_up(numbers):\n    return float(sum(numbers))", "ends": code}
    )
    notebook = json.loads(path.read_text(encoding="utf-8"))
    last = "print('SEEN', [s for s in seen if s != (1, 2, 3) and (not isinstance(s, str) or 'question' in s)])"
    notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": last, "outputs": []})
    path.write_text(json.dumps(notebook), encoding="utf-8")
    (verdict,) = grade_class.grade(released, jobs=1)
    assert sum(mark.score or 0 for mark in verdict.marks) == 6
    shown = [output.get("text", "") for cell in verdict.cells for output in cell.get("outputs", [])]
    assert "SEEN []\n" in shown
    assert not [text for text in shown if text.startswith("SEEN") and text not in ("SEEN []\n", "SEEN (1, 2, 3)\n")]
    ((page,), _) = write_feedback(released, None)
    assert "SEEN []" in page.read_text(encoding="utf-8")


def test_how_a_process_ended_when_it_was_asked_is_not_on_the_students_page(released):
    code = "import os\ndef add_up(numbers):\n    if len(numbers) > 2:\n        os._exit(77)\n"
    hand_in(released, "ann", {"add_up": code + "    return float(sum(numbers))"})
    (verdict,) = grade_class.grade(released, jobs=1)
    assert any("exit code 77" in line for line in verdict.failed)
    assert "77" not in json.dumps(find({"cells": verdict.cells}, "test_add_up")["outputs"])


# --- honest students


MODULES = [
    "random",
    "string",
    "tokenize",
    "json",
    "tempfile",
    "queue",
    "types",
    "socket",
    "code",
    "statistics",
    "secrets",
]


def test_files_named_like_modules_do_no_harm_and_are_named(released):
    hand_in(released, "ann")
    folder = released.submission(TINY, "ann")
    for name in [*MODULES, "wire", "runner", "side_by_side", "IPython", "traitlets", "safetensors"]:
        (folder / f"{name}.py").write_text("raise RuntimeError('taken for another')\n", encoding="utf-8")
    (folder / "inspect").mkdir()
    (folder / "inspect" / "__init__.py").write_text("raise RuntimeError('taken for another')\n", encoding="utf-8")
    (folder / "helper.py").write_text("value = 7\n", encoding="utf-8")
    (verdict,) = grade_class.grade(released, jobs=1)
    assert sum(mark.score or 0 for mark in verdict.marks) == 6, verdict.failed
    for name in [*(f"{each}.py" for each in MODULES), "inspect"]:
        assert any(line.startswith(f"{name} has the name of a module") for line in verdict.look), name
    assert "helper.py" not in " ".join(verdict.look)


def test_a_students_own_modules_are_found_beside_the_notebook(tmp_path):
    for name in ("helper", "wire", "runner", "side_by_side"):
        (tmp_path / f"{name}.py").write_text(f"who = {name!r}\n", encoding="utf-8")
    files = {path.name: path for path in tmp_path.iterdir()}
    with Sandbox(TOP, files=files) as sandbox:
        reply = sandbox.run_cell("import helper, wire, runner, side_by_side\nprint(helper.who, wire.who, runner.who)")
    assert printed(reply) == "helper wire runner\n"


def test_one_page_that_cannot_be_written_does_not_stop_the_others(released):
    for student in ("ann", "bob"):
        hand_in(released, student)
    grade_class.grade(released, jobs=2)
    shutil.rmtree(released.folder / "autograded" / "ann" / TINY)
    (released.folder / "autograded" / "ann" / TINY).mkdir()
    pages, failed = write_feedback(released, None)
    assert [page.parent.parent.name for page in pages] == ["bob"]
    assert failed[0].startswith(f"ann, {TINY}: ")


def test_the_only_row_is_that_of_the_only_student(released):
    hand_in(released, "ann")
    grade_class.grade(released, jobs=1)
    assert report_row(released)["student"] == "ann"
