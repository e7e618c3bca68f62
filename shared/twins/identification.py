"""Which network of the catalog a model is, or is nearest to, and every difference from it: from structure alone.

>>> from shared.twins import identify
>>> identify(my_model)
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from shared.backends import framework_of
from shared.base.errors import InputError
from shared.networks.blueprint import blueprint
from shared.networks.catalog import SPECS, get_spec
from shared.networks.graph import Graph
from shared.networks.spec import ResNetSpec
from shared.twins.anatomy import Fields, read_fields
from shared.twins.identification_views import IdentifiedViews
from shared.twins.inputs import usual_inputs
from shared.twins.named import open_model
from shared.twins.nearest import most_alike, nearest_row
from shared.twins.pair import FOLLOWS, MOST_REWIRED, SAME_NETWORK, Pair, compare_graphs, see
from shared.twins.simplify import Simple, simplify

#: Sizes (pixels, channels) that are tried where a model takes no image of the usual size: it has one in its head.
USUAL_CHANNELS = 3
OTHER_IMAGES = ((32, 3), (28, 1), (64, 3), (96, 3), (128, 3), (256, 3))
#: Other readings of a network of which the parts disagree.
MOST_TRIES = 8
#: From this share on, nearly all of a network's layers have a partner.
SAME_BUILD = 0.9
#: Differences that do not make another layer of a layer.
SLIGHT = ("no bias", FOLLOWS, "fed by other layers")


@dataclass(frozen=True, kw_only=True, repr=False)
class Identified(IdentifiedViews):
    """The catalog's name for a model.

    `get_spec(name, **overrides)` is the network of the catalog's kind that is nearest to the model, and `pair` the
    model beside that network, which is drawn from its spec. `near` says whether the two are one network at all, but
    for the differences that remain; where they are not, `overrides` is empty.
    """

    name: str
    overrides: Mapping[str, Any]
    pair: Pair
    near: bool

    @property
    def spec(self) -> ResNetSpec:
        """The network that is nearest to the model."""
        return get_spec(self.name, **self.overrides)

    @property
    def exact(self) -> bool:
        """Whether the model is that network, and no difference is left."""
        return self.pair.equal

    @property
    def alike(self) -> tuple[int, int]:
        """How many of how many convolutions and dense layers the two have in common."""
        return _alike(self.pair)


def identify(model: Any, *, input_size: int | None = None, in_channels: int | None = None) -> Identified:
    """Return which network of the catalog a model is, or is nearest to, and what differs, without looking at weights.

    Arguments
    ---------
    model: a PyTorch or Keras model, its `Graph`, or the name of one, as `open_model` takes it.
    input_size: height and width of the images in pixels; by default what the model says, else 224, and other usual
        sizes where it does not take that.
    in_channels: channels of the images, by default what the model says, else 3.

    Only what the structure shows is found out: `zero_init_residual` and other values that weights start with are not.
    Raises `InputError`, in one line, for something that is no model and for a model that cannot be seen.
    """
    if isinstance(model, str) and model in SPECS:
        given = {"input_size": input_size, "in_channels": in_channels}
        model = blueprint(get_spec(model, **{name: value for name, value in given.items() if value is not None}))
    elif isinstance(model, str):
        model = open_model(model)
    if isinstance(model, Graph):
        return _identified(model, sized=True)
    graph, sized = _look(model, input_size, in_channels)
    return _identified(graph, sized=sized)


# -- looking at a model


def _look(model: Any, input_size: int | None, in_channels: int | None) -> tuple[Graph, bool]:
    """Return the model's graph, and whether the size of its images is its own and not only the usual one."""
    if framework_of(model) is None:  # a program, which knows its inputs
        return see(model), True
    shape = getattr(model, "input_shape", None)
    sized = input_size is not None or (isinstance(shape, tuple) and len(shape) == 4 and shape[1] is not None)
    try:
        return see(model, *usual_inputs([model], input_size=input_size, in_channels=in_channels)), sized
    except InputError as error:
        found = None if sized else _look_otherwise(model, in_channels)
        if found is None:
            hint = "" if sized else "; nor does it take other usual images: --input-size and --in-channels say which"
            raise InputError(f"{error}{hint}") from error
        return found, True


