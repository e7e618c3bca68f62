"""Text that is not ours: whatever names and files hold, it reaches the terminal as signs that print, and as no more."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shared.base.errors import InputError, StoppedError
from shared.base.printable import printable, printable_list
from shared.base.subprocesses import try_out
from shared.base.versions import shell_line, twins_command
from shared.bench.report import Table
from shared.bench.results import Results
from shared.checkpoints.ours import write_safetensors
from shared.cli import findings as doctoring
from shared.cli.app import Screen, only_prints
from shared.cli.findings import BAD, Finding
from shared.data.inputs import Inputs
from shared.distributed.launch import MOST_LINE, SHOWN_LINES, _Child
from shared.networks.catalog import SPECS
from shared.networks.initial import initial_weights
from shared.training.metrics import METRICS
from shared.training.recipes import get_recipe
from shared.training.start import train

TINY = SPECS["resnet8_digits"]
#: A title for the window, a bell, the line from its start, colours, the text turned round, half a character, a byte
#: that is no UTF-8, control characters of one byte, line ends that are not called so, markup of rich.
NASTY = "a\x1b]0;owned\x07\r\x1b[31m\x1b[2J\u202eb\u2066\ud800\udcff\x9b1m\x7f\x00\n\u2028\u0085\v\t[bold red][/nope]c"
#: The same as a file's name can have it, in 255 bytes.
NAME = NASTY.replace("\x00", "").replace("/", "").replace("\ud800", "")
LONG = "n" * 10_000

files_may_be_called_so = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a file be called so")


def check_clean(*texts: str, most: int = 20_000) -> None:
    """No sign in it does anything but print, and nobody's text goes on for ever."""
    for text in texts:
        bad = [
            sign for sign in text if sign != "\n" and unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        ]
        assert not bad, f"{bad!r} in {text!r}"
        assert len(text) < most
    assert LONG[:8100] not in "".join(text.replace("\n", "") for text in texts)


def weights_with_classes(path: Path, classes: tuple[str, ...]) -> Path:
    inputs = Inputs(data=NASTY, classes=classes, image_size=8, mean=(0.0,), std=(1.0,), highest=16)
    write_safetensors(path, initial_weights(TINY, 0), TINY, {"inputs": inputs.to_json()})
    return path


def picture(path: Path) -> Path:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path, "PNG")
    return path


# -- the functions


def test_what_prints_stays_as_it_is():
    for text in ("Müller", "数字", "🙂", "a [b] c", "👩‍🔬", "a\u00a0b", r"C:\new"):
        assert printable(text) == text
        assert only_prints(f"{text}\n{text}") == f"{text}\n{text}"


@pytest.mark.parametrize(
    "sign", [*"\x00\x07\x08\t\n\v\f\r\x1b\x7f\x85\x9b\xad", "\u200b", "\u200e", "\u2028", "\u202e"]
)
def test_what_moves_hides_or_turns_is_spelt_out(sign):
    for cleaned in (printable(f"a{sign}b"), only_prints(f"a{sign}b") if sign != "\n" else "a\\nb"):
        check_clean(cleaned)
        assert cleaned.startswith("a\\")
        assert cleaned.endswith("b")


def test_what_is_left_out_is_counted():
    assert printable(LONG).endswith("… [9,800 more characters]")
    assert printable_list(["x"] * 30).endswith(" and 10 more")


def test_errors_clean_what_they_quote():
    for kind in (InputError, StoppedError):
        check_clean(str(kind(f"{NASTY} {LONG}")))


def test_the_console_lets_nothing_through_that_was_forgotten(capsys):
    from rich.markup import escape
    from rich.table import Table as RichTable

    screen = Screen(width=200)
    table = RichTable()
    table.add_column(escape(NASTY))
    table.add_row(escape(NASTY))
    screen.print(table)
    screen.print(NASTY, markup=False)
    screen.print(f"[bold]{escape(NASTY)}[/]")
    screen.print(":warning:")
    shown = capsys.readouterr().out
    check_clean(shown)
    assert "owned" in shown
    assert ":warning:" in shown, "a class may be called so"


