"""Attacks on the classroom, kind by kind: what a submission may read, hold, forge and stop."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="nbgrader is not installed")
pytest.importorskip("jupytext", reason="jupytext is not installed")
pytest.importorskip("pebble", reason="pebble is not installed")

from shared.base.errors import InputError
from shared.classroom import course as courses
from shared.classroom import grade_class
from shared.classroom.course import Course
from shared.classroom.folders import DEEPEST, list_files, remove_abandoned, remove_tree, size_of
from shared.classroom.grading import Verdict
from shared.classroom.report import for_cell, write_feedback, write_report
from shared.classroom.sandbox import cgroups, seccomp, wire
from shared.classroom.sandbox import sandbox as sandboxes
from shared.classroom.sandbox.sandbox import DiedError, Limits, Sandbox, clean_outputs, why_not
from shared.classroom.submission import MAX_CELLS, merge, read_notebook, shortened, split_hidden
from tests.conftest import ROOT
from tests.test_classroom import TINY, hand_in, report_row, rows_of, write_tiny
from tools.classroom_trial import asked_before, find

linux = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
shut_off = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
TOP = Limits(cell_seconds=20, gigabytes=1)


def printed(reply: dict) -> str:
    return "".join(output.get("text", "") for output in reply["outputs"])


def dig(folder: Path, depth: int) -> None:
    """Makes folders in each other, whose path no system call would take."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=here)
        inner = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


# --- what a student can read


@shut_off
def test_no_variable_of_who_grades_is_seen_anywhere_under_proc(monkeypatch):
    monkeypatch.setenv("TEACHERS_TOKEN", "a-secret-of-the-teacher")
    code = """
import os
found = []
for place, _, names in os.walk("/proc"):
    for name in names:
        if name in ("environ", "cmdline", "status", "maps", "auxv"):
            try:
                text = open(os.path.join(place, name), "rb").read()
            except OSError:
                continue
            found += [os.path.join(place, name)] if b"a-secret-of-the-teacher" in text else []
print(found, [name for name in os.environ if "TEACHER" in name])
print(open("/proc/1/environ").read().split(chr(0)))
"""
    with Sandbox(TOP) as sandbox:
        first, second = printed(sandbox.run_cell(code)).splitlines()
    assert first == "[] []"
    assert second == str([f"PATH={os.defpath}", ""])


def test_without_a_sandbox_the_variables_of_who_grades_are_not_handed_over_either(monkeypatch):
    monkeypatch.setattr(sandboxes, "why_not", lambda: "not here")
    monkeypatch.setenv("TEACHERS_TOKEN", "a-secret-of-the-teacher")
    with Sandbox(TOP) as sandbox:
        assert printed(sandbox.run_cell("import os\nprint(os.environ.get('TEACHERS_TOKEN'))")) == "None\n"


# --- what a student can hold


@shut_off
@pytest.mark.parametrize("place", ["/", "/dev", "/opt", "/opt/given", "/home", "/proc", "/usr", "/var", "/etc", "/run"])
def test_nothing_can_be_written_but_where_the_size_is_fixed(place):
    code = f"""
import os
try:
    os.makedirs({place!r}, exist_ok=True)
    open({place!r} + "/mine", "w").write("x")
    print("written")
except OSError as error:
    print("not written")
"""
    with Sandbox(TOP) as sandbox:
        assert printed(sandbox.run_cell(code)) == "not written\n"


@shut_off
@pytest.mark.parametrize("place", sorted(sandboxes.PLACES))
def test_files_count_as_memory_even_without_a_name(place):
    code = f"""
import os
stream = open("{place}/nameless", "wb", buffering=0)
os.unlink("{place}/nameless")
for _ in range(24):
    stream.write(bytes(10_000_000))
import time
time.sleep(10)
"""
    with Sandbox(Limits(cell_seconds=20, gigabytes=0.3)) as sandbox, pytest.raises(DiedError, match=r"than 0\.3 GB of"):
        sandbox.run_cell(code)


@shut_off
def test_more_than_fits_is_an_error_in_the_students_own_cell(monkeypatch):
    monkeypatch.setattr(sandboxes, "PLACES", dict.fromkeys(sandboxes.PLACES, 1_000_000))
    with Sandbox(TOP) as sandbox:
        for place in sandboxes.PLACES:
            reply = sandbox.run_cell(f"open('{place}/big', 'wb').write(bytes(2_000_000))")
            assert "No space left on device" in reply["error"]


@shut_off
@pytest.mark.skipif(not seccomp.program(), reason="there is no filter of system calls for this processor")
def test_memory_that_no_limit_sees_cannot_be_had():
    code = """
import ctypes, fcntl, os
libc = ctypes.CDLL(None, use_errno=True)
tries = {
    "memory file": lambda: os.memfd_create("x"),
    "shared memory": lambda: libc.shmget(0, 1 << 20, 0o1600),
    "message queue": lambda: libc.msgget(0, 0o1600),
    "large pipe": lambda: fcntl.fcntl(os.pipe()[1], 1031, 1 << 20),
    "name space": lambda: libc.unshare(0x10000000),
    "mount": lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
}
for what, attempt in tries.items():
    try:
        print(what, "failed" if attempt() == -1 else "worked")
    except OSError:
        print(what, "failed")
"""
    with Sandbox(TOP) as sandbox:
        assert "worked" not in printed(sandbox.run_cell(code))


