"""The command line: what it prints, its exit codes, and one line for bad input."""

from __future__ import annotations

import importlib
import io
import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shared import __version__
from shared.backends import BACKENDS, missing_modules
from shared.base.versions import TESTED, how_to_install, install_command, twins_command, unset_command
from shared.cli.app import LEARN, LOOK, ORDER, START, TEACH, TRAIN, app, networks
from shared.data.places import data_cache
from shared.networks.catalog import SPECS
from shared.twins.verification import TOLERANCES
from tests.cli.commands import endings, one_after_another
from tests.conftest import ROOT


def test_version_and_help(command):
    assert command("--version").stdout.strip() == f"resnet-twins {__version__}"
    helped = command("--help")
    assert helped.returncode == 0
    for name in (
        "models",
        "compare",
        "verify",
        "microscope",
        "convert",
        "evaluate",
        "demo",
        "doctor",
        "train",
        "recipes",
        "predict",
        "experiment",
    ):
        assert name in helped.stdout


def test_models_lists_the_whole_catalog(command):
    listed = command("models").stdout
    for spec in SPECS.values():
        assert spec.name in listed
    assert "25,557,032" in listed
    assert f"{len(SPECS)} networks" in listed
    assert SPECS["resnet18_d2l"].block in listed


def test_models_fits_a_narrow_terminal(command):
    listed = command("models", COLUMNS="80").stdout
    assert "…" not in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert "preact_resnet110_cifar" in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "resnet51"], "unknown network 'resnet51'; nearest are resnet50"),
        (["compare", "resnet18", "--input-size", "9"], "input_size is 9, too small for the strides"),
        (["compare", "resnet18", "--input-size", "x"], "Invalid value for '--input-size'"),
        (["compare", "resnet18", "--num-classes", "0"], "num_classes is 0"),
        (["compare", "resnet18", "--in-channels", "-3"], "in_channels is -3"),
        (["compare", "resnet18", "--by", "row"], "'row' is not one of 'layer', 'block', 'stage'"),
        (["compare", "resnet18", "--format", "pdf"], "'pdf' is not one of"),
        (["compare", "resnet18", "--output", "no/such/folder/x.md"], "there is no folder"),
        (["compare"], "Missing argument"),
        (["compare", "resnet18", "resnet34", "resnet50"], "unexpected extra argument"),
        (["compare", "mine.py:Net", "resnet18"], "there is no file mine.py"),
        (["compare", "resnet18", "resnet34", "--raw", "--by", "block"], "leave --by and --format away"),
        (["compare", "resnet18", "resnet34", "--by", "stage"], "is 'stage'; allowed is one of layer, block"),
        (["compare", "resnet18", "--weights", "w.pth"], "--weights is for two models"),
        (["compare", "resnet18", "--second-weights", "w.pth"], "--second-weights is for two models"),
        (["compare", "resnet18", "resnet34", "--weights", "w.pth"], "there is no file w.pth"),
        (["microscope", "resnet18", "weights.pth"], "weights.pth"),
        (["port", "resnet18", "resnet18"], "Missing option"),
        (["port", "resnet18", "resnet18", "-o", "x.doc"], "a PyTorch model is saved as one of .pth, .pt, .safetensors"),
        (["verify", "resnet18", "--all"], "--all and names exclude each other"),
        (["verify", "resnet"], "unknown network 'resnet'"),
        (["verify", "--dtype", "float16"], "'float16' is not one of"),
        (["microscope", "resnet18", "--seed", "-1"], "seed is -1"),
        (["microscope", "resnet18", "--output", "x.doc"], "the ending says the format"),
        (["convert", "nope.pth", "out.safetensors"], "there is no file nope.pth"),
        (["convert", "nope.pth", "out.onnx"], "the ending says the format"),
        (["convert", "nope.pth"], "Missing argument"),
        (["evaluate", "nope.pth", "pictures"], "there is no file nope.pth"),
        (["trian"], "No such command 'trian'"),
        (["--nope"], "No such option"),
    ],
)
def test_bad_input_is_answered_with_one_line_and_exit_code_2(
    call, tmp_path, torch_twin, keras_twin, arguments, message
):
    result = call(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_compare_prints_a_table_a_verdict_and_the_reasons(command, torch_twin, keras_twin):
    result = command("compare", "resnet50", "--by", "stage")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # in a fresh process: TensorFlow keeps quiet
    assert "25,557,032" in result.stdout
    assert "✓ resnet50 at 224x224" in result.stdout
    assert "25,636,712" in result.stdout


def test_compare_writes_a_file(call, tmp_path, torch_twin, keras_twin):
    result = call(
        "compare", "resnet18", "--input-size", "64", "--num-classes", "10", "--format", "json", "-o", "x.json"
    )
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["input_size"] == 64
    assert content["totals"]["keras_parameters"] == 11_181_642


def test_compare_in_a_terminal_that_knows_no_ticks(call, monkeypatch, torch_twin, keras_twin):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    result = call("compare", "resnet8_digits", "--by", "stage")
    assert result.returncode == 0, result.stderr
    assert b"+ resnet8_digits at 8x8" in written.getvalue()


def test_verify_prints_each_difference_beside_its_tolerance(call, torch_twin, keras_twin):
    result = call("verify", "resnet8_digits", "resnet20_cifar", "--dtype", "float64")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "gradients, worst" in result.stdout
    assert "allowed 1e-11" in result.stdout
    assert "The worst of all networks" in result.stdout
    assert "checks of 2 networks passed" in result.stdout


def test_compare_ends_with_exit_code_1_if_anything_differs(call, monkeypatch, torch_twin, keras_twin):
    keras_layers = importlib.import_module("keras").layers
    dense = keras_layers.Dense
    monkeypatch.setattr(keras_layers, "Dense", lambda units, **options: dense(units + 1, **options))
    result = call("compare", "resnet8_digits", "--by", "stage")
    assert result.returncode == 1, result.stderr
    assert "rows differ, the first is fc" in result.stdout


def test_verify_ends_with_exit_code_1_on_a_miss(call, monkeypatch, torch_twin, keras_twin):
    monkeypatch.setitem(TOLERANCES, ("logits, eval mode", "float64"), 1e-30)
    result = call("verify", "resnet8_digits", "--dtype", "float64")
    assert result.returncode == 1, result.stderr
    assert "1 of 10 checks missed; the first: resnet8_digits, float64, logits, eval mode" in result.stdout


def test_microscope_shows_the_layers_and_draws_them(call, tmp_path, torch_twin, keras_twin):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    result = call("microscope", "resnet8_digits", "--output", "x.png")
    assert result.returncode == 0, result.stderr
    assert "layer2.0.downsample.1" in result.stdout
    assert "the twins agree" in result.stdout
    assert (tmp_path / "x.png").exists()


def test_convert_says_what_it_wrote(call, tmp_path, torch_twin, keras_twin):
    torch_twin.save_weights(torch_twin.create_model("resnet8_digits", seed=0), tmp_path / "a.safetensors")
    result = call("convert", "a.safetensors", "b.keras")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "wrote b.keras: resnet8_digits, 77,754 parameters, 10 classes"
    result = call("convert", "a.safetensors", "c.pth", "--model", "resnet20_cifar")
    assert result.returncode == 2
    assert "the weights do not fit the model" in result.stderr
    assert not (tmp_path / "c.pth").exists()


def test_demo_shows_depths_ticks_a_network_and_equal_predictions(call, torch_twin, keras_twin):
    result = call("demo")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("✓ all") == 5
    for number in ("11,689,512", "21,797,672", "25,557,032", "44,549,160", "60,192,808"):
        assert number in result.stdout
    assert "359 of 360 held-out digits right" in result.stdout
    assert "0 of 360 predictions differ" in result.stdout
    assert result.stderr == ""


def test_demo_in_a_narrow_terminal(call, torch_twin, keras_twin):
    result = call("demo", COLUMNS="60")
    assert result.returncode == 0
    assert "…" not in result.stdout


def test_a_backend_that_keras_does_not_have_is_one_line(run_python, torch_twin, keras_twin):
    lines = ["compare resnet18", "verify", "microscope resnet18", "demo", "train --framework tf"]
    code = one_after_another([line.split() for line in lines])
    for line, ended in zip(lines, endings(run_python(code, KERAS_BACKEND="theano")), strict=True):
        assert ended.code == 2, line
        assert ended.errors.strip().splitlines()[-1].startswith("Error: KERAS_BACKEND is 'theano'; allowed is"), line
        assert "Traceback" not in ended.errors, line


def test_where_no_temporary_file_can_be_written_keras_starts_all_the_same(monkeypatch, keras_twin):
    from resnet_tf.quiet import quiet_stderr

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with quiet_stderr():
        begun = True
    assert begun


def test_passed_and_failed_look_different_in_plain_ascii(command):
    shown = "✓ ✗ – • ░▒▓█ 中"
    code = f"import sys; from shared.cli.app import PLAIN; print({shown!r}.encode('ascii', PLAIN).decode())"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "+ x - * .:o# ?\n", result.stderr


@pytest.mark.parametrize("folder", ["plain", "my dir 中文 it's", "-dash"])
def test_a_printed_command_can_be_pasted(folder):
    words = shlex.split(twins_command("train", "--resume", Path(folder)))
    assert words[:3] == ["resnet-twins", "train", "--resume"]
    assert Path(words[3]) == Path(folder)
    assert not words[3].startswith("-")


def test_remedies_are_given_in_the_words_of_the_system(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "executable", "/home/Ann O'Neil/中文 env/python")
    assert shlex.split(install_command("images"))[:3] == [sys.executable, "-m", "pip"]
    assert unset_command("X") == "unset X"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "executable", r"C:\Program Files\python.exe")
    assert install_command("images").startswith(r'"C:\Program Files\python.exe" -m pip install pillow')
    assert unset_command("X") == "set X= (in PowerShell: Remove-Item Env:X)"


