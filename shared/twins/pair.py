"""Any two models beside each other: seen as graphs, aligned, and every difference said, whoever wrote them.

>>> from shared.twins import compare_pair
>>> compare_pair(my_torch_model, my_keras_model, input_size=96)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, framework_of, load_part
from shared.base.checks import check_images, check_whole
from shared.base.errors import InputError
from shared.base.printable import printable, quoted
from shared.base.words import CROSS, TICK
from shared.networks.graph import BUFFERS, Graph, Node
from shared.twins.alignment import Alignment, align
from shared.twins.pair_views import PairViews
from shared.twins.simplify import Simple, Simplified, simplify

#: Pixels where neither a model nor the user says how large its images are.
USUAL_SIZE = 224
#: An image of more is no question about a network.
MOST_PIXELS, MOST_CHANNELS = 4096, 1024
#: Kinds that only move numbers about: a difference there is one of writing.
QUIET = ("input", "flatten", "reshape", "permute", "parameter")
#: Settings that say nothing of what is computed in inference.
SILENT = {"batch_norm": ("momentum", "training")}
#: Of a layer that would be the same if those in front of it were.
FOLLOWS = "another shape, which follows from a difference before"
#: How a difference begins that changes the number of parameters.
ROLE_WORDS = ("no ", "weight ", "bias ", "running_")
#: Two networks of which less than this share of the weighted layers have partners are not the same network.
SAME_NETWORK = 0.6
#: And of whose pairs more than this share is fed by others than each other's partners.
MOST_REWIRED = 0.15


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One line: a layer or operation of the first model, of the second, or of both, and how the two differ."""

    left: Simple | None
    right: Simple | None
    differences: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both have it, and nothing differs."""
        return self.left is not None and self.right is not None and not self.differences

    @property
    def name(self) -> str:
        """The name in the first model that has it."""
        found = self.left or self.right
        assert found is not None
        return found.node.name

    @property
    def more(self) -> int:
        """How many parameters the second model has more here than the first."""
        first, second = (side.node.parameters if side else 0 for side in (self.left, self.right))
        return second - first


@dataclass(frozen=True, kw_only=True, repr=False)
class Pair(PairViews):
    """Two models, seen and aligned. `rows` are in the order of dataflow.

    `str()`, a notebook cell, `to_html()`, `to_json()` and so on show them.
    """

    first: Graph
    second: Graph
    alignment: Alignment
    rows: tuple[PairRow, ...]

    @property
    def equal(self) -> bool:
        """Whether all layers and operations are the same."""
        return all(row.equal for row in self.rows)

    @property
    def refused(self) -> str:
        """Why the two are not one network, in words; empty if they are."""
        return _why_not_one(self.alignment)

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called; by their place where both have the same name."""
        titles = BACKENDS[self.first.framework].title, BACKENDS[self.second.framework].title
        if titles[0] != titles[1]:
            return f"{self.first.title} ({titles[0]})", f"{self.second.title} ({titles[1]})"
        same = self.first.title == self.second.title
        return (
            (f"{self.first.title} (first)", f"{self.second.title} (second)")
            if same
            else (
                self.first.title,
                self.second.title,
            )
        )

    @property
    def verdict(self) -> str:
        """One line: whether the two are the same, and if not, where the first difference is."""
        both = " and ".join(self.names)
        if self.equal:
            count = f"{totals(self.first)['parameters']:,} parameters"
            return f"{TICK} {both}: all {len(self.rows)} layers and operations are the same, {count}"
        if self.refused:
            return f"{CROSS} {both} are not the same network: {self.refused}"
        bad = [row for row in self.rows if not row.equal]
        what = ", ".join(bad[0].differences) or "only in the " + ("first" if bad[0].right is None else "second")
        return f"{CROSS} {both}: {len(bad)} of {len(self.rows)} rows differ, the first is {bad[0].name}: {what}"

    @property
    def reasons(self) -> list[str]:
        """Every kind of difference once: where it is, and what it does to the number of parameters."""
        groups: dict[tuple[str, str], list[PairRow]] = {}
        for row in self.rows:
            for key in _kinds_of_difference(row):
                groups.setdefault(key, []).append(row)
        return [_reason(kind, text, rows) for (kind, text), rows in groups.items()]