def test_the_filter_is_made_for_the_processors_it_knows():
    for machine in seccomp.ARCHITECTURES:
        steps = seccomp.program(machine)
        assert len(steps) == 8 * (len(seccomp.REFUSED) + 9)
    assert seccomp.program("riscv64") == b""


@shut_off
def test_many_files_many_processes_and_deep_folders_end_the_process_or_do_no_harm(monkeypatch):
    monkeypatch.setattr(sandboxes, "MAX_NAMES", 3000)
    with Sandbox(TOP) as sandbox, pytest.raises(DiedError, match="made more than 3,000 files"):
        sandbox.run_cell("import time\nfor n in range(9000): open(f'/tmp/{n}', 'w').close()\ntime.sleep(10)")
    code = "import os\nfor _ in range(2500):\n    os.mkdir('d'); os.chdir('d')\nos.chmod('.', 0)"
    with Sandbox(TOP) as sandbox:
        assert sandbox.run_cell(code)["error"] is None
        assert printed(sandbox.run_cell("print(1 + 1)")) == "2\n"
    assert not sandbox._root.exists()


def test_a_watcher_that_fails_ends_the_process(monkeypatch):
    with Sandbox(TOP) as sandbox:
        assert sandbox.run_cell("x = 1")["error"] is None
        monkeypatch.setattr(sandbox, "_too_much", lambda: 1 / 0)
        with pytest.raises(DiedError, match=r"could not be watched any longer \(ZeroDivisionError\)"):
            sandbox.run_cell("import time; time.sleep(15)")


def test_a_process_that_says_it_is_done_and_reads_nothing_more_is_ended():
    forged = """
import fcntl, os, sys, time
wire = next(module for name, module in sys.modules.items() if name.endswith("_wire"))
done = wire.to_bytes({"outputs": [], "error": None})
for number in range(3, 64):
    try:
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_WRONLY:
            os.write(number, wire.LENGTH.pack(len(done)) + done)
    except OSError:
        pass
time.sleep(1000)
"""
    with Sandbox(Limits(cell_seconds=3, gigabytes=1)) as sandbox, pytest.raises(DiedError, match="more than 3 seconds"):
        sandbox.run_cell(forged)


def test_a_process_that_answers_twice_is_ended():
    forged = """
import fcntl, os, sys
wire = next(module for name, module in sys.modules.items() if name.endswith("_wire"))
done = wire.to_bytes({"outputs": [], "error": None})
for number in range(3, 64):
    try:
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_WRONLY:
            os.write(number, wire.LENGTH.pack(len(done)) + done)
    except OSError:
        pass
"""
    with Sandbox(TOP) as sandbox, pytest.raises(DiedError, match="answered out of turn"):
        sandbox.run_cell(forged)


def test_a_process_that_does_not_read_blocks_nobody_past_the_limit():
    stop_reading = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
    with Sandbox(Limits(cell_seconds=3, gigabytes=1)) as sandbox, pytest.raises(DiedError, match="more than 3 seconds"):
        sandbox.run_cell("import threading\n" + stop_reading + "\n#" + "x" * 1_000_000)


@linux
def test_folders_of_any_depth_and_without_rights_are_measured_and_removed(tmp_path):
    (tmp_path / "a").mkdir()
    dig(tmp_path / "a", 3000)
    (tmp_path / "a" / "closed").mkdir()
    (tmp_path / "a" / "closed" / "file").write_text("x")
    (tmp_path / "a" / "closed").chmod(0)
    (tmp_path / "a" / "link").symlink_to("/")
    (tmp_path / "a" / "moved-0").mkdir()
    assert size_of(tmp_path / "a") == float("inf")
    found = list_files(tmp_path / "a")
    assert found.files.keys() <= {"closed/file"}
    assert any(f"more than {DEEPEST} folders deep" in line for line in found.left_out)
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert Path("/usr").exists()


