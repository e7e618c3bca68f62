"""`doctor`: what it finds, also where packages crash, and the command that mends it."""

from __future__ import annotations

import re
import sys

import pytest

from shared import __version__
from shared.backends import BACKENDS
from shared.base.versions import how_to_install, install_command, unset_command
from shared.cli import findings as doctoring
from shared.cli.findings import BAD, GOOD, NOTE, examine
from shared.cli.trial import Trial, try_modules


def test_doctor_lists_versions_devices_and_the_cache(call, tmp_path, torch_twin, keras_twin):
    result = call("doctor", RESNET_TWINS_DATA=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("ready: PyTorch and Keras\n")
    assert f"resnet-twins         {__version__}" in result.stdout
    assert str(tmp_path) in result.stdout
    assert "works; CPU" in result.stdout


@pytest.fixture
def extras_are_fine(monkeypatch):
    """What the extras bring is not tried: that is another test, and takes seconds."""
    monkeypatch.setattr(doctoring, "try_modules", lambda names: dict.fromkeys(names, ""))


def test_doctor_notices_broken_settings(call, extras_are_fine, keras_twin):
    result = call("doctor", KERAS_BACKEND="theano")
    assert result.returncode == 1
    assert "KERAS_BACKEND is 'theano'; allowed is tensorflow, torch, jax" in result.stdout
    assert unset_command("KERAS_BACKEND") in result.stdout
    assert "--force-reinstall" not in result.stdout
    assert "predicts the same" not in result.stdout


CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_doctor_survives_a_framework_that_crashes_and_says_which(
    call, extras_are_fine, tmp_path, torch_twin, keras_twin
):
    (tmp_path / "path" / "torch").mkdir(parents=True)
    (tmp_path / "path" / "torch" / "__init__.py").write_text(CRASH)
    result = call("doctor", PYTHONPATH=str(tmp_path / "path"))
    assert result.returncode == 1, result.stdout
    assert re.search(r"✗ PyTorch +does not start: its process was killed by SIGSEGV", result.stdout)
    assert re.search(r"✓ Keras +works", result.stdout)
    assert install_command("torch", anew=True) in result.stdout


@pytest.mark.parametrize("triton", [True, False])
def test_doctor_says_what_mends_a_pair_that_crashes(monkeypatch, triton):
    monkeypatch.setattr(doctoring, "missing_modules", lambda name: [])
    monkeypatch.setattr(doctoring, "is_installed", lambda module: triton)
    fine = {name: Trial(results={name: ["CPU"]}) for name in BACKENDS}
    crash = Trial(why="its process was killed by SIGSEGV", killed_by=11)
    monkeypatch.setattr(doctoring, "attempt", lambda what, names: fine[names[0]] if len(names) == 1 else crash)
    *each, pair = doctoring._frameworks()
    assert [finding.state for finding in each] == [GOOD, GOOD]
    assert (pair.state, "not both in one process: its process was killed by SIGSEGV" in pair.text) == (BAD, True)
    assert ("uninstall -y triton" in pair.remedy) == triton
    assert ("--force-reinstall" in pair.remedy) != triton


def test_doctor_ticks_only_what_can_be_imported(monkeypatch):
    why = {"torchvision": "RuntimeError: operator torchvision::nms does not exist", "PIL": "OSError: no libjpeg"}
    monkeypatch.setattr(doctoring, "installed_version", lambda name: "1.0")
    monkeypatch.setattr(doctoring, "try_modules", lambda names: {name: why.get(name, "") for name in names})
    found = {finding.subject: finding for finding in doctoring._extras()}
    assert {name: each.state for name, each in found.items() if each.state != GOOD} == {
        "torchvision": NOTE,
        "pillow": BAD,
    }
    assert "operator torchvision::nms does not exist" in found["torchvision"].text
    assert "no libjpeg" in found["pillow"].text
    assert found["pillow"].remedy == install_command("images", anew=True)


def test_modules_are_tried_in_a_process_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "dies_here.py").write_text(CRASH)
    (tmp_path / "fails_here.py").write_text("raise OSError('no such library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    why = try_modules(["json", "fails_here", "dies_here"])
    assert (why["json"], why["fails_here"]) == ("", "OSError: no such library")
    assert why["dies_here"].startswith("its process ")


@pytest.mark.parametrize("name", ["shared", "resnet_torch", "torch", "keras"])
def test_doctor_notices_a_file_in_the_way(monkeypatch, tmp_path, name):
    (tmp_path / f"{name}.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (finding,) = doctoring._names()
    assert (finding.state, str(tmp_path / f"{name}.py") in finding.remedy) == (BAD, True)


def test_another_clone_of_this_project_is_not_in_the_way(monkeypatch, tmp_path):
    for package in ("_resnet_twins", "shared", "resnet_torch"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert list(doctoring._names()) == []


def test_doctor_says_that_no_temporary_file_can_be_written_and_tries_nothing_else(monkeypatch):
    def full(*arguments, **options):
        raise FileNotFoundError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    *_, finding = examine()
    assert (finding.subject, finding.state) == ("temporary files", BAD)
    assert "No space left on device" in finding.text
    assert "TMPDIR" in finding.remedy


@pytest.mark.parametrize(("version", "state"), [((3, 10), BAD), ((3, 12), GOOD), ((3, 14), NOTE)])
def test_doctor_says_what_another_python_lacks(monkeypatch, version, state):
    monkeypatch.setattr(sys, "version_info", version)
    finding = doctoring._python()
    assert finding.state == state
    assert ("no TensorFlow yet" in finding.text) == (version == (3, 14))
    assert ("there is no TensorFlow for Python 3.14 yet: use 3.11 to 3.13" in how_to_install("tf")) == (
        version > (3, 13)
    )
    assert install_command("torch") in how_to_install("torch")


def test_doctor_says_that_a_named_data_folder_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("RESNET_TWINS_DATA", str(tmp_path / "nowhere"))
    (finding,) = [finding for finding in doctoring._data() if finding.subject == "data folder"]
    assert (finding.state, "nowhere" in finding.text) == (BAD, True)
    assert "RESNET_TWINS_DATA" in finding.remedy
