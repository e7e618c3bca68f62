"""A right pair of the zoo with lively weights, and what counts as the place of a mistake that is planted in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from shared.backends import BACKENDS, load_part
from shared.networks.graph import Graph
from shared.twins import port, see
from shared.twins.pair import compare_graphs
from tests.campaigns.pairs.plant import INPUT, KerasNet, NotHereError
from tests.campaigns.pairs.zoo import ZOO

#: Kinds of nodes that compute nothing.
QUIET = ("identity", "dropout", "cast", "pad", "crop", "flatten", "reshape", "permute")
IMAGES = 2


def enliven(model: nn.Module, seed: int) -> nn.Module:
    """Give a PyTorch model weights and statistics as a trained one has them, so that every layer matters."""
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                module.weight.uniform_(0.5, 1.5, generator=made)
                module.bias.normal_(0, 0.3, generator=made)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.3, generator=made)
                module.running_var.uniform_(0.5, 2, generator=made)
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                inside = module.weight[0].numel() if not isinstance(module, nn.ConvTranspose2d) else module.in_channels
                module.weight.normal_(0, (2 / inside) ** 0.5, generator=made)
                if module.bias is not None:
                    module.bias.normal_(0, 0.3, generator=made)
    return model.eval()


def names_on(graph: Graph, path: str) -> set[str]:
    """Return the names of the nodes of a module or layer, and of all inside it."""
    if path == INPUT:
        return {node.name for node in graph.nodes if node.kind == "input"}
    inside = (f"{path}.", f"{path}/")
    return {node.name for node in graph.nodes if node.name == path or node.name.startswith(inside)}


def behind(graph: Graph, names: Iterable[str]) -> set[str]:
    """Return the names of the first nodes behind some that compute something, and of those in between."""
    numbers = [number for number, node in enumerate(graph.nodes) if node.name in set(names)]
    found = set()
    while numbers:
        number = numbers.pop()
        for other, node in enumerate(graph.nodes):
            if number in node.inputs and node.name not in found:
                found.add(node.name)
                if node.kind in QUIET:
                    numbers.append(other)
    return found


def names_of_operations(graph: Graph, net: KerasNet) -> dict[str, set[str]]:
    """Return for each operation of a Keras model, by its name, the names of its nodes in the graph."""
    found = {}
    functions: dict[str, Iterator[str]] = {}
    for op in net.ops:
        if inside := names_on(graph, op.name):
            found[op.name] = inside
            continue
        source = f"ops.{type(op).__name__}"
        if source not in functions:
            functions[source] = iter([n.name for n in graph.nodes if n.source == source and "/" not in n.name])
        name = next(functions[source], None)
        found[op.name] = {name} if name else set()
    return found


@contextmanager
def remembering(known: dict[Any, Graph], *models: Any) -> Iterator[None]:
    """Read each of these models once: reading takes longer than all that is done with a graph."""

    def once(read: Callable[..., Graph]) -> Callable[..., Graph]:
        def read_graph(model: Any, *inputs: Any) -> Graph:
            if not any(model is each for each in models):
                return read(model, *inputs)
            key = (id(model), *(each.shape for each in inputs))
            if key not in known:
                known[key] = read(model, *inputs)
            return known[key]

        return read_graph

    with ExitStack() as stack:
        for name in BACKENDS:
            part = load_part(name, "graph")
            stack.enter_context(patch.object(part, "read_graph", once(part.read_graph)))
        yield


class Right:
    """A pair of the zoo that is right: both models with the same weights."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.pair = name, ZOO[name]
        torch.manual_seed(seed)
        self.torch = enliven(self.pair.build_torch(), seed)
        self.keras = self.pair.build_keras()
        size = self.pair.size
        self.images = np.random.default_rng(seed).normal(size=(IMAGES, size, size, 3)).astype(np.float32)
        self.port = port(self.torch, self.keras, self.images)
        self.net = KerasNet(self.keras)
        self.known: dict[Any, Graph] = {}

    def see(self, model: Any) -> Graph:
        """Return the graph of a model that takes the same images."""
        return see(model, self.images)

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """The graphs of both models."""
        return {"torch": self.see(self.torch), "keras": self.see(self.keras)}

    @cached_property
    def partners(self) -> dict[str, dict[str, set[str]]]:
        """For each side, the names in the other model for each name."""
        alignment = compare_graphs(self.graphs["torch"], self.graphs["keras"]).alignment
        found: dict[str, dict[str, set[str]]] = {"torch": {}, "keras": {}}
        for left, right in alignment.pairs:
            sides = {
                side: {graph.graph.nodes[member].name for member in graph.nodes[number].members}
                for side, graph, number in (("torch", alignment.first, left), ("keras", alignment.second, right))
            }
            for side, other in (("torch", "keras"), ("keras", "torch")):
                for name in sides[side]:
                    found[side].setdefault(name, set()).update(sides[other])
        return found

    def places(self, side: str, touched: Iterable[str], follows: bool) -> set[str]:
        """Return what names in the model as it was are the right place."""
        graph = self.graphs[side]
        if side == "keras":
            known = names_of_operations(graph, self.net)
            known[INPUT] = names_on(graph, INPUT)
            found = set().union(*(known[name] for name in touched))
        else:
            found = set().union(*(names_on(graph, path) for path in touched))
        if not found:
            raise NotHereError
        return found | (behind(graph, found) if follows else set())