def test_a_console_still_shows_its_own_colours(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    Screen(width=80, force_terminal=True, color_system="standard").print("[bold red]✗[/] bad")
    assert capsys.readouterr().out == "\x1b[1;31m✗[0m bad\n".replace("✗[0m", "✗\x1b[0m")


# -- commands that are shown


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other quotes")
@pytest.mark.parametrize(
    "word",
    ["plain", "two words", "it's", 'say "x"', "$HOME", "a  b", " a", "a ", "a\\b", NAME, "-x", "ü", "\udcff", "👩‍🔬"],
)
def test_a_command_that_is_shown_means_the_same_when_it_is_pasted(word):
    bash = pytest.importorskip("shutil").which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    line = str(InputError(f"go on with: {shell_line(['printf', '%s', word])}")).removeprefix("go on with: ")
    check_clean(line)
    assert subprocess.run([bash, "-c", line], capture_output=True, check=True).stdout == os.fsencode(word)


def test_a_usual_command_looks_as_before():
    assert twins_command("train", "--resume", Path("my runs/it's")) == shlex.join(
        ["resnet-twins", "train", "--resume", "my runs/it's"]
    )


# -- what other programs say


def test_the_last_words_of_a_process_only_print(capsys, tmp_path):
    child = SimpleNamespace(errors=tmp_path / "errors.txt")
    child.errors.write_bytes(
        f"{NASTY}\n\tindented\n{LONG}\n".encode("utf-8", "surrogateescape" if False else "replace")
    )
    _Child.show_errors(child)  # type: ignore[arg-type]
    shown = capsys.readouterr().err
    check_clean(shown)
    assert "        indented\n" in shown
    child.errors.write_bytes(b"x" * 50 * SHOWN_LINES * MOST_LINE)
    _Child.show_errors(child)  # type: ignore[arg-type]
    assert len(capsys.readouterr().err) < 2 * MOST_LINE


def test_why_a_trial_failed_only_prints():
    tried = try_out("-c", f"raise ValueError({NASTY.replace(chr(10), ' ')!a} + 'n' * 10_000)", seconds=100)
    check_clean(tried.why)
    assert 0 < len(tried.why) < 2100


def test_what_doctor_found_only_prints(call, monkeypatch):
    monkeypatch.setattr(doctoring, "examine", lambda: [Finding("thing", BAD, NASTY + LONG, f"rm {shell_line([NAME])}")])
    result = call("doctor")
    check_clean(result.stdout, result.stderr)
    assert shell_line([NAME]) in result.stdout


def test_tables_of_a_benchmark_only_print(capsys):
    table = Table(NASTY, (NASTY, "b"), ((NASTY, LONG),), (NASTY + LONG,))
    Screen(width=100).print(table.to_rich())
    check_clean(capsys.readouterr().out, table.to_markdown())


# -- the commands


@pytest.mark.parametrize("text", [NASTY.replace("\x00", ""), LONG], ids=["nasty", "long"])
@pytest.mark.parametrize(
    "line",
    [
        ["recipes", "{}"],
        ["recipes", "{}.toml"],
        ["train", "--recipe", "{}"],
        ["train", "--set", "{}=1"],
        ["train", "--set", "data={}"],
        ["train", "--set", "name={}"],
        ["train", "--set", "epochs={}"],
        ["train", "--model", "{}"],
        ["train", "--data", "{}"],
        ["train", "--data", "folder:{}"],
        ["train", "--data-dir", "{}", "--data", "cifar10"],
        ["train", "--resume", "{}"],
        ["train", "--device", "{}"],
        ["train", "--{}"],
        ["experiment", "degradation", "--depths", "{}"],
        ["experiment", "{}"],
        ["compare", "{}"],
        ["verify", "{}"],
        ["microscope", "resnet18", "--output", "{}"],
        ["convert", "{}", "x.safetensors"],
        ["convert", "{}.pth", "x.safetensors"],
        ["convert", "{}.safetensors", "{}"],
        ["evaluate", "{}", "--data", "digits"],
        ["evaluate", "resnet8_digits", "{}"],
        ["evaluate", "resnet8_digits", "--data", "{}"],
        ["evaluate", "resnet8_digits", "--data", "digits", "--mean", "{}"],
        ["predict", "{}", "--weights", "resnet8_digits"],
        ["predict", "x.png", "--weights", "{}"],
        ["bench", "--only", "{}"],
        ["{}"],
    ],
    ids=" ".join,
)
def test_whatever_is_typed_the_answer_only_prints(call, torch_twin, keras_twin, line, text):
    result = call(*(part.replace("{}", text) for part in line))
    assert result.returncode == 2, result.stdout + result.stderr
    check_clean(result.stdout, result.stderr)
    assert len(result.stderr.splitlines()) == 1


@files_may_be_called_so
@pytest.mark.parametrize(
    "classes", [tuple(f"{NASTY}{number}" for number in range(10)), (LONG,) * 10], ids=["nasty", "long"]
)
def test_classes_and_pictures_are_shown_so_that_they_only_print(call, torch_twin, tmp_path, classes):
    weights = weights_with_classes(tmp_path / f"{NAME}.safetensors", classes)
    picture(tmp_path / f"{NAME}1.png")
    picture(tmp_path / NAME / f"{NAME}2.png")
    result = call("predict", tmp_path / f"{NAME}1.png", tmp_path / NAME, "-w", weights, "--framework", "torch")
    check_clean(result.stdout, result.stderr)
    assert result.returncode == 0, result.stderr
    (tmp_path / f"{NAME}3.png").write_text("no picture")
    result = call(
        "predict", tmp_path / f"{NAME}1.png", tmp_path / f"{NAME}3.png", "-w", weights, "--framework", "torch"
    )
    check_clean(result.stdout, result.stderr)
    assert result.returncode == 2


@files_may_be_called_so
def test_folders_of_pictures_are_shown_so_that_they_only_print(call, torch_twin, tmp_path):
    weights = weights_with_classes(tmp_path / "w.safetensors", tuple(map(str, range(10))))
    for name in (f"{NAME}0", f"{NAME}1"):
        for number in range(4):
            picture(tmp_path / NAME / name / f"{NAME}{number}.png")
    result = call("evaluate", weights, tmp_path / NAME, "--framework", "torch")
    check_clean(result.stdout, result.stderr)
    (tmp_path / NAME / f"{NAME}0" / "bad.png").write_text("no picture")
    result = call("evaluate", weights, tmp_path / NAME, "--framework", "torch")
    check_clean(result.stdout, result.stderr)
    # A recipe's texts must print, so the folder is named through a link; what lies in it still has its names.
    (tmp_path / "photos").symlink_to(tmp_path / NAME)
    (tmp_path / NAME / f"{NAME}0" / "bad.png").unlink()
    changes = ["--data", f"folder:{tmp_path / 'photos'}", "--set", "steps=1", "--set", "batch_size=2"]
    result = call("train", *changes, "--output", tmp_path / f"out{NAME}")
    check_clean(result.stdout, result.stderr)


@files_may_be_called_so
def test_a_run_in_a_folder_of_such_a_name_trains_and_says_how_to_go_on(call, torch_twin, tmp_path):
    folder = tmp_path / NAME
    result = call("train", "--set", "steps=2", "--output", folder)
    check_clean(result.stdout, result.stderr)
    assert result.returncode == 0, result.stderr
    result = call("train", "--set", "steps=2", "--output", folder)
    check_clean(result.stderr)
    assert f"use {shell_line(['--resume', str(folder)])}" in result.stderr
    (folder / METRICS).write_text("x")
    result = call("train", "--resume", folder)
    check_clean(result.stderr)


def test_weights_that_call_their_network_so_are_answered_in_signs_that_print(call, torch_twin, tmp_path):
    spec = json.dumps({**TINY.to_dict(), "name": NASTY + LONG})
    write_safetensors(tmp_path / "w.safetensors", initial_weights(TINY, 0), TINY, {"spec": spec})
    for line in (["convert", "w.safetensors", "x.pth"], ["evaluate", "w.safetensors", "--data", "digits"]):
        result = call(*line, *(["--framework", "torch"] if line[0] == "evaluate" else []))
        check_clean(result.stdout, result.stderr)


def test_a_recipe_of_a_file_is_shown_in_signs_that_print(call, tmp_path):
    text = get_recipe("quick").to_toml()
    for name, value in (("about", NASTY), ("about", LONG), ("data", NASTY), ("name", NASTY)):
        table = [line for line in text.splitlines() if not line.startswith(f"{name} = ")]
        (tmp_path / "x.toml").write_text("\n".join([*table, f"{name} = {json.dumps(value.replace(chr(0xD800), ''))}"]))
        result = call("recipes", "x.toml")
        check_clean(result.stdout.replace(LONG, ""), result.stderr)


def test_results_of_a_benchmark_that_somebody_wrote_are_answered_in_one_line(call, tmp_path):
    good = json.loads(json.dumps(vars(Results(quick=True))))
    job = {"what": "train"}
    race = {"name": "none", "title": NASTY, "contenders": [{"label": NASTY, "job": job}]}
    timing = {"label": NASTY, "job": job, "rates": [1.0], "megabytes": 1.0, "failed": ""}
    outcome = {"race": race, "timings": [timing], "images": NASTY}
    start = {"label": "x", "arguments": [], "reference": "x", "backends": [], "seconds": [1.0], "failed": NASTY}
    profile = {"title": "x", "label": "x", "job": job, "milliseconds": {}, "failed": ""}
    grown = {"sweep": "depth", "value": 1, "macs": 1, "timings": {"torch": timing}}
    for change in (
        {"machine": NASTY + LONG},
        {"versions": {NASTY: NASTY}},
        {"versions": []},
        {"quick": "yes"},
        {"outcomes": [outcome]},
        {"outcomes": [{**outcome, "timings": [{**timing, "rates": ["fast"]}]}]},
        {"outcomes": [{**outcome, "timings": [{**timing, "rates": [float("nan")]}]}]},
        {"outcomes": [{**outcome, "timings": [{**timing, "rates": [0.0]}, {**timing, "rates": [0.0]}]}]},
        {"starts": {NASTY: [start]}},
        {"starts": {"imports": [{**start, "seconds": "long"}]}},
        {"starts": {"imports": [{**start, "more": 1}]}},
        {"profiles": [profile]},
        {"growth": [{**grown, "value": "high"}]},
        {"growth": [{**grown, "timings": {"torch": {**timing, "rates": [0.0]}}}]},
        {"ceiling": {"float32": "1"}},
        {"date": 3},
        {"mine": 1},
    ):
        text = json.dumps({**good, **change})
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "bench.json").write_text(text)
        result = call("bench", "--quick", "--only", "imports", "--output", "out")
        assert (result.returncode, result.stdout) == (2, ""), change
        check_clean(result.stderr)
        assert len(result.stderr.splitlines()) == 1
        assert (tmp_path / "out" / "bench.json").read_text() == text
    for content in ("[" * 200_000, "", "1", "[]", '"x"'):
        (tmp_path / "out" / "bench.json").write_text(content)
        result = call("bench", "--quick", "--only", "imports", "--output", "out")
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    with (tmp_path / "out" / "bench.json").open("r+b") as file:
        file.truncate(20_000_000_000)
    assert "has more than 20 MB" in call("bench", "--quick", "--only", "imports", "--output", "out").stderr


@pytest.mark.draws
def test_a_figure_of_classes_that_are_called_so_can_be_drawn(tmp_path, recwarn):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from shared.training.curves import plot_confusion

    axes, _ = plot_confusion(np.eye(3, dtype=np.int64), (NASTY, LONG, "$x^$"), "t", tmp_path / "x.png").axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    check_clean(*labels, most=200)
    assert labels[2] == "$x^$"


def test_a_note_of_a_run_only_prints(torch_twin, capsys, tmp_path):
    from shared.cli.progress import Terminal

    terminal = Terminal(Screen(width=120))
    terminal.note(NASTY + LONG)
    check_clean(capsys.readouterr().out)
    assert train(get_recipe("quick", ["steps=1"]), output=tmp_path / "x[bold]", reporter=lambda: terminal).complete
    assert "x[bold]" in capsys.readouterr().out.replace("\n", "")
