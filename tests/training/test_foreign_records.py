"""The texts, metrics and states of somebody else's run."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.base.files import check_own, read_own
from shared.checkpoints.ours import read_arrays, read_metadata, save_arrays
from shared.training.folder import ABOUT, PREVIOUS, STATE, check_own_files
from shared.training.metrics import METRICS, MOST_ROW, read_metrics
from shared.training.recipes import get_recipe
from shared.training.record import MOST_TEXT, note_versions
from shared.training.run import Reporter
from shared.training.start import open_runs, resume, train
from tests.training.foreign import AskToStopAt, picture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few people make links")


class Notes(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text) -> None:
        self.texts.append(text)


# -- texts of a run


def test_a_text_of_gigabytes_is_not_read(copy, call):
    for name in (ABOUT, "recipe.toml", METRICS):
        kept = (copy.run / name).read_bytes()
        with (copy.run / name).open("r+b") as file:
            file.truncate(20_000_000_000)  # with a hole: it takes no room
        result = call("train", "--resume", copy.run)
        assert result.returncode == 2
        assert f"{copy.run / name} " in result.stderr
        assert "has more than 1 MB" in result.stderr or "is larger than 8 steps make it" in result.stderr
        (copy.run / name).write_bytes(kept)
    with pytest.raises(InputError, match="has more than 1 MB"):
        read_own(copy.run / STATE, 1_000_000) if (copy.run / STATE).stat().st_size > 1e6 else read_own_large(copy)


def read_own_large(copy) -> None:
    (copy.run / "large").write_bytes(bytes(MOST_TEXT + 1))
    read_own(copy.run / "large", MOST_TEXT)


def without_hash(about: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key != "sha256"}


def huge(digits: int = 4000) -> int:
    return 10**digits


#: What a run.json may say: a change to it, or the text itself.
ABOUTS: dict[str, Any] = {
    "200,000 brackets": "[" * 200_000,
    "200,000 objects": '{"a":' * 200_000,
    "no end": "{" * 9,
    "nothing": "",
    "no UTF-8": b"\xff\xfe{}",
    "a list": "[]",
    "a number": "1",
    "many digits": "9" * 100_000,
    "settings in settings": {"settings": {"settings": {}, "threads": {"threads": 1}}},
    "settings are a list": {"settings": [1]},
    "threads without end": {"settings": {"threads": math.inf}},
    "threads no number": {"settings": {"threads": math.nan}},
    "too many threads": {"settings": {"threads": 10**9}},
    "threads of many digits": {"settings": {"threads": huge()}},
    "compile is a text": {"settings": {"compile": "yes"}},
    "tensorboard is a number": {"settings": {"tensorboard": 1}},
    "deterministic is nothing": {"settings": {"deterministic": None}},
    "channels_last is a list": {"settings": {"channels_last": []}},
    "device is a list": {"settings": {"device": ["cpu"]}},
    "save_every below 0": {"settings": {"save_every": -1}},
    "another framework": {"framework": "jax"},
    "framework is a list": {"framework": ["torch"]},
    "framework is a path": {"framework": "../outside"},
    "data is a text": {"data": "digits"},
    "data without a hash": {"data": {"training_images": 3}},
    "images are a text": {"data": {"sha256": "0", "training_images": "many"}},
    "images of many digits": {"data": {"sha256": "0", "training_images": huge()}},
    "data_dir is a number": {"data_dir": 3},
    "data_dir has a zero": {"data_dir": "a\0b"},
    "recipe is a list": {"recipe": ["x"]},
    "recipe of brackets": {"recipe": "name = " + "[" * 5000},
    "recipe of many digits": {"recipe": 'name = "x"\nepochs = ' + "9" * 5000},
    "recipe of many epochs": {"recipe": 'name = "x"\nepochs = 1' + "0" * 4000},
    "versions are a list": {"versions": ["torch"]},
    "versions are numbers": {"versions": {"torch": 2}},
}


@pytest.mark.parametrize("change", ABOUTS.values(), ids=list(ABOUTS))
def test_whatever_run_json_says_the_answer_is_one_line(copy, call, change):
    if isinstance(change, dict):
        about = without_hash(json.loads((copy.run / ABOUT).read_text()))
        about["settings"] |= change.get("settings", {}) if isinstance(change.get("settings"), dict) else {}
        change = {**about, **change, "settings": change.get("settings", about["settings"])}
        if "recipe" in change and change["recipe"] != about["recipe"]:
            (copy.run / "recipe.toml").unlink()
        change = json.dumps(change)
    (copy.run / ABOUT).write_bytes(change if isinstance(change, bytes) else change.encode())
    before = picture(copy.run)
    result = call("train", "--resume", copy.run)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    assert len(result.stderr) < 9000
    assert picture(copy.run) == before


def test_a_run_json_that_only_asks_for_other_settings_is_gone_on_with(copy):
    about = without_hash(json.loads((copy.run / ABOUT).read_text()))
    about["settings"] |= {"deterministic": True, "threads": 3, "channels_last": True, "from": "the future"}
    (copy.run / ABOUT).write_text(json.dumps(about))
    assert resume(copy.run).complete


# -- metrics


def metrics_with(line: int, name: str, value: str) -> Callable[[str], str]:
    """A change of one number."""

    def change(text: str) -> str:
        rows = [row.split(",") for row in text.splitlines()]
        rows[line][rows[0].index(name)] = value
        return "\n".join(map(",".join, rows)) + "\n"

    return change


METRICS_CHANGES: dict[str, Callable[[str], str]] = {
    "a long field": lambda text: text.replace("\n1,", f"\n{'1' * 300_000},", 1),
    "a quote without end": lambda text: text.replace("\n1,", '\n"1,', 1),
    "a million columns": lambda text: "step,epoch,train_loss" + ",x" * 1000 + "\n",
    "a column twice": lambda text: text.replace("test_loss", "step", 1),
    "no columns": lambda text: "\n" * 50,
    "a row too long": lambda text: text + "1," * 60 + "\n",
    "zeros": lambda text: "\0" * 500,
    "a step without end": metrics_with(2, "step", "inf"),
    "no step": metrics_with(2, "step", ""),
    "a step that is no number": metrics_with(2, "step", "nan"),
    "a step of many digits": metrics_with(2, "step", "9" * 300),
    "a step in between": metrics_with(2, "step", "1.5"),
    "a step behind the last": metrics_with(4, "step", "1000000000000000000"),
    "a step back": metrics_with(3, "step", "1"),
    "a step below 0": metrics_with(1, "step", "-1"),
    "an epoch that is no number": metrics_with(2, "epoch", "nan"),
    "an epoch of 0": metrics_with(1, "epoch", "0"),
    "no loss": metrics_with(3, "train_loss", ""),
    "a loss without end": metrics_with(3, "train_loss", "inf"),
    "seconds without end": metrics_with(3, "seconds", "inf"),
    "a speed of 0": metrics_with(3, "images_per_second", "0"),
    "a rate that is no number": metrics_with(3, "learning_rate", "nan"),
    "half a test": metrics_with(3, "test_loss", "1"),
    "two tests": lambda text: metrics_with(3, "test_loss", "1")(
        metrics_with(3, "test_accuracy", "1")(
            metrics_with(2, "test_loss", "1")(metrics_with(2, "test_accuracy", "1")(text))
        )
    ),
}


@pytest.mark.parametrize("change", METRICS_CHANGES.values(), ids=list(METRICS_CHANGES))
def test_metrics_that_no_run_writes_are_refused_in_one_line_even_with_the_right_hash(copy, call, change):
    (copy.run / METRICS).write_text(change((copy.run / METRICS).read_text()))
    for name in (STATE, PREVIOUS):  # whoever hands on a run can also compute hashes
        rewrite(copy.run / name, lambda arrays, texts: texts.pop("metrics_sha256"))
    before = picture(copy.run)
    result = call("train", "--resume", copy.run)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{copy.run / METRICS} is " in result.stderr
    assert "delete it to go on without the rows before" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert picture(copy.run) == before


def test_metrics_of_one_endless_line_are_not_read_to_their_end(tmp_path):
    (tmp_path / METRICS).write_bytes(b"1" * (MOST_ROW * 8))
    with pytest.raises(InputError, match="is damaged"):
        read_metrics(tmp_path, 8)
    (tmp_path / METRICS).write_bytes(b"1" * (MOST_ROW * 10))
    with pytest.raises(InputError, match="is larger than 8 steps make it"):
        read_metrics(tmp_path, 8)


# -- states


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, str]], Any]) -> None:
    """Change a state, and give it the right hash."""
    arrays, texts = read_arrays(path)
    arrays, texts = dict(arrays), {key: text for key, text in texts.items() if key != "resnet_twins_sha256"}
    change(arrays, texts)
    save_arrays(path, arrays, texts)


def texts_with(**values: str) -> Callable[[dict[str, Any], dict[str, str]], Any]:
    return lambda arrays, texts: texts.update(values)


def array_with(name: str, make: Callable[[Any], Any]) -> Callable[[dict[str, Any], dict[str, str]], Any]:
    return lambda arrays, texts: arrays.update({name: np.asarray(make(arrays.get(name)))})


STATES: dict[str, Callable[[dict[str, Any], dict[str, str]], Any]] = {
    "a step far behind the end": texts_with(step=str(10**18)),
    "a step of many digits": texts_with(step="9" * 5000),
    "one step too many": texts_with(step="9"),
    "a step below 0": texts_with(step="-1"),
    "a step of 0": texts_with(step="0"),
    "a step that is no number": texts_with(step="nan"),
    "a step that is a text": texts_with(step="\x1b]0;x\x07"),
    "no step": lambda arrays, texts: texts.pop("step"),
    "best is no number": texts_with(best="nan"),
    "best without end": texts_with(best="inf"),
    "best above 1": texts_with(best="2"),
    "no best": lambda arrays, texts: texts.pop("best"),
    "seconds without end": texts_with(seconds="inf"),
    "seconds below 0": texts_with(seconds="-1"),
    "seconds that are no number": texts_with(seconds="nan"),
    "no weights": lambda arrays, texts: [arrays.pop(name) for name in list(arrays) if name.startswith("weights/")],
    "weights of another shape": array_with("weights/conv1.weight", lambda old: old[:2]),
    "one number for all weights": array_with("weights/conv1.weight", lambda old: np.float32(1)),
    "weights of another network": array_with("weights/layer9.conv1.weight", lambda old: np.zeros(3)),
    "weights that are no numbers": array_with("weights/conv1.weight", lambda old: old * np.nan),
    "weights that are whole numbers": array_with("weights/conv1.weight", lambda old: old > 0),
    "weights of half the digits": array_with("weights/conv1.weight", lambda old: old.astype(np.float16)),
    "momentum in whole numbers": array_with("momentum_buffer/fc.bias", lambda old: old.astype(np.int64)),
    "no momentum": lambda arrays, texts: [arrays.pop(name) for name in list(arrays) if "momentum" in name],
    "momentum for some": lambda arrays, texts: arrays.pop("momentum_buffer/conv1.weight"),
    "momentum of another shape": array_with("momentum_buffer/conv1.weight", lambda old: old[:1]),
    "momentum of one number": array_with("momentum_buffer/fc.bias", lambda old: np.float32(1)),
    "momentum without end": array_with("momentum_buffer/fc.bias", lambda old: old + np.inf),
    "the memory of another optimiser": array_with("exp_avg/fc.bias", lambda old: np.zeros(10, np.float32)),
    "a billion threads": array_with("threads", lambda old: 10**9),
    "no thread": array_with("threads", lambda old: 0),
    "threads below 0": array_with("threads", lambda old: -4),
    "threads that are no number": array_with("threads", lambda old: np.nan),
    "many numbers of threads": array_with("threads", lambda old: [1, 2]),
    "a number of steps without end": array_with("optimizer_steps", lambda old: np.inf),
    "half of a loss scaler": array_with("scaler/scale", lambda old: 2.0),
    "something else": array_with("mine", lambda old: np.zeros(1000)),
}


@pytest.mark.parametrize("change", STATES.values(), ids=list(STATES))
def test_a_state_that_no_run_saves_is_refused_in_one_line_even_with_the_right_hash(copy, call, change):
    for name in (STATE, PREVIOUS):
        rewrite(copy.run / name, change)
    before = picture(copy.run)
    result = call("train", "--resume", copy.run)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"no good state is left in {copy.run} ({copy.run / STATE} is no state of this run: " in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr
    assert picture(copy.run) == before


def test_a_state_of_another_run_is_passed_over_for_the_one_before(copy):
    rewrite(copy.run / STATE, texts_with(step=str(10**18)))
    notes = Notes()
    assert open_runs(copy.run, reporter=lambda: notes)["torch"].step == 4
    assert "its step is 1000000000000000000, and possible is 1 to 8: going on with" in notes.texts[0]


def test_a_state_of_gigabytes_is_not_read(copy, call):
    for name in (STATE, PREVIOUS):
        with (copy.run / name).open("r+b") as file:
            file.truncate(50_000_000_000)
    result = call("train", "--resume", copy.run)
    assert result.returncode == 2
    assert "has 50,000 MB, and a state of resnet8_digits less than" in result.stderr


OPTIMIZERS = ("optimizer=adam", "optimizer=adamw", "momentum=0", "precision=float16", "precision=float64")


@pytest.mark.parametrize("name", ["torch", "tf"])
@pytest.mark.parametrize("change", OPTIMIZERS)
def test_what_the_twins_themselves_save_is_what_is_allowed(request, tmp_path, name, change):
    request.getfixturevalue({"torch": "torch_twin", "tf": "keras_twin"}[name])
    changes = ["steps=3", "nesterov=false", change]
    recipe = get_recipe("quick", changes)
    train(recipe, framework=name, output=tmp_path / "run", reporter=lambda: AskToStopAt(2))
    notes = Notes()
    assert open_runs(tmp_path / "run", reporter=lambda: notes)[name].step == 2
    assert resume(tmp_path / "run", reporter=lambda: notes).complete
    assert notes.texts == []


# -- other versions


@pytest.mark.parametrize(
    ("framework", "changed", "said"),
    [
        ("torch", {}, None),
        ("torch", {"torch": "2.0.0"}, "with torch 2.0.0, and goes on with 2."),
        ("torch", {"numpy": "1.0"}, "with numpy 1.0, and goes on with "),
        ("torch", {"resnet-twins": "0.0.1"}, "with resnet-twins 0.0.1, and goes on with "),
        ("torch", {"python": "3.9.1"}, "with python 3.9.1, and goes on with 3."),
        ("torch", {"tensorflow": "2.0.0", "keras": "3.0.0", "pillow": "1.0", "safetensors": "0.1"}, None),
        ("torch", {"torch": "1.0", "numpy": "1.0"}, "with torch 1.0, numpy 1.0, and goes on with torch "),
        ("tf", {"tensorflow": "2.0.0"}, "with tensorflow 2.0.0, and goes on with "),
        ("tf", {"keras": "3.0.0"}, "with keras 3.0.0, and goes on with "),
        ("tf", {"torch": "2.0.0"}, None),
        ("torch", {"torch": None}, None),
        ("torch", {"torch": "2\x1b[0m\u202e"}, "with torch 2\\x1b[0m\\u202e, and goes on with "),
    ],
)
def test_a_run_of_other_versions_says_which(copy, framework, changed, said):
    about = json.loads((copy.run / ABOUT).read_text())
    about["versions"] |= changed
    notes = Notes()
    run = replace(open_runs(copy.run)["torch"], framework=framework, reporter=notes)
    note_versions(run, about)
    assert len(notes.texts) == (said is not None)
    if said:
        assert f"this run was begun {said}" in notes.texts[0]
        assert notes.texts[0].endswith(": it trains on, but the numbers may differ in their last bits")


def test_the_command_says_that_the_versions_are_others(copy, call):
    about = without_hash(json.loads((copy.run / ABOUT).read_text()))
    about["versions"]["torch"] = "2.0.0"
    (copy.run / ABOUT).write_text(json.dumps(about))
    result = call("train", "--resume", copy.run)
    assert result.returncode == 0, result.stderr
    assert "this run was begun with torch 2.0.0, and goes on with 2." in result.stdout
    again = call("train", "--resume", copy.run)
    assert (again.returncode, "is complete" in again.stderr) == (2, True)
    assert "begun with" not in again.stdout


# -- the functions


def test_what_is_not_there_may_be_written(tmp_path):
    assert check_own(tmp_path / "new") == tmp_path / "new"
    check_own_files(tmp_path)


def test_metadata_is_as_it_was(copy):
    assert set(read_metadata(copy.run / STATE)) >= {"step", "best", "seconds"}


def test_a_run_of_a_larger_computer_says_how_many_threads_there_may_be(copy, call):
    """With thousands of them OpenMP ends the process."""
    about = json.loads((copy.run / ABOUT).read_text(encoding="utf-8"))
    about["settings"]["threads"] = 4096
    about.pop("sha256")
    (copy.run / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    result = call("train", "--resume", copy.run)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: --threads is 4096; this computer has")