def _known(model: Any) -> tuple[int | None, int | None, int | None]:
    """Return height, width and channels of the images that a model takes, None for what it does not say."""
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 4:
        return shape[1], shape[2], shape[3]
    modules = model.modules() if hasattr(model, "modules") else ()
    return None, None, next((int(each.in_channels) for each in modules if hasattr(each, "in_channels")), None)


def usual_image(
    models: Sequence[Any], *, input_size: int | None = None, in_channels: int | None = None
) -> NDArray[Any]:
    """Return one random image (1, H, W, C) that all of these models take, by what they say of themselves."""
    for name, value, most in (("input_size", input_size, MOST_PIXELS), ("in_channels", in_channels, MOST_CHANNELS)):
        if value is not None:
            check_whole(name, value, 1, most)
    known = [_known(model) for model in models]
    height, width, channels = (
        next((each[axis] for each in known if each[axis] is not None), None) for axis in range(3)
    )
    shape = (1, input_size or height or USUAL_SIZE, input_size or width or USUAL_SIZE, in_channels or channels or 3)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def as_images(images: Any) -> NDArray[Any]:
    """Return images (N, H, W, C) in float32; raise `InputError` for what is none."""
    return check_images(images, "N, H, W, C", None).astype(np.float32)


def in_layout(images: NDArray[Any], framework: str) -> NDArray[Any]:
    """Return images (N, H, W, C) as a framework takes them; other arrays stay as they are."""
    first = images.ndim == 4 and BACKENDS[framework].layout == "C,H,W"
    return images.transpose(0, 3, 1, 2) if first else images


def see(model: Any, *inputs: NDArray[Any]) -> Graph:
    """Return the graph of any PyTorch or Keras model: what it does with `inputs`, images as (N, H, W, C).

    Without inputs it is shown one random image. Raises `InputError`, in one line, for something that is no model and
    for a model that cannot be seen.
    """
    framework = framework_of(model)
    if framework is None:
        raise InputError(f"this is no PyTorch or Keras model but {quoted(type(model).__name__)}")
    given = [in_layout(each, framework) for each in inputs or (usual_image([model]),)]
    found: Graph = load_part(framework, "graph").read_graph(model, *given)
    return found


def compare_pair(first: Any, second: Any, *, input_size: int | None = None, in_channels: int | None = None) -> Pair:
    """Lay two models beside each other, of one framework or of two, whoever wrote them.

    `input_size` is height and width of the images in pixels; by default what a model says of itself, else 224.
    """
    image = usual_image([first, second], input_size=input_size, in_channels=in_channels)
    return compare_graphs(see(first, image), see(second, image))


def compare_graphs(first: Graph, second: Graph) -> Pair:
    """Align two graphs and find every difference."""
    alignment = align(simplify(first), simplify(second))
    return Pair(first=first, second=second, alignment=alignment, rows=tuple(_rows(alignment)))


# -- differences


def _kinds_of_difference(row: PairRow) -> list[tuple[str, str]]:
    found = row.left or row.right
    assert found is not None
    if row.left is None or row.right is None:
        return [(found.node.kind, f"only in the {'first' if row.right is None else 'second'}")]
    return [("" if text == FOLLOWS else found.node.kind, text) for text in row.differences]


def _reason(kind: str, text: str, rows: Sequence[PairRow]) -> str:
    """Return a line about all rows that differ in the same way."""
    names = rows[0].name if len(rows) == 1 else f"{len(rows)} times, first in {rows[0].name}"
    more = sum(row.more for row in rows) if "only in" in text or text.startswith(ROLE_WORDS) else 0
    count = f"; {abs(more):,} parameters {'more' if more > 0 else 'fewer'} in the second" if more else ""
    return f"{kind}: {text} ({names}){count}".removeprefix(": ")