#: Nobody finds the packages of `hidden`.
HIDE = """
import importlib.util, sys, tarfile
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name.split(".")[0] in {hidden!r} else find(name, *a)
"""


def without(hidden: tuple[str, ...], *lines: list[str]) -> str:
    return HIDE.format(hidden=hidden) + one_after_another(lines)


@pytest.mark.parametrize(
    ("hidden", "extra", "title"),
    [(("torch",), "torch", "PyTorch"), (("tensorflow", "keras"), "tf", "Keras"), (("keras",), "tf", "Keras")],
)
@pytest.mark.usefixtures("torch_twin", "keras_twin")  # hidden one at a time
def test_an_absent_framework_is_one_line_with_the_command_that_installs_it(run_python, hidden, extra, title):
    lines = [["compare", "resnet18"], ["verify"], ["microscope", "resnet18"], ["demo"]]
    for line, ended in zip(lines, endings(run_python(without(hidden, *lines))), strict=True):
        assert ended.code == 2, line
        last = ended.errors.strip().splitlines()[-1]
        assert last.startswith(f"Error: {title} is not installed ({', '.join(hidden)} missing); install it with: "), (
            line
        )
        assert last.endswith(install_command(extra)), line
        assert "Traceback" not in ended.errors, line


@pytest.mark.parametrize("name", BACKENDS)
def test_a_framework_that_really_is_not_installed_is_one_line_too(command, name):
    """For environments with one framework only, as in CI."""
    if not missing_modules(name):
        pytest.skip(f"{BACKENDS[name].title} is installed")
    for arguments in (["compare", "resnet18"], ["verify"], ["demo"], ["evaluate", "w.pth", "."]):
        result = command(*arguments)
        assert result.returncode == 2
        assert len(result.stderr.strip().splitlines()) == 1
        assert "is not installed" in result.stderr
        assert how_to_install(name) in result.stderr


