"""What students' code may do in the sandbox."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from shared.classroom import grade_class
from shared.classroom.report import write_feedback
from shared.classroom.sandbox.bubblewrap import why_not
from shared.classroom.sandbox.sandbox import DiedError, Limits, Sandbox
from shared.classroom.submission import identity, read_notebook
from tests.classroom.support import ASSIGNMENTS, ROOT, TINY, hand_in

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
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    why_not.cache_clear()
    try:
        hand_in(released, "ann")
        (verdict,) = grade_class.grade(released, jobs=1)
        assert "bubblewrap is missing" in why_not()
    finally:
        monkeypatch.undo()
        why_not.cache_clear()
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
