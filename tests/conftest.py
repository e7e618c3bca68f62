"""What the tests share: the frameworks (skipped with the reason if absent), golden files, and the real data."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from shared.backends import BACKENDS, load_backend, missing_modules
from shared.training import curves

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # pytest -n N: each of the N processes takes its part of the cores
    part = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(variable, str(part))

# The tests are about this package, and build Keras layers of their own: what a user's keras.json says is out of sight.
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="resnet-twins-keras-")
atexit.register(shutil.rmtree, os.environ["KERAS_HOME"], ignore_errors=True)

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[1]


#: Files whose tests share what takes minutes to make: they all run in the same process.
TOGETHER = ("tests/classroom/test_grading.py",)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With several processes, keep the tests of a file in `TOGETHER` in one of them, and give out the others singly."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected printouts in tests/golden")


@functools.cache
def load_once(name: str) -> ModuleType:
    """Load a backend and take what it brought along out of the garbage collector's sight, which saves a minute."""
    package = load_backend(name)
    gc.collect()
    gc.freeze()
    return package


def backend(name: str) -> ModuleType:
    missing = missing_modules(name)
    if missing:
        pytest.skip(f"{BACKENDS[name].title} is not installed ({', '.join(missing)} missing)")
    return load_once(name)


@pytest.fixture(autouse=True, scope="module")
def forget_models() -> Iterator[None]:
    """Models are cycles of objects: without this those of earlier files would fill the memory."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def quick_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the figures of runs but do not draw them, which takes longer than the training: "draws" marks who does."""
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr(curves, "save_figure", lambda figure, path: path and Path(path).touch())


@pytest.fixture
def torch_twin() -> ModuleType:
    """`resnet_torch`; the test is skipped where PyTorch is not installed."""
    return backend("torch")


@pytest.fixture
def keras_twin() -> ModuleType:
    """`resnet_tf`; the test is skipped where Keras or TensorFlow is not installed."""
    return backend("tf")


@pytest.fixture(params=list(BACKENDS))
def twin(request: pytest.FixtureRequest) -> ModuleType:
    """Each of the two packages in turn."""
    return backend(request.param)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name in `tests/golden`; `--update-golden` rewrites the file."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; run pytest --update-golden and look at what it writes"
        assert text == path.read_text(encoding="utf-8"), f"{name} changed; if meant, run pytest --update-golden"

    return check


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -c CODE` in a fresh process; extra keywords are environment variables."""

    def run(code: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=cwd,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the `resnet-twins` command in an empty folder, inside this process, which has the frameworks loaded."""

    def run(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        from shared.cli.main import main

        for name, value in {"COLUMNS": "140", **env}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["resnet-twins", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, code, shown.out, shown.err)

    return run


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the `resnet-twins` command in an empty folder and a fresh process; keywords are environment variables."""

    def run(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shared", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "140", **env},
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data sets, from $RESNET_TWINS_DATA; the test is skipped where it is not set."""
    folder = Path(os.environ.get("RESNET_TWINS_DATA", ""))
    if not os.environ.get("RESNET_TWINS_DATA") or not folder.is_dir():
        pytest.skip("$RESNET_TWINS_DATA names no folder with the real data sets")
    return folder
