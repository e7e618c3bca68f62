"""A file of the user's that has the name of one of our packages: who is in the way is said in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.backends import missing_modules
from shared.base.versions import is_installed
from tests.conftest import ROOT

PACKAGE = "resnet_tf" if missing_modules("torch") else "resnet_torch"


def output(*arguments: str | Path, cwd: Path, **env: str) -> str:
    """What Python prints in a user's folder, where this package is installed as in a clone."""
    path = os.pathsep.join(filter(None, [env.pop("PYTHONPATH", ""), str(ROOT)]))
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout + done.stderr


def last_line(*arguments: str | Path, cwd: Path, **env: str) -> str:
    return (output(*arguments, cwd=cwd, **env).strip().splitlines() or [""])[-1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder of a user's, with a `shared.py` and a script that uses this package."""
    (tmp_path / "shared.py").write_text("mine = 1")
    (tmp_path / "work.py").write_text(f"import {PACKAGE}\nprint('it works')")
    return tmp_path


@pytest.mark.parametrize("package", ["resnet_torch", "resnet_tf"])
def test_a_script_beside_a_shared_py_is_told_which_file_is_in_the_way_and_what_helps(project, package):
    (project / "work.py").write_text(f"import {package}")
    line = last_line("work.py", cwd=project)
    assert line.startswith(f"ImportError: {project / 'shared.py'} is in the way: it hides the package shared")
    assert line.endswith("rename it, or run: python -P SCRIPT.py")


def test_what_is_advised_helps(project):
    assert last_line("-P", "work.py", cwd=project) == "it works"
    (project / "shared.py").rename(project / "ours.py")
    assert last_line("work.py", cwd=project) == "it works"


def test_a_folder_called_shared_is_in_the_way_as_well(project):
    (project / "shared.py").unlink()
    (project / "shared").mkdir()
    (project / "shared" / "__init__.py").touch()
    assert f"{project / 'shared'} is in the way" in last_line("work.py", cwd=project)


def test_a_folder_without_code_of_that_name_is_not(project):
    (project / "shared.py").unlink()
    (project / "shared").mkdir()
    (project / "shared" / "notes.txt").touch()
    assert "in the way" not in last_line(
        "-c", "from _resnet_twins import check_names; check_names('shared')", cwd=project
    )


def test_python_m_is_not_told_to_use_what_would_not_help(project):
    line = last_line("-m", "work", cwd=project)
    assert "is in the way" in line
    assert line.endswith("; rename it")


def test_a_folder_in_pythonpath_is_named_as_such(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    line = last_line("-c", f"import {PACKAGE}", cwd=elsewhere, PYTHONPATH=str(project))
    assert line.endswith("rename it, or take its folder out of PYTHONPATH")


def test_the_command_is_one_line_where_pythonpath_hides_shared(project):
    code = "import sys; sys.argv = ['resnet-twins', 'doctor']; from _resnet_twins import main; main()"
    line = last_line("-c", code, cwd=project.parent, PYTHONPATH=str(project))
    assert line.startswith(f"Error: {project / 'shared.py'} is in the way")


def test_in_pytest_the_advice_is_for_pytest_and_helps(project):
    (project / "test_mine.py").write_text(f"def test_mine():\n    import {PACKAGE}\n")
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")
    told = output(*arguments, cwd=project)
    assert "is in the way" in told
    assert "or run: python -P -m pytest --import-mode=importlib" in told
    assert "1 passed" in last_line("-P", *arguments, "--import-mode=importlib", cwd=project)


@pytest.mark.slow
def test_a_notebook_is_told_too(project):
    if not is_installed("nbclient") or not is_installed("ipykernel"):
        pytest.skip("nbclient and ipykernel are not installed")
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [{**cell, "source": f"import {PACKAGE}"}]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (project / "mine.ipynb").write_text(json.dumps(notebook))
    # A notebook looks into its folder after PYTHONPATH, in front of what is installed.
    code = (
        f"import os, sys; sys.path.append({str(ROOT)!r}); os.environ['PYTHONPATH'] = ''\n"
        "import nbformat, nbclient; nbclient.NotebookClient(nbformat.read('mine.ipynb', 4)).execute()"
    )
    told = output("-P", "-c", code, cwd=project)
    if f"No module named '{PACKAGE}'" in told:
        pytest.skip("the package is not installed")
    assert "is in the way" in told
    assert "rename it, and restart the kernel" in told


def test_a_users_torch_py_is_named_where_pytorch_does_not_import(project):
    if missing_modules("torch"):
        pytest.skip("PyTorch is not installed")
    (project / "shared.py").unlink()
    (project / "torch.py").write_text("mine = 1")
    (project / "work.py").write_text("from shared.backends import load_backend; load_backend('torch')")
    line = last_line("work.py", cwd=project)
    assert f"{project / 'torch.py'} is in the way: it hides the installed torch; rename it" in line
    assert "install it anew" not in line


def test_a_users_resnet_tf_py_is_named(project):
    (project / "shared.py").unlink()
    (project / "resnet_tf.py").write_text("mine = 1")
    (project / "work.py").write_text("from shared.backends import load_backend; load_backend('tf')")
    if missing_modules("tf"):
        pytest.skip("Keras is not installed")
    assert f"{project / 'resnet_tf.py'} is in the way" in last_line("work.py", cwd=project)


def test_the_processes_that_we_start_find_our_shared(project):
    code = (
        "from shared.base.subprocesses import try_out\n"
        "print(try_out('-m', 'shared.cli.trial', 'modules', 'json', seconds=60))"
    )
    assert "{'json': ''}" in last_line("-P", "-c", code, cwd=project).replace('"', "'")
