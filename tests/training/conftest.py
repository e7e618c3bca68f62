"""Fixtures for tests of training."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.training.recipes import get_recipe
from shared.training.run import Run
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


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """A short run of a framework, made once: no test may change it."""

    @functools.cache
    def make(name: str) -> Run:
        place = tmp_path_factory.mktemp("trained") / "run"
        return train(get_recipe("quick", ["epochs=3"]), framework=name, output=place).runs[name]

    return make


@pytest.fixture
def trained(twin, trained_once):
    """A short run of each framework, for looking at."""
    return trained_once(backend_name(twin))


@pytest.fixture(scope="session")
def stopped_once(tmp_path_factory):
    """A run that was saved after steps 20 and 23 of 30, and the same one that was not stopped, made once."""

    @functools.cache
    def make() -> tuple[Path, Path]:
        recipe, every = get_recipe("quick", ["steps=30"]), Settings(save_every=10)
        place = tmp_path_factory.mktemp("stopped")
        whole = train(recipe, output=place / "whole", settings=every).folder
        return train(recipe, output=place / "run", settings=every, reporter=lambda: StopAt(23)).folder, whole

    return make


@pytest.fixture
def stopped(torch_twin, stopped_once, tmp_path):
    """A copy of the stopped run, one of the whole run, and a reporter."""
    for folder in stopped_once():
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / "run", tmp_path / "whole", Notes()
