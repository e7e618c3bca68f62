"""What a Keras model looks like: a row for every layer, their hierarchy, and Keras' own summary."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import Layer

from resnet_tf.factory import create_model
from resnet_tf.weights import check_model, torch_name
from shared.backends import ModelRow, Printed
from shared.base.errors import InputError
from shared.base.printable import one_line, printable
from shared.networks.graph import Graph
from shared.networks.outline import Outline
from shared.networks.spec import ResNetSpec

#: Wide enough for the longest layer name, so that no name is broken over two lines.
SUMMARY_WIDTH = 120
#: The share of a summary's width that its names have at least, and characters of a name that count.
NAME_SHARE, MOST_NAME = 0.3, 150


def create_skeleton(spec: ResNetSpec) -> keras.Model:
    """Build a network for looking at its layers. Keras needs the real one for that."""
    return create_model(spec)


def layer_rows(model: keras.Model, input_size: int | None = None) -> list[ModelRow]:
    """Return a row for every layer of the model, with the shapes (H, W, C) or (C,) that Keras itself reports.

    Padding is a layer of its own in Keras: the rows that end in `.pad` have no counterpart in PyTorch. A Keras
    model is built for one size, so any other `input_size` raises `InputError`.
    """
    check_model(model)
    built_for = model.inputs[0].shape[1]
    if input_size not in (None, built_for):
        raise InputError(f"input_size is {input_size}, but this Keras model was built for {built_for} pixels")
    rows = []
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        weights = getattr(operation, "weights", [])
        # Not by `trainable_weights`: a layer that is frozen still has parameters.
        buffers = sum(math.prod(weight.shape) for weight in weights if weight.name.startswith("moving_"))
        rows.append(
            ModelRow(
                name=torch_name(model, operation.name),
                kind=type(operation).__name__,
                output_shape=tuple(operation.output.shape[1:]),
                parameters=sum(math.prod(weight.shape) for weight in weights) - buffers,
                buffers=buffers,
            )
        )
    return rows


def printed(model: keras.Model) -> Printed:
    """Return what `model.summary()` shows of any model, models within it too, wide enough for its longest name.

    Raises `InputError` if it cannot be shown.
    """
    check_model(model)
    names = list(_printed_names(model))
    longest = max((3 * name.count("/") + len(name) for name in names), default=0)
    width = max(SUMMARY_WIDTH, int(min(longest, MOST_NAME) / NAME_SHARE) + 12)
    try:
        text = _summary(model, width, expand_nested=True)
    except Exception as error:  # a layer of the user's that cannot say its shape
        raise InputError(f"model.summary() of {printable(model.name)} does not work: {one_line(error)}") from None
    note = "model.summary() does not look into a subclassed model: it has a row for each attribute that is a layer"
    return Printed("model.summary()", text, tuple(names), "" if hasattr(model, "operations") else note)


def _printed_names(model: keras.Model, path: str = "") -> Iterator[str]:
    """Yield what the graph calls the layers, in the order of the summary's rows."""
    for layer in getattr(model, "operations", None) or model.layers if not path else model.layers:
        yield f"{path}{layer.name}"
        if getattr(layer, "layers", None):
            yield from _printed_names(layer, f"{path}{layer.name}/")


def printout(model: keras.Model) -> str:
    """Return what `model.summary()` shows."""
    check_model(model)
    return _summary(model, SUMMARY_WIDTH)


def _summary(model: keras.Model, width: int, **options: Any) -> str:
    lines: list[str] = []
    # Keras prints through a console that takes its width from the environment and cuts off what is wider.
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(width)
    try:
        model.summary(line_length=width, print_fn=lambda text, **_: lines.append(text), **options)
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return "\n".join(line.rstrip() for text in lines for line in text.splitlines())


def outline(model: keras.Model, graph: Graph) -> Outline:
    """Return the hierarchy of a model's layers, each with its nodes of the model's graph.

    The layers in a functional or sequential model have their own names, those in a subclassed one the names of the
    attributes that hold them; lists and dictionaries of layers are called as PyTorch calls them.
    """
    check_model(model)
    nodes: dict[int, list[int]] = defaultdict(list)
    for number, live in enumerate(graph.live):
        if isinstance(live.call.target, Layer):
            nodes[id(live.call.target)].append(number)
    return _Outliner(nodes, [node.name for node in graph.nodes]).outline("", model, (), [])


@dataclass(frozen=True)
class _Outliner:
    """Walks the layers of a model; `nodes` are the numbers of a layer's nodes by its identity, `names` all names."""

    nodes: Mapping[int, list[int]]
    names: Sequence[str]

    def outline(self, name: str, held: Any, path: tuple[str, ...], above: Sequence[int]) -> Outline:
        """Return one layer, list or dictionary with what is in it.

        `path` are the names of the layers around, from the model's own ones on; `above` are their identities: a layer
        may know those around it.
        """
        kind, inside, here = type(held).__name__, _inside(held), path
        if not isinstance(held, Layer):
            kind = "ModuleDict" if isinstance(held, dict) else "ModuleList"
        elif above:
            here = (*path, held.name)
        around = [*above, id(held)]
        children = [
            self.outline(str(key), each, here, around)
            for key, each in inside
            if _has_layers(each) and id(each) not in around
        ]
        own = isinstance(held, Layer) and _is_own(held) and not children
        parts = held._flatten_layers() if own else [held]
        numbers = sorted(number for part in parts for number in self.nodes.get(id(part), ()))
        called = bool(numbers) or bool(children) or any(each.startswith("/".join(here) + "/") for each in self.names)
        return Outline(name=name, kind=kind, nodes=tuple(numbers), children=tuple(children), called=called)


def _is_own(layer: Layer) -> bool:
    return type(layer).__module__.startswith("keras.")


def _inside(held: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a layer, a list or a dictionary holds, by name; what is in one of Keras' own is its own affair."""
    if isinstance(held, dict):
        yield from held.items()
    elif not isinstance(held, Layer):
        yield from ((str(place), each) for place, each in enumerate(held))
    elif isinstance(held, keras.Sequential) or hasattr(held, "operations"):  # which a functional model has
        yield from ((each.name, each) for each in held.layers if not isinstance(each, keras.layers.InputLayer))
    elif not _is_own(held):
        yield from _attributes(held)


def _attributes(layer: Layer) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a layer in which layers are, in their order, then the layers that are in none."""
    seen: set[int] = set()
    for name, value in vars(layer).items():
        if not name.startswith("_") and _has_layers(value):
            seen |= {id(each) for each in keras.tree.flatten(value)}
            yield name, value
    yield from ((each.name, each) for each in layer._layers if id(each) not in seen)


def _has_layers(value: Any) -> bool:
    if isinstance(value, (list, tuple, dict)):
        return any(map(_has_layers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Layer)
