"""The assignments of the course keep their rules."""

from __future__ import annotations

import csv
import shutil

import pytest

from shared.classroom import course as courses
from shared.classroom.course import Course
from shared.classroom.form import build_source, read_assignment
from shared.classroom.selftest import selftest, wrong_answers
from shared.classroom.submission import find_tasks, identity, split_hidden
from tests.classroom.support import ASSIGNMENTS, ROOT
from tools.build_assignments import README, readme_with_table

NAMES = sorted(path.parent.name for path in ASSIGNMENTS.glob("*/notebook.py"))

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
