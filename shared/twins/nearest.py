"""The row of the catalog of which a network is the least changed: what was read of it, against every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import zip_longest
from typing import Any

from shared.base.errors import InputError
from shared.networks.catalog import SPECS
from shared.networks.spec import ResNetSpec
from shared.networks.table import layer_table

#: What another value of a field counts; 1 for those that are not named. A network is known by its blocks.
COSTS = {"block": 10.0, "depths": 2.0, "widths": 2.0, "norm_eps": 0.5, "norm_momentum": 0.5}
COSTS |= {"num_classes": 0.3, "in_channels": 0.3, "input_size": 0.2}
#: Each field of the stem; those behind the first count less, as it is one override.
OF_STEM, OF_STEM_TOO = 0.8, 0.5
#: Each value of a row's own that a network does not show to have.
OF_OWN = 2.0
STEM = "stem."


def changed(row: ResNetSpec, values: Mapping[str, Any]) -> ResNetSpec:
    """Return a row with other values, those of its stem called "stem.bias" and so on; may raise `InputError`."""
    stem = {name.removeprefix(STEM): value for name, value in values.items() if name.startswith(STEM)}
    others = {name: value for name, value in values.items() if not name.startswith(STEM)}
    return replace(row, stem=replace(row.stem, **stem), **others)


def flat(spec: ResNetSpec) -> dict[str, Any]:
    """Return the fields that say which network it is, those of the stem on their own, as `changed` takes them."""
    found = {entry.name: getattr(spec, entry.name) for entry in fields(spec) if entry.name not in ("name", "source")}
    stem = found.pop("stem")
    return found | {f"{STEM}{entry.name}": getattr(stem, entry.name) for entry in fields(stem)}


def changes(row: ResNetSpec, spec: ResNetSpec) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which a spec is not the row it was made of: (the row's value, the spec's)."""
    before, after = flat(row), flat(spec)
    return {name: (value, after[name]) for name, value in before.items() if value != after[name]}


def nearest_row(values: Mapping[str, Any]) -> tuple[ResNetSpec, ResNetSpec] | None:
    """Return the row to which these values are the fewest changes, and the row with them; None if no spec has them."""
    found = [(row, spec) for row in SPECS.values() if (spec := _possible(row, values)) is not None]
    return min(found, key=lambda pair: _cost(*pair) + _peculiar(pair[0], values), default=None)


def _possible(row: ResNetSpec, values: Mapping[str, Any]) -> ResNetSpec | None:
    """Return the row with these values, or, as some networks have a value that no spec may have, with all but one."""
    for left_out in (None, *values):
        try:
            return changed(row, {name: value for name, value in values.items() if name != left_out})
        except InputError:
            continue
    return None


def _cost(row: ResNetSpec, spec: ResNetSpec) -> float:
    found = changes(row, spec)
    stem = sum(name.startswith(STEM) for name in found)
    total = sum(COSTS.get(name, 1.0) for name in found if not name.startswith(STEM))
    total += (OF_STEM + OF_STEM_TOO * (stem - 1)) if stem else 0.0
    return total + sum(_apart(*found[name]) for name in ("depths", "widths") if name in found)


def _peculiar(row: ResNetSpec, values: Mapping[str, Any]) -> float:
    """Return what it counts that a row has values of its own of which the network shows nothing."""
    standard = {entry.name: entry.default for entry in fields(row)}
    own = [name for name, value in flat(row).items() if name in standard and value != standard[name]]
    return OF_OWN * sum(name not in values for name in own)


def _apart(first: Sequence[int], second: Sequence[int]) -> float:
    """Return how far two rows of numbers lie apart, from 0 to 1."""
    pairs = list(zip_longest(first, second, fillvalue=0))
    return sum(abs(one - other) for one, other in pairs) / sum(map(max, pairs))


def most_alike(shapes: Iterable[tuple[int, ...]]) -> ResNetSpec:
    """Return the row that has the most weights of the same shapes, for its own size and that of the network."""
    mine = Counter(shapes)

    def share(row: ResNetSpec) -> float:
        theirs = Counter(layer.weights["weight"] for layer in layer_table(row) if layer.weights)
        return (mine & theirs).total() / (mine | theirs).total()

    return max(SPECS.values(), key=share)