def _rows(alignment: Alignment) -> list[PairRow]:
    """Return a line for each pair and for all that has no partner, in the order of the first model."""
    first, second = alignment.first.nodes, alignment.second.nodes
    rewired = set(alignment.wiring)
    rows: list[tuple[float, PairRow]] = []
    place = {}
    for left, right in alignment.pairs:
        found = differences(first[left], second[right], alignment)
        if (left, right) in rewired:
            found = (*found, "fed by other layers")
        place[right] = float(left)
        rows.append((left, PairRow(left=first[left], right=second[right], differences=found)))
    rows += [(left, PairRow(left=first[left], right=None)) for left in alignment.left]
    last = -1.0
    for number, simple in enumerate(second):
        if number in place:
            last = place[number]
        else:
            rows.append((last + 0.5, PairRow(left=None, right=simple)))
    return [row for _, row in sorted(rows, key=lambda entry: entry[0])]


def differences(left: Simple, right: Simple, alignment: Alignment) -> tuple[str, ...]:
    """Return in words how two partners differ, without their weights' values."""
    mine, theirs = left.node, right.node
    if mine.kind != theirs.kind:
        return (f"{mine.kind} in the first, {theirs.kind} in the second",)
    found = [*_weights(mine, theirs), *_settings(mine, theirs)]
    if left.shape != right.shape and mine.kind not in QUIET and not found:
        follows = any(
            alignment.first.nodes[source].shape != alignment.second.nodes[partner].shape
            for source in left.inputs
            if (partner := alignment.partner.get(source)) is not None
        )
        found.append(FOLLOWS if follows else f"shape {_text(left.shape)} and {_text(right.shape)}")
    return tuple(found)


def _weights(mine: Node, theirs: Node) -> list[str]:
    found = []
    for role in dict.fromkeys((*mine.weights, *theirs.weights)):
        shapes = [node.weights[role].shape if role in node.weights else None for node in (mine, theirs)]
        if shapes[0] == shapes[1]:
            continue
        if None in shapes:
            where = "first" if shapes[0] is None else "second"
            found.append(f"no {role} in the {where}")
        else:
            found.append(f"{role} {_text(shapes[0])} and {_text(shapes[1])}")
    return found


def _settings(mine: Node, theirs: Node) -> list[str]:
    silent = SILENT.get(mine.kind, ())
    names = dict.fromkeys((*mine.settings, *theirs.settings))
    return [
        f"{name} {_text(mine.settings.get(name))} and {_text(theirs.settings.get(name))}"
        for name in names
        if name not in silent and not _same(mine.settings.get(name), theirs.settings.get(name))
    ]


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, int | float):
        return bool(np.isclose(first, second, rtol=1e-5, atol=0))
    if isinstance(first, Sequence) and isinstance(second, Sequence) and not isinstance(first, str):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_text, value)) + ")"
    return printable(str(value), 60)


def _why_not_one(alignment: Alignment) -> str:
    """Return why two networks are not one, or an empty text."""
    first, second = alignment.first, alignment.second
    weighted = [sum(bool(simple.node.weights) for simple in graph.nodes) for graph in (first, second)]
    alike = sum(_same_weights(first, second, *pair) for pair in alignment.pairs)
    if max(weighted) and alike < SAME_NETWORK * max(weighted):
        return f"only {alike} of {max(weighted)} layers with weights have a partner with weights of the same shape"
    if len(alignment.wiring) > max(2, MOST_REWIRED * len(alignment.pairs)):
        return f"{len(alignment.wiring)} of {len(alignment.pairs)} layers that look alike are fed by other layers"
    return ""


def _same_weights(first: Simplified, second: Simplified, left: int, right: int) -> bool:
    shapes = [
        getattr(graph.nodes[number].node.weights.get("weight"), "shape", None)
        for graph, number in ((first, left), (second, right))
    ]
    return shapes[0] is not None and shapes[0] == shapes[1]


def totals(graph: Graph) -> Mapping[str, int]:
    """Return how many parameters and buffers a graph's nodes have, a weight that is shared counted once."""
    seen: dict[str, tuple[bool, int]] = {}
    for node in graph.nodes:
        for role, weight in node.weights.items():
            seen[weight.key] = (role in BUFFERS, int(np.prod(weight.shape)))
    return {
        "parameters": sum(size for is_buffer, size in seen.values() if not is_buffer),
        "buffers": sum(size for is_buffer, size in seen.values() if is_buffer),
    }
