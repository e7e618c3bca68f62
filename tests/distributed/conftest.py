"""Fixtures for tests of several processes."""

from __future__ import annotations

import pytest

from shared.data.load import load_data
from shared.networks.catalog import get_spec
from shared.training.batches import Batches
from shared.training.recipes import get_recipe
from shared.training.run import Run


@pytest.fixture
def run(tmp_path):
    batches = Batches(load_data("digits"), get_recipe("quick", ["epochs=2"]))
    spec = get_spec(batches.recipe.model)
    return Run(tmp_path / "run", batches.recipe, batches, spec, framework="torch", chief=False)
