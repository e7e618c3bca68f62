"""Students who read, hold or block what is not theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.classroom import grade_class
from shared.classroom.course import Course
from shared.classroom.folders import DEEPEST, list_files, remove_abandoned, remove_tree, size_of
from shared.classroom.grading import Verdict
from shared.classroom.report import write_feedback, write_report
from shared.classroom.sandbox import bubblewrap, cgroups, seccomp
from shared.classroom.sandbox import sandbox as sandboxes
from shared.classroom.sandbox.sandbox import DiedError, Limits, Sandbox
from tests.classroom.attacks import TOP, linux, printed, shut_off
from tests.classroom.support import TINY, hand_in, rows_of
from tests.conftest import ROOT


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
@pytest.mark.parametrize("place", sorted(bubblewrap.PLACES))
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
    monkeypatch.setattr(bubblewrap, "PLACES", dict.fromkeys(bubblewrap.PLACES, 1_000_000))
    with Sandbox(TOP) as sandbox:
        for place in bubblewrap.PLACES:
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
@pytest.mark.usefixtures("in_one_process")
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
@pytest.mark.usefixtures("in_one_process")
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
