"""The kinds of mistakes: what each is called, and how it is planted. `kinds_*.py` fill the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.campaigns.pairs.plant import Plan

Plant = Callable[[Any, Random], Plan]
#: Words for something that only one side has.
ALONE = r"(missing|only in|lacks|absent|without|left out|not in|no )"
#: Words for something that stands elsewhere.
MOVED = r"(elsewhere|fed by|in place|another order|moved|stands (before|behind|in front))"


def both(*words: str) -> str:
    """Return a regular expression for texts in which all of these stand, in whatever order."""
    return "(?s)" + "".join(f"(?=.*(?:{word}))" for word in words)


def number(value: float) -> str:
    """Return a regular expression for a number as people write it."""
    written = {f"{value:g}", f"{value:.0e}", repr(value), f"{value:.0e}".replace("e-0", "e-")}
    return "(" + "|".join(each.replace(".", r"\.") for each in sorted(written)) + ")"


@dataclass
class Kind:
    """A kind of mistake.

    cause: a regular expression that the microscope's words must match; follows: whether the first layer behind is a
    right answer, too, as it is where an operation is missing, extra or elsewhere; as_they_are: whether it lies in the
    weights; silent: whether it shows in no output. `plants` holds how it is planted on each side.
    """

    name: str
    words: str
    cause: str
    follows: bool = False
    as_they_are: bool = False
    silent: bool = False
    plants: dict[str, Plant] | None = None


KINDS: dict[str, Kind] = {}


def kind(side: str, name: str, words: str = "", cause: str = "", **traits: bool) -> Callable[[Plant], Plant]:
    """Add a way to plant a mistake in the model of a framework; what is said of the kind is said once."""

    def add(plant: Plant) -> Plant:
        if name not in KINDS:
            assert words, f"{name} is not explained"
            assert cause, f"{name} has no cause"
            KINDS[name] = Kind(name, words, cause, plants={}, **traits)
        plants = KINDS[name].plants
        assert plants is not None
        assert side not in plants, f"{name} is planted in {side} twice"
        plants[side] = plant
        return plant

    return add


def on_keras(name: str, words: str = "", cause: str = "", **traits: bool) -> Callable[[Plant], Plant]:
    """Plant a mistake in the Keras model; the function is given a `KerasNet`."""
    return kind("keras", name, words, cause, **traits)


def on_torch(name: str, words: str = "", cause: str = "", **traits: bool) -> Callable[[Plant], Plant]:
    """Plant a mistake in the PyTorch model; the function is given a copy, which it changes."""
    return kind("torch", name, words, cause, **traits)
