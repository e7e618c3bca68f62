"""TensorFlow and PyTorch in one process where triton is installed: whatever is imported first, nothing crashes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest

from shared.backends import missing_modules
from shared.base.side_by_side import FLAGS, LIBRARY, WARNING, clashes
from shared.base.versions import TESTED
from shared.classroom.sandbox.bubblewrap import why_not
from shared.classroom.sandbox.sandbox import Limits, Sandbox
from tests.conftest import ROOT

needs_both = pytest.mark.skipif(bool(missing_modules("torch") or missing_modules("tf")), reason="needs both frameworks")
slow = pytest.mark.slow
needs_clash = pytest.mark.skipif(not clashes(), reason="the triton and TensorFlow that would clash are not installed")

PINS = (ROOT / "constraints.txt").read_text()
TRITON = next(line.removeprefix("triton==") for line in PINS.splitlines() if line.startswith("triton=="))

OPTIMISER = "import torch; torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1).step()"
META = "import torch\nwith torch.device('meta'): torch.nn.init.normal_(torch.empty(2))"  # imports torch._dynamo
AFTERWARDS = f"""
import sys
print("done", sys.modules.get({LIBRARY!r}) is not None, "triton" in sys.modules and sys.modules["triton"] is None)
"""


def ending(run_python, code: str, **env: str) -> tuple[bool, bool, str]:
    """Whether triton is loaded at the end, whether PyTorch goes without it, and what was written as a warning."""
    result = run_python(f"{code}\n{AFTERWARDS}", TF_CPP_MIN_LOG_LEVEL="3", **env)
    assert result.returncode == 0, f"the process died (exit code {result.returncode}):\n{result.stderr}"
    loaded, without = (word == "True" for word in result.stdout.splitlines()[-1].split()[1:])
    return loaded, without, " ".join(line for line in result.stderr.splitlines() if "RuntimeWarning" in line)


@needs_both
@needs_clash
@pytest.mark.parametrize(
    "code",
    [
        f"import resnet_tf\n{OPTIMISER}",
        f"import resnet_torch, tensorflow\n{OPTIMISER}",
        f"from shared.backends import load_backend as load; load('tf'), load('torch')\n{META}",
        pytest.param(f"import resnet_torch, keras, resnet_tf\n{OPTIMISER}", marks=slow),
        pytest.param(f"import torch, resnet_tf\n{OPTIMISER}", marks=slow),
        pytest.param(f"import torch._dynamo, tensorflow, resnet_torch\n{OPTIMISER}", marks=slow),
        pytest.param(f"import {LIBRARY}, tensorflow, resnet_torch\n{OPTIMISER}", marks=slow),
    ],
)
def test_triton_is_loaded_before_tensorflow(run_python, code):
    assert ending(run_python, code) == (True, False, "")


@needs_both
@needs_clash
@pytest.mark.parametrize(
    "code",
    [
        f"import tensorflow, resnet_torch\n{OPTIMISER}",
        f"import keras; from shared.twins.comparison import compare; compare('resnet8_digits')\n{META}",
        f"import torch, tensorflow, shared.backends\n{OPTIMISER}",
        pytest.param(f"import tensorflow, resnet_tf\n{OPTIMISER}", marks=slow),
        pytest.param(f"import keras, resnet_tf, torch\n{META}", marks=slow),
        pytest.param(f"import tensorflow, torch, resnet_torch\n{META}", marks=slow),
    ],
)
def test_where_tensorflow_came_first_pytorch_goes_without_triton_and_one_line_says_so(run_python, code):
    loaded, without, warned = ending(run_python, code)
    assert (loaded, without) == (False, True)
    assert warned.count("RuntimeWarning") == 1
    assert WARNING in warned


@needs_both
@needs_clash
@slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_of_keras_get_on_with_triton_too(run_python, backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    code = f"import resnet_tf, tensorflow\n{OPTIMISER}"
    assert ending(run_python, code, KERAS_BACKEND=backend) == (True, False, "")


@needs_both
@needs_clash
def test_without_us_the_process_still_dies(run_python):
    """What all this is for; a TensorFlow that is mended is no clash, and this test is skipped."""
    assert run_python(f"import tensorflow\n{OPTIMISER}", TF_CPP_MIN_LOG_LEVEL="3").returncode < 0


def test_the_cure_goes_when_the_illness_has_gone():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [each for each in project["optional-dependencies"]["tf"] if each.startswith("tensorflow>=")]
    assert wanted.startswith(("tensorflow>=2.20", "tensorflow>=2.21")), "2.22 is mended: side_by_side.py can go"


@needs_both
@slow
def test_torch_compile_works_beside_tensorflow(run_python):
    code = "import resnet_tf, torch; print(torch.compile(lambda x: 2 * x)(torch.ones(2)).tolist())"
    result = run_python(code)
    if "C++ compiler" in result.stderr or "Python.h" in result.stderr:
        pytest.skip("torch.compile needs a C++ compiler and Python's headers")
    assert (result.returncode, result.stdout) == (0, "[2.0, 2.0]\n"), result.stderr


@needs_both
def test_a_students_cell_that_imports_tensorflow_first_does_not_end_the_run():
    if why_not():
        pytest.skip(why_not())
    with Sandbox(Limits(), hides=["shared", "resnet_torch", "resnet_tf"]) as student:
        student.run_cell("import tensorflow")
        assert student.run_cell(OPTIMISER)["error"] is None


# -- the rule itself, in a Python that has no other packages than TensorFlow and triton made up here


def install(folder: Path, *, triton: str = "", build: str = "triton", flags: bool | None = True) -> None:
    """Lay empty packages into `folder`; flags: whether TensorFlow shows its symbols, None for no TensorFlow."""
    files = ["tensorflow/__init__.py", "tensorflow/python/__init__.py", f"tensorflow/{FLAGS}"]
    files = files[: 0 if flags is None else 3 if flags else 2]
    if triton:
        files += ["triton/__init__.py", "triton/_C/__init__.py", "triton/_C/libtriton.py"]
        about = folder / f"{build.replace('-', '_')}-{triton}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {build}\nVersion: {triton}\n")
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def bare(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    paths = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]\n"
    command = [sys.executable, "-S", "-c", f"{paths}from shared.base.side_by_side import *\n{code}\n{AFTERWARDS}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


only_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there does TensorFlow show symbols")


@only_linux
@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"triton": "3.7.0"}, True),
        ({"triton": "3.10.1"}, True),
        ({"triton": "4.0"}, True),
        ({"triton": "3.7.1", "build": "pytorch-triton-rocm"}, True),
        ({"triton": "1.0", "build": "triton-of-somebody"}, True),  # nobody knows; to be careful costs little
        ({"triton": "3.6.0"}, False),
        ({"triton": "3.2.0", "build": "pytorch-triton"}, False),
        ({"triton": "3.9.0", "flags": False}, False),  # a TensorFlow that is mended
        ({"triton": "3.9.0", "flags": None}, False),  # none at all
        ({}, False),
    ],
)
def test_only_a_new_triton_beside_a_tensorflow_that_shows_its_symbols_clashes(tmp_path, installed, expected):
    install(tmp_path, **installed)
    result = bare(tmp_path, "print(clashes()); make_safe()")
    assert result.stdout.splitlines() == [str(expected), f"done {expected} False"], result.stderr


@only_linux
def test_where_nothing_clashes_nothing_is_said(tmp_path):
    install(tmp_path, triton="3.6.0")
    result = bare(tmp_path, "import tensorflow.python; make_safe()")
    assert (result.stdout, result.stderr) == ("done False False\n", "")


@only_linux
def test_triton_is_taken_away_where_tensorflow_came_first(tmp_path):
    install(tmp_path, triton="3.7.1")
    result = bare(tmp_path, "import tensorflow.python; make_safe(); make_safe()")
    assert result.stdout == "done False True\n"
    assert result.stderr.count(WARNING) == 1


@only_linux
def test_a_triton_that_does_not_import_is_no_reason_to_stop(tmp_path):
    install(tmp_path, triton="3.7.1")
    (tmp_path / "triton" / "_C" / "libtriton.py").write_text("raise OSError('no such library')")
    result = bare(tmp_path, "make_safe()")
    assert (result.returncode, result.stderr) == (0, "")


def test_without_load_nothing_is_loaded(tmp_path):
    install(tmp_path, triton="3.7.1")
    assert bare(tmp_path, "make_safe(load=False)").stdout == "done False False\n"


def test_importing_the_backends_loads_no_triton(run_python):
    assert run_python(f"import shared.backends{AFTERWARDS}").stdout == "done False False\n"


def test_the_tested_triton_is_the_one_that_the_tested_pytorch_asks_for():
    asked = [] if missing_modules("torch") else [line for line in requires("torch") or [] if line.startswith("triton")]
    if not asked or version("torch").split("+")[0] != TESTED["torch"]:
        pytest.skip("the tested PyTorch is not installed, or in a build that asks for no triton")
    assert f"triton=={TRITON}" in asked[0]