def _look_otherwise(model: Any, in_channels: int | None) -> Graph | None:
    """Return the graph of a model that takes images of another size or no images, or None."""
    known = in_channels or usual_inputs([model])[0].shape[-1]
    images = [
        usual_inputs([model], input_size=size, in_channels=channels if known == USUAL_CHANNELS else known)[0]
        for size, channels in OTHER_IMAGES
    ]
    numbers = _flat_size(model)
    if numbers is not None:
        images.append(np.random.default_rng(0).normal(size=(1, numbers)).astype(np.float32))
    for image in images:
        with contextlib.suppress(InputError):
            return see(model, image)
    return None


def _flat_size(model: Any) -> int | None:
    """Return how many numbers a model takes that takes no image, if it says so."""
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int):
        return shape[1]
    modules = model.modules() if hasattr(model, "modules") else ()
    return next((int(each.in_features) for each in modules if hasattr(each, "in_features")), None)


# -- finding the network


def _identified(graph: Graph, *, sized: bool) -> Identified:
    simple = simplify(graph)
    size = next((node.shape[1:] for node in simple.nodes if node.node.kind == "input" and len(node.shape) == 3), None)
    found = read_fields(simple)
    if size is not None and "block" in found:
        best = _best(graph, found, size)
        if best is not None and _near(best[2]):
            row, spec, pair = best
            return Identified(
                name=row.name, overrides=_overrides(row, spec, sized and size[0] == size[1]), pair=pair, near=True
            )
    row = most_alike(node.node.weights["weight"].shape for node in simple.nodes if "weight" in node.node.weights)
    return Identified(name=row.name, overrides={}, pair=compare_graphs(graph, blueprint(row)), near=False)


Found = tuple[ResNetSpec, ResNetSpec, Pair]


def _best(graph: Graph, found: Fields, size: tuple[int, ...]) -> Found | None:
    """Return the nearest row, the row with overrides, and the pair; where parts disagree, of the best reading."""
    values = {"input_size": min(size)}
    for name, seen in found.items():
        values |= _fields(name, seen[0])
    best = _try(graph, values, size)
    if best is None or not _near(best[2]):
        return best
    others = [_fields(name, value) for name, seen in found.items() for value in seen[1:]]
    for other in others[:MOST_TRIES]:
        tried = _try(graph, values | other, size)
        if tried is not None and _unequal(tried[2]) < _unequal(best[2]):
            best, values = tried, values | other
    return best


def _fields(name: str, value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {name: value}


def _try(graph: Graph, values: Mapping[str, Any], size: tuple[int, ...]) -> Found | None:
    rows = nearest_row(values)
    if rows is None:
        return None
    row, spec = rows
    return row, spec, compare_graphs(graph, blueprint(spec, (size[0], size[1])))


def _unequal(pair: Pair) -> int:
    return sum(not row.equal for row in pair.rows)


def _overrides(row: ResNetSpec, spec: ResNetSpec, sized: bool) -> dict[str, Any]:
    """Return the fields of a spec that are not the row's; the images' size only if it is the model's own."""
    if not sized:
        with contextlib.suppress(InputError):  # the row's size may be too small for this network
            spec = replace(spec, input_size=row.input_size)
    return {
        entry.name: getattr(spec, entry.name)
        for entry in fields(spec)
        if getattr(spec, entry.name) != getattr(row, entry.name)
    }


# -- judging


def _is_main(simple: Simple | None) -> bool:
    """Whether this is a convolution, a dense layer or the like: norms and activations are told from them."""
    weight = simple.node.weights.get("weight") if simple else None
    return weight is not None and len(weight.shape) > 1


def _alike(pair: Pair) -> tuple[int, int]:
    alike = [
        row
        for row in pair.rows
        if _is_main(row.left)
        and _is_main(row.right)
        and all(difference.startswith(SLIGHT) for difference in row.differences)
    ]
    most = max(sum(_is_main(row.left) for row in pair.rows), sum(_is_main(row.right) for row in pair.rows))
    return len(alike), most


def _near(pair: Pair) -> bool:
    """Whether two networks are one but for details.

    They are if most layers are the same, if the model has nearly all of the network's and more, or if all is the same
    but for the sizes.
    """
    alike, most = _alike(pair)
    whole = sum(_is_main(row.right) for row in pair.rows)
    if most and (alike >= SAME_NETWORK * most or alike >= SAME_BUILD * whole):
        return True
    kinds = sum(
        row.left is not None and row.right is not None and row.left.node.kind == row.right.node.kind
        for row in pair.rows
    )
    of_one_build = kinds >= SAME_BUILD * max(len(pair.alignment.first.nodes), len(pair.alignment.second.nodes))
    return of_one_build and len(pair.alignment.wiring) <= MOST_REWIRED * len(pair.rows)
