"""Fixtures for tests of training."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from shared.training.recipes import get_recipe
from shared.training.settings import Settings
from shared.training.start import train
from tests.training.foreign import AskToStopAt
from tests.training.support import Notes, StopAt, backend_name


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that was stopped after 4 of 8 steps, for which no framework is needed any more: `copy` gives another."""
    from tests.conftest import backend

    backend("torch")
    place = tmp_path_factory.mktemp("begun") / "run"
    train(
        get_recipe("quick", ["steps=8"]), output=place, settings=Settings(save_every=2), reporter=lambda: AskToStopAt(5)
    )
    return place


@pytest.fixture
def copy(begun, tmp_path):
    """A copy of that run that a test may spoil, and a folder outside of it with something in it."""
    shutil.copytree(begun, tmp_path / "run")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim.txt").write_text("precious")
    return SimpleNamespace(run=tmp_path / "run", outside=tmp_path / "outside", root=tmp_path)


# -- a run and its folder


@pytest.fixture
def trained(twin, tmp_path):
    """A short run of each framework."""
    recipe = get_recipe("quick", ["epochs=3"])
    return train(recipe, framework=backend_name(twin), output=tmp_path / "run").runs[backend_name(twin)]


@pytest.fixture
def stopped(torch_twin, tmp_path):
    """A run that was saved after steps 20 and 23 of 30, the same one that was not stopped, and a reporter."""
    recipe, every = get_recipe("quick", ["steps=30"]), Settings(save_every=10)
    whole = train(recipe, output=tmp_path / "whole", settings=every).folder
    folder = train(recipe, output=tmp_path / "run", settings=every, reporter=lambda: StopAt(23)).folder
    return folder, whole, Notes()
