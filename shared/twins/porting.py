"""Carries the weights of one model into another by their alignment, and proves that both are then the same function.

>>> port(my_torch_model, my_keras_model)    # my_keras_model now has the weights, or nothing was changed
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import load_part
from shared.base.errors import WeightsError
from shared.base.printable import printable
from shared.base.words import CROSS, TICK
from shared.networks.graph import Graph
from shared.twins.belonging import same_outputs
from shared.twins.carrying import Saved, carry
from shared.twins.difference import error_of
from shared.twins.inputs import as_inputs, in_layout
from shared.twins.layouts import laid_out, layouts_of
from shared.twins.named import open_two
from shared.twins.pair import Pair
from shared.twins.parting import Parting, find_parting
from shared.twins.sight import Sight, look_at

#: Largest difference of the outputs, relative to their root mean square, of two float32 models with equal weights.
SAME_OUTPUT = 1e-4
#: Images on which the outputs are compared.
IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class Port:
    """What became of carrying weights over.

    difference: of the outputs on as many images, relative to their root mean square; carried: how many layers;
    parting: what the microscope saw, if the outputs part.
    """

    pair: Pair
    carried: int
    difference: float
    images: int = IMAGES
    parting: Parting | None = None

    @property
    def equal(self) -> bool:
        """Whether both models are the same function on the images that were tried."""
        return self.difference < SAME_OUTPUT

    @property
    def verdict(self) -> str:
        """One line: whether it is proven, and by what."""
        both = " and ".join(self.pair.names)
        size = f"outputs differ by {self.difference:.1e} of their size on {self.images} images"
        what = f"{size}, {self.carried} layers carried"
        if self.equal:
            return f"{TICK} {both} are the same function: {what}"
        where = f"; {self.parting.place}" if self.parting else ""
        return f"{CROSS} {both} are not the same function: {what}{where}"


def port(
    first: Any,
    second: Any,
    images: Any = None,
    *,
    input_size: int | None = None,
    in_channels: int | None = None,
    titles: tuple[str | None, str | None] = (None, None),
) -> Port:
    """Give the second model the first one's weights, and compare what both make of the same images.

    The models are live ones, or named as `open_model` takes them. `images` are (N, H, W, C), and as many random ones
    are shown besides; for a model of several inputs a list with an array for each. If the outputs then differ, the
    second model gets its own weights back, and the microscope says where the two part. Raises `WeightsError`, and
    changes nothing, if a layer with weights has no partner or does not fit.
    """
    first, second = open_two(first, second)
    sizes = {"input_size": input_size, "in_channels": in_channels}
    sight = look_at(first, second, _and_random(images), count=IMAGES, titles=titles, **sizes)
    saved = Saved(sight.pair.second)
    done = None
    try:
        carried, difference = carry(sight.pair), _largest_difference(sight)
        done = Port(pair=sight.pair, carried=carried, difference=difference, images=len(sight.shown[0]))
    finally:
        if done is None or not done.equal:
            saved.restore()
    if done.equal:
        return done
    return replace(done, parting=find_parting(first, second, sight.shown, titles=titles))


# -- the proof


def _and_random(images: Any) -> list[NDArray[Any]] | None:
    """Return the given images with as many random ones behind them."""
    if images is None:
        return None
    random = np.random.default_rng(1)
    return [
        np.concatenate([each, random.normal(size=each.shape).astype(np.float32) if each.dtype.kind == "f" else each])
        for each in as_inputs(images)
    ]


def run_graph(graph: Graph, *inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Run a live model node by node, in inference mode, and return its outputs; what is no longer needed is let go."""
    run = load_part(graph.framework, "graph").run_node
    waiting = Counter(source for node in graph.nodes for source in node.inputs)
    waiting.update(graph.outputs.values())
    given = iter(inputs)
    values: dict[int, NDArray[Any]] = {}
    for number, node in enumerate(graph.nodes):
        arrays = [next(given)] if node.kind == "input" else [values[source] for source in node.inputs]
        values[number] = run(graph, number, arrays)
        waiting.subtract(node.inputs)
        for source in node.inputs:
            if not waiting[source]:
                values.pop(source, None)
    return {name: values[number] for name, number in graph.outputs.items()}


def _largest_difference(sight: Sight) -> float:
    """Return the largest difference of the outputs, relative to their root mean square."""
    graphs = sight.pair.first, sight.pair.second
    layouts = [layouts_of(graph) for graph in graphs]
    worst = 0.0
    for chunk in sight.chunks():
        first, second = (
            run_graph(graph, *(in_layout(each, graph.framework) for each in inputs))
            for graph, inputs in zip(graphs, chunk, strict=True)
        )
        for name, other in same_outputs(first, second).items():
            if not np.isfinite(first[name]).all():
                raise WeightsError(
                    f"output {printable(name) or 0} of the first model holds numbers that are not finite (nan or inf), "
                    "by which nothing can be proven; nothing was changed"
                )
            mine, theirs = layouts[0][graphs[0].outputs[name]], layouts[1][graphs[1].outputs[other]]
            worst = max(worst, error_of(laid_out(second[other], theirs, mine), first[name]))
    return worst
