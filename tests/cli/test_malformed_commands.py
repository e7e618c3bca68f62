"""Malformed input to a command is answered with one line and exit code 2."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from shared.base.errors import InputError
from shared.checkpoints.foreign import read_weights
from shared.checkpoints.shipped import ASSETS, read_trained
from shared.data.cifar10 import read_cifar_batch
from shared.data.fashion_mnist import read_idx
from shared.data.inputs import Inputs
from shared.data.pictures import find_pictures, open_picture
from shared.networks.spec import ResNetSpec
from shared.networks.table import count_parameters
from shared.training.metrics import read_metrics
from shared.training.recipe import Recipe, read_recipe
from shared.training.recipes import get_recipe
from shared.training.record import read_about
from shared.training.settings import Settings
from tests.cli.malformed import GREY8, TINY, safetensors, skip_without, tar, tree
from tests.cli.malformed_commands import COMMANDS


@pytest.fixture(scope="session")
def bad_before(bad: Path) -> dict[str, bytes | None]:
    return tree(bad)


@pytest.mark.parametrize(("line", "words", "modules"), COMMANDS, ids=[case[0] or "nothing" for case in COMMANDS])
def test_a_command_answers_with_one_line_and_changes_nothing(call, tmp_path, bad, bad_before, line, words, modules):
    skip_without(modules)
    result = call(*line.format(bad=bad).split())
    assert result.returncode == 2, result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    errors = [each for each in lines if not each.startswith("skipped ")]  # each picture that was passed over is named
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("Error: ")
    assert re.search(words, errors[0]), errors[0]
    assert not tree(tmp_path)
    assert tree(bad) == bad_before


# -- inputs that nobody thought of

try:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
except ImportError:  # an environment with one framework has only pytest

    def test_random_inputs_are_accepted_or_answered_with_one_line():
        pytest.skip("hypothesis is not installed")

else:
    # Always the same examples, and no data base of them on disk: a test that fails must fail everywhere.
    # A busy computer may be slow.
    patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    quick = settings(max_examples=60, derandomize=True, database=None, **patient)
    numbers = st.integers() | st.floats() | st.booleans() | st.none()
    settings_of_fields = st.builds("{}={}".format, st.sampled_from(["epochs", "flip", "gamma"]), numbers)
    anything = st.recursive(
        numbers | st.text(max_size=8) | st.binary(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    )

    def one_line(error: Exception) -> None:
        assert str(error)
        assert len(str(error).splitlines()) == 1

    def accepted_or_answered(call: Callable[[], Any]) -> None:
        """Call it: an `InputError` with one line is an answer, anything else that is raised is not."""
        try:
            call()
        except InputError as error:
            one_line(error)

    def written(path: Path, content: bytes) -> Path:
        path.write_bytes(content)
        return path

    @pytest.fixture(scope="module")
    def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("random")

    @quick
    @given(name=st.sampled_from([field.name for field in fields(Recipe)]), value=anything)
    def test_any_value_of_any_field_of_a_recipe(name, value):
        accepted_or_answered(lambda: Recipe(**{"name": "x", "epochs": 1, name: value}))

    @quick
    @given(name=st.sampled_from([field.name for field in fields(ResNetSpec)]), value=anything)
    def test_any_value_of_any_field_of_a_spec(name, value):
        accepted_or_answered(lambda: count_parameters(replace(TINY, **{name: value})))

    @quick
    @given(plain=anything, name=st.sampled_from([field.name for field in fields(ResNetSpec)]))
    def test_any_spec_in_a_file(plain, name):
        accepted_or_answered(lambda: ResNetSpec.from_dict(plain))
        accepted_or_answered(lambda: ResNetSpec.from_dict({**TINY.to_dict(), name: plain}))
        accepted_or_answered(lambda: ResNetSpec.from_dict({**TINY.to_dict(), "stem": {"stride": plain}}))

    @quick
    @given(name=st.sampled_from([field.name for field in fields(Settings)]), value=anything)
    def test_any_value_of_any_setting(name, value):
        accepted_or_answered(lambda: Settings(**{name: value}))

    @quick
    @given(change=st.text(max_size=12) | settings_of_fields)
    def test_any_text_for_set(change):
        accepted_or_answered(lambda: get_recipe("quick", [change]))

    @quick
    @given(text=st.text(max_size=60), key=st.sampled_from(["name", "epochs", "milestones", "x"]))
    def test_any_text_as_a_recipe(place, text, key):
        for content in (text, f"{key} = {text}", f"{key} = {text!r}\nepochs = 3"):
            path = written(place / "r.toml", content.encode("utf-8", "surrogatepass"))
            accepted_or_answered(lambda path=path: read_recipe(path))

    @quick
    @given(plain=anything)
    def test_any_json_as_the_inputs_of_a_network(plain):
        good = json.loads(read_trained("resnet8_digits").inputs.to_json())  # type: ignore[union-attr]
        for name in good:
            text = json.dumps({**good, name: plain}, default=str)
            accepted_or_answered(lambda text=text: Inputs.from_json(text))

    @quick
    @given(plain=anything)
    def test_any_json_as_the_description_of_a_run(place, plain):
        (place / "recipe.toml").write_text(get_recipe("quick").to_toml())
        for value in (plain, {"settings": plain}, {"settings": {"threads": plain}, "framework": plain, "data": plain}):
            (place / "run.json").write_text(json.dumps(value, default=str))
            accepted_or_answered(lambda: read_about(place))

    @quick
    @given(rows=st.text(max_size=60))
    def test_any_text_as_metrics(place, rows):
        (place / "metrics.csv").write_bytes(rows.encode("utf-8", "surrogatepass"))
        accepted_or_answered(lambda: read_metrics(place))
        (place / "metrics.csv").write_bytes(f"step,epoch,train_loss\n{rows}".encode("utf-8", "surrogatepass"))
        accepted_or_answered(lambda: read_metrics(place))

    @quick
    @given(content=st.binary(max_size=80), offset=st.integers(0, 2000), header=anything)
    def test_any_bytes_as_weights(place, content, offset, header):
        good = (ASSETS / "resnet8_digits.safetensors").read_bytes()
        damaged = good[:offset] + content + good[offset + len(content) :]
        lying = safetensors(json.dumps({"__metadata__": {"spec": "{}"}, "a": header}, default=str).encode())
        for name, each in (("a", content), ("b", damaged), ("c", lying)):
            path = written(place / f"{name}.safetensors", each)
            accepted_or_answered(lambda path=path: read_trained(path))

    @quick
    @given(content=st.binary(max_size=200), offset=st.integers(0, 80))
    def test_any_bytes_as_a_picture(content, offset):
        pytest.importorskip("PIL", reason="Pillow is not installed")
        for each in (content, GREY8[:offset] + content, GREY8[:offset] + content + GREY8[offset + len(content) :]):
            try:
                assert open_picture(each, 3).mode == "RGB"
            except ValueError as error:
                one_line(error)

    @quick
    @given(content=st.binary(max_size=600), offset=st.integers(0, 600))
    def test_any_bytes_as_an_archive(place, content, offset):
        tar(place / "good.tar", {"a/1.png": GREY8, "b/1.png": GREY8})
        good = (place / "good.tar").read_bytes()
        for each in (content, good[:offset] + content + good[offset + len(content) :], gzip.compress(content)):
            path = written(place / "x.tar", each)
            accepted_or_answered(lambda path=path: find_pictures(path))

    @quick
    @given(content=st.binary(max_size=200))
    def test_any_bytes_as_a_data_set(place, content):
        path = written(place / "x.gz", content)
        accepted_or_answered(lambda: read_idx(path, "0" * 64))
        path = written(place / "y.gz", gzip.compress(content))
        accepted_or_answered(lambda: read_idx(path, "0" * 64))
        # Even if somebody vouches for it with the right hash.
        accepted_or_answered(lambda: read_idx(path, hashlib.sha256(content).hexdigest()))
        accepted_or_answered(lambda: read_cifar_batch(content, "x"))

    @settings(quick, max_examples=15)
    @given(content=st.binary(max_size=300), suffix=st.sampled_from([".pth", ".keras", ".h5", ".weights.h5"]))
    def test_any_bytes_as_other_peoples_weights(place, content, suffix):
        skip_without(("torch", "h5py"))
        path = written(place / f"x{suffix}", content)
        accepted_or_answered(lambda: read_weights(path))
