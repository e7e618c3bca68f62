"""A third framework is one folder and one line: `toy.py`, in NumPy, beside the two."""

from __future__ import annotations

import numpy as np
import pytest

from shared.backends import BACKENDS, Framework, load_backend
from shared.networks import get_spec
from shared.twins import compare, evaluate


@pytest.fixture
def toy(monkeypatch, torch_twin, keras_twin):
    """The line."""
    line = Framework("tests.frameworks.toy", ("numpy",), "Toy", ("tests.frameworks.toy", "ToyResNet"), "C,H,W")
    monkeypatch.setitem(BACKENDS, "toy", line)


def test_it_stands_beside_the_others_in_a_comparison(toy):
    found = compare("resnet8_digits")
    assert found.equal
    assert found.verdict.endswith("in the table, PyTorch, Keras and Toy")
    assert found.totals.parameters == dict.fromkeys(BACKENDS, 77_754)
    assert "| Toy C,H,W |" in found.to_markdown()
    assert found.to_csv().splitlines()[0].startswith("name,kind,stage,block,torch_shape,keras_shape,numpy_shape,")


def test_a_layer_that_differs_in_it_is_found(toy, monkeypatch):
    rows = load_backend("toy").layer_rows
    monkeypatch.setattr("tests.frameworks.toy.layer_rows", lambda model, size: rows(model, size)[:-1])
    found = compare("resnet8_digits")
    assert [row.name for row in found.rows if not row.equal] == ["fc"]


def test_it_gives_the_same_answers_by_the_same_weights(toy):
    found = evaluate("resnet8_digits", data="digits", frameworks=BACKENDS)
    assert found.differing == 0
    assert [found.correct(name) for name in BACKENDS] == [359, 359, 359]
    np.testing.assert_allclose(found.logits["toy"], found.logits["torch"], atol=1e-4)


def test_its_models_are_known_as_its_own(toy):
    from shared.backends import framework_of

    assert framework_of(load_backend("toy").create_model(get_spec("resnet8_digits"))) == "toy"