def test_doctor_without_a_framework_says_how_to_install_both(run_python):
    result = run_python(without(("torch", "tensorflow", "keras"), ["doctor"]))
    assert [ended.code for ended in endings(result)] == [1]
    for name in BACKENDS:
        assert how_to_install(name).removeprefix("install it with: ") in result.stdout


def test_a_checkpoint_is_read_without_pytorch_and_writing_one_says_how_to_install_it(run_python, torch_twin, tmp_path):
    model = torch_twin.create_model("resnet8_digits", seed=0)
    importlib.import_module("torch").save(model.state_dict(), tmp_path / "a.pth")
    lines = [["convert", str(tmp_path / "a.pth"), str(tmp_path / name)] for name in ("b.safetensors", "b.pth")]
    read, written = endings(run_python(without(("torch",), *lines)))
    assert (read.code, written.code) == (0, 2)
    assert "PyTorch is not installed" in written.errors


def test_tested_versions_are_those_of_constraints_txt():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    for name, version in TESTED.items():
        assert pinned[name] == version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    for requirement in wanted:
        name = requirement.split(">=")[0]
        assert name in pinned or name.startswith("resnet-twins["), f"{name} is not in constraints.txt"


def test_the_data_cache_follows_the_environment(monkeypatch, tmp_path):
    if sys.platform not in ("win32", "darwin"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert data_cache() == tmp_path / "resnet-twins"
    assert data_cache().name == "resnet-twins"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no broken pipes")
def test_output_into_a_closed_pipe_is_no_error():
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    result = subprocess.run(
        [sys.executable, "-m", "shared", "models"], cwd=ROOT, stdout=reader.stdin, stderr=subprocess.PIPE, text=True
    )
    reader.stdin.close()
    assert result.returncode == 0
    assert result.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to whole groups of processes")
def test_ctrl_c_is_one_line(torch_twin, keras_twin):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import shared.cli.main as c, signal, os\n"
            # A shell starts its background jobs with the signal ignored, and they pass that on.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "import shared.networks.catalog\n"
            "shared.networks.catalog.get_spec = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)\n"
            "import sys; sys.argv = ['resnet-twins', 'verify']; c.main()",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "Error: interrupted"


# -- help


def test_help_lists_every_command_in_its_panel_the_newcomers_first(call):
    shown = call("--help")
    assert shown.returncode == 0
    assert call("-h").stdout == shown.stdout
    panels = [START, LOOK, LEARN, TRAIN, TEACH]
    assert [panel for panel in panels if f"─ {panel} ─" in shown.stdout] == panels
    places = [shown.stdout.index(f"│ {name} ") for name in ORDER]
    assert places == sorted(places)
    registered = {info.name or info.callback.__name__ for info in app.registered_commands}
    registered |= {info.name for info in app.registered_groups}
    assert registered == set(ORDER), "a subcommand that help does not list"


def test_the_shell_completes_the_names_of_networks():
    assert set(networks("resnet1")) >= {"resnet18", "resnet101", "resnet152"}
    assert networks("nope") == []
    assert len(networks("")) == 36


def test_the_command_runs_as_a_module_too(command):
    for module in ("shared", "shared.cli"):
        run = [sys.executable, "-m", module, "--version"]
        assert subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout.startswith("resnet-twins 0.")
