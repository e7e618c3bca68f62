"""What a model's layers are beside its graph: their weights, their hierarchy, and which of them an operation stands in.

A graph tells who feeds whom; a summary also needs the layers as their author wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Held:
    """A weight that a model holds: its name, how many numbers and bytes it has, whether a gradient changes it.

    `buffer`: whether the framework does not count it among its parameters.
    """

    key: str
    size: int
    bytes: int
    trained: bool
    buffer: bool = False


@dataclass(frozen=True, kw_only=True)
class Standing:
    """In which layer a node of a graph stands.

    Nodes with the same `layer` belong together. `call` counts the calls of a layer that is called several times; None
    is that of the node before. `output` is which of several outputs of the layer the node is.
    """

    layer: str
    kind: str
    call: int | None = 0
    output: int = 0


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A layer, the class that it is of, the numbers of its nodes in the graph, and the layers in it.

    `nodes` are empty for a layer of the user's, whose operations are nodes of their own, and for one that was not
    `called`.
    """

    name: str
    kind: str
    nodes: tuple[int, ...] = ()
    children: tuple[Outline, ...] = ()
    called: bool = True