@linux
def test_a_control_group_goes_in_front_and_hands_over_no_variable(monkeypatch, tmp_path):
    fake = tmp_path / "systemd-run"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != "--" ]; do shift; done\nshift\nexec "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/somebody")
    cgroups._systemd.cache_clear()
    try:
        prefix, environment = cgroups.scope(2.0, 10)
        done = subprocess.run([*prefix, "env"], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == f"PATH={os.defpath}\n"
        assert "MemoryMax=2000000000" in prefix
        assert "TasksMax=200" in prefix
        fake.write_text("#!/bin/sh\nexit 1\n")
        cgroups._systemd.cache_clear()
        assert cgroups.scope(2.0, 10) == ([], {"PATH": os.defpath})
    finally:
        cgroups._systemd.cache_clear()


# --- one submission and the class


@pytest.mark.parametrize(
    "error", [RecursionError("deep"), MemoryError(), UnicodeEncodeError("utf-8", "x", 0, 1, "no"), KeyError("cells")]
)
def test_whatever_goes_wrong_in_a_submission_is_its_verdict(released, monkeypatch, error):
    def fails(*_: object, **__: object) -> Verdict:
        raise error

    hand_in(released, "ann")
    monkeypatch.setattr(grade_class.grading, "grade", fails)
    verdict = grade_class.verdict_on(released, TINY, "ann")
    assert verdict.failed[0].startswith(f"the grader failed: {type(error).__name__}")
    assert all(mark.score is None for mark in verdict.marks)
    assert verdict.digest == "", "it must be graded again the next time"


@linux
def test_odd_names_of_students_wait_for_a_person_and_the_others_are_graded(released):
    hand_in(released, "ann")
    odd = ["ann ", " ann", "a[n]n", "x*", "ann?", os.fsdecode(b"J\xf6rg"), "\x1b[2Jbob", "\u202ebob", "e" * 250]
    for student in odd:
        hand_in(released, student)
    told: list[str] = []
    verdicts = {verdict.student: verdict for verdict in grade_class.grade(released, jobs=2, report=told.append)}
    assert verdicts["ann"].entered
    for student in odd:
        assert "rename the folder" in verdicts[student].failed[0]
        assert not verdicts[student].entered
    table, page = write_report(released, None, released.folder / "report")
    assert rows_of(table)["ann"]["total"] == "6"
    assert len(rows_of(table)) == len(odd) + 1
    for text in [*told, table.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")]:
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert len(write_feedback(released, None)[0]) == 1


@linux
@pytest.mark.parametrize("where", ["student", "work", "notebook", "source", "hard link"])
def test_a_link_gives_no_marks_wherever_it_lies(released, where):
    path = hand_in(released, "ann")
    bob = released.submission(TINY, "bob")
    source = released.source(TINY)
    if where == "student":
        bob.parent.symlink_to("ann")
    elif where == "work":
        bob.parent.mkdir()
        bob.symlink_to(Path("..") / "ann" / TINY)
    else:
        bob.mkdir(parents=True)
        mine = bob / f"{TINY}.ipynb"
        if where == "hard link":
            mine.hardlink_to(source)
        else:
            mine.symlink_to(path if where == "notebook" else source)
    grade_class.grade(released, jobs=2)
    verdicts = {student: released.read_verdict(TINY, student) for student in ("ann", "bob")}
    assert "link" in verdicts["bob"].failed[0]
    assert sum(mark.score or 0 for mark in verdicts["bob"].marks) == 0
    assert sum(mark.score or 0 for mark in verdicts["ann"].marks) == 6
    assert "failed" in rows_of(write_report(released, None, released.folder / "report")[0])["bob"]["flags"]


@linux
def test_what_was_killed_goes_on_with_all_marks_that_were_known(released):
    for student in ("ann", "bob", "eve"):
        endless = {"add_up": "def add_up(numbers):\n    while True: pass"}
        hand_in(released, student, endless if student == "bob" else None)
    command = [sys.executable, "-m", "shared", "classroom", "grade", "--jobs", "1"]
    process = subprocess.Popen(
        command, cwd=released.folder, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        deadline = time.monotonic() + 100
        while not ((verdict := released.read_verdict(TINY, "ann")) and verdict.entered):
            assert time.monotonic() < deadline, "the first mark never came"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    stamp = released.verdict_path(TINY, "ann").stat().st_mtime_ns
    verdicts = grade_class.grade(released, jobs=2)
    assert [verdict.entered for verdict in verdicts] == [True] * 3
    assert released.verdict_path(TINY, "ann").stat().st_mtime_ns == stamp, "what was known was graded again"
    rows = rows_of(write_report(released, None, released.folder / "report")[0])
    assert [rows[student]["total"] for student in ("ann", "bob", "eve")] == ["6", "4", "6"]


@linux
def test_what_a_killed_process_has_left_is_removed_the_next_time(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    left, mine = tmp_path / f"resnet-twins-grading-{gone.pid}-x", tmp_path / f"resnet-twins-grading-{os.getpid()}-x"
    for folder in (left, mine):
        folder.mkdir()
        dig(folder, 1200)
    (tmp_path / f"resnet-twins-grading-{gone.pid}-link").symlink_to(mine)
    remove_abandoned()
    there = left.exists(), mine.exists()
    remove_tree(mine)  # pytest's own way is recursive
    assert there == (False, True)


def test_marks_are_entered_as_soon_as_they_are_known(released):
    hand_in(released, "ann")
    hand_in(released, "eve")
    seen = []
    for_each = lambda line: seen.append(report_rows(released))  # noqa: E731
    grade_class.grade(released, jobs=1, report=for_each)
    assert [len(rows) for rows in seen] == [1, 2]


def report_rows(course: Course) -> list[str]:
    rows = rows_of(write_report(course, None, course.folder / "report")[0])
    return [student for student, row in rows.items() if row["add_up"]]


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
