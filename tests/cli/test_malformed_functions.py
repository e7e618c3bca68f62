"""Malformed input to a function is answered with an InputError."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.backends import BACKENDS
from shared.base.errors import InputError
from shared.checkpoints.shipped import ASSETS
from shared.data.pictures import open_picture
from shared.networks.initial import initial_weights
from tests.cli.malformed import TINY, needs_both, skip_without, tree
from tests.cli.malformed_functions import BOTH_CASES, CASES, TWIN_CASES, Case, Given, name_of

#: Every function that takes a model, called with one of the other framework: the likeliest mistake among twins.
OTHER_CASES: list[tuple[str, Callable[[Any, Any, Path], Any]]] = [
    ("get_weights", lambda twin, other, _: twin.get_weights(other)),
    ("set_weights", lambda twin, other, _: twin.set_weights(other, initial_weights(TINY, 0))),
    ("save_weights", lambda twin, other, place: twin.save_weights(other, place / "w.safetensors")),
    ("load_weights", lambda twin, other, _: twin.load_weights(other, ASSETS / "resnet8_digits.safetensors")),
    ("write_native", lambda twin, other, place: twin.write_native(other, place / "w.keras")),
    ("from_nhwc", lambda twin, other, _: twin.from_nhwc(np.ones((2, 8, 8, 1)), other)),
    ("forward", lambda twin, other, _: twin.forward(other, np.ones((2, 8, 8, 1)))),
    ("trace", lambda twin, other, _: twin.trace(other, np.ones((2, 8, 8, 1)))),
    ("train_step", lambda twin, other, _: twin.train_step(other, np.ones((2, 8, 8, 1)), np.zeros(2, int), 0.1)),
    ("fuse", lambda twin, other, _: twin.fuse(other)),
    ("layer_rows", lambda twin, other, _: twin.layer_rows(other)),
    ("printout", lambda twin, other, _: twin.printout(other)),
]


def answers(case: Case, given: Given) -> None:
    before = tree(given.place)
    with pytest.raises(InputError) as caught:
        case[2](given)
    text = str(caught.value)
    assert "\n" not in text
    assert re.search(case[3], text), text
    assert tree(given.place) == before


@pytest.fixture(scope="session")
def tiny_models() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("case", TWIN_CASES, ids=name_of)
def test_a_function_of_a_twin_answers_with_one_line_and_changes_nothing(twin, tiny_models, tmp_path, bad, case):
    model = tiny_models.setdefault(twin.__name__, twin.create_model(TINY, seed=0))
    before = twin.get_weights(model)
    answers(case, Given(bad, tmp_path, twin, model))
    after = twin.get_weights(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_function_answers_with_one_line(monkeypatch, tmp_path, bad, case):
    monkeypatch.chdir(tmp_path)
    if case[1] == "cut CIFAR":
        (tmp_path / "cifar-10-batches-bin").mkdir()
    if case[0] in ("load_data", "decode"):
        skip_without(("PIL",))
    if case[0] in ("plot_block", "plot_stages"):
        skip_without(("matplotlib",))
    if case[0] in ("verify", "evaluate", "predict", "plant_fault", "microscope"):
        skip_without(needs_both)
    answers(case, Given(bad, tmp_path))


@pytest.mark.parametrize("case", BOTH_CASES, ids=name_of)
def test_a_function_of_both_twins_answers_with_one_line(torch_twin, keras_twin, tmp_path, bad, case):
    answers(case, Given(bad, tmp_path))


@pytest.mark.parametrize(("name", "call_it"), OTHER_CASES, ids=[name for name, _ in OTHER_CASES])
@pytest.mark.parametrize("side", BACKENDS)
def test_a_model_of_the_other_framework_is_named_and_where_it_belongs(
    torch_twin, keras_twin, tiny_models, tmp_path, side, name, call_it
):
    twin, other = (torch_twin, keras_twin) if side == "torch" else (keras_twin, torch_twin)
    model = tiny_models.setdefault(other.__name__, other.create_model(TINY, seed=0))
    with pytest.raises(InputError) as caught:
        call_it(twin, model, tmp_path)
    words = rf"this is a {other.TITLE} model \(.*\), and {twin.__name__} takes .*: use {other.__name__} for this one"
    assert re.fullmatch(words, str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_every_function_that_takes_a_model_was_handed_one_of_the_other_framework(twin):
    takes = {name for name in twin.__all__ if "model" in getattr(getattr(twin, name), "__annotations__", {})}
    assert takes == {name for name, _ in OTHER_CASES}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bomb.png", "50000 x 50000 pixels|decompression bomb|exceeds limit"),
        ("huge_header.png", "."),
        ("no_pixels.png", "."),
        ("cut.png", "."),
        ("text.png", "neither a JPEG nor a PNG"),
        ("empty.jpg", "the file is empty"),
    ],
)
def test_a_picture_that_is_none_is_a_value_error_with_one_line(bad, name, words):
    """`open_picture` is told of one picture among many: who calls it skips it and says so."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    with pytest.raises(ValueError, match=words) as caught:
        open_picture((bad / name).read_bytes(), 3)
    assert "\n" not in str(caught.value)
