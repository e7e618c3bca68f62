"""Reads out of any network's graph what a `ResNetSpec` would have to say: blocks, stages, stem, head and their details.

A block is where the flow of data parts and is added up again, with two or three convolutions on the longer way. Names
mean nothing. Where parts of the network disagree, what most of them have comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from shared.networks.spec import BLOCK_EXPANSION
from shared.twins.alignment import FAMILIES
from shared.twins.simplify import Simple, Simplified

#: Convolutions on the longer way of a block.
OF_BASIC, OF_BOTTLENECK = 2, 3
#: Field of a `ResNetSpec` ("stem.bias" for those of its stem) -> the values that were seen, the commonest first. Depths
#: and widths go together: "stages" -> the two fields.
Fields = dict[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block: the number of the node where the two ways part, the one where they join, and what lies on each."""

    split: int
    before: tuple[int, ...]
    join: Simple
    main: tuple[Simple, ...]
    short: tuple[Simple, ...]
    #: Whether a ReLU follows where they join.
    activated: bool

    @property
    def convs(self) -> list[Simple]:
        """The convolutions of the longer way."""
        return _convs(self.main)

    @property
    def changes(self) -> bool:
        """Whether the shape behind the block is another one than in front of it."""
        return self.before != self.join.shape

    @property
    def preact(self) -> bool:
        """Whether norms stand in front of their convolutions: the longer way ends with a convolution."""
        weighted = [simple for simple in self.main if simple.node.kind == "conv" or _is_norm(simple)]
        return weighted[-1].node.kind == "conv" and (any(map(_is_norm, weighted)) or not self.activated)


def _convs(nodes: Iterable[Simple]) -> list[Simple]:
    """Return the convolutions of images."""
    return [simple for simple in nodes if simple.node.kind == "conv" and len(simple.shape) == 3]


def _is_norm(simple: Simple) -> bool:
    return FAMILIES.get(simple.node.kind) == "normalisation"


def _kernel(conv: Simple) -> int:
    return int(max(conv.node.settings["kernel_size"]))


def _stride(conv: Simple) -> int:
    return int(max(conv.node.settings["stride"]))


def _seen(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value for value, _ in Counter(values).most_common())


def read_fields(graph: Simplified) -> Fields:
    """Return the fields of a `ResNetSpec` that the network shows; those that it does not show are absent."""
    flow = _Flow(graph)
    blocks = flow.blocks()
    found = _of_blocks(blocks) if blocks else _of_chain(flow)
    if found:
        found |= _of_stem(flow.stem(blocks))
    images = [simple.shape for simple in graph.nodes if simple.node.kind == "input" and len(simple.shape) == 3]
    norms = [simple.node.settings for simple in graph.nodes if simple.node.kind == "batch_norm"]
    found["in_channels"] = _seen(shape[0] for shape in images)
    found["num_classes"] = flow.classes()
    found["norm_eps"] = _seen(_rounded(each["eps"]) for each in norms)
    found["norm_momentum"] = _seen(_rounded(each["momentum"]) for each in norms if each.get("momentum") is not None)
    return {name: values for name, values in found.items() if values}


def _rounded(value: float) -> float:
    """Return a setting as its author wrote it: 1 - 0.99 is 0.01."""
    return float(f"{value:.6g}")


class _Flow:
    """Who leads to whom in a graph, and the ways through it."""

    def __init__(self, graph: Simplified) -> None:
        self.nodes = graph.nodes
        self.outputs = list(graph.outputs.values())
        self.after = graph.consumers()
        self.before: list[int] = []  # for each node a number whose bits are what leads to it, itself included
        for number, simple in enumerate(graph.nodes):
            bits = 1 << number
            for source in simple.inputs:
                bits |= self.before[source]
            self.before.append(bits)

    def leads(self, first: int, second: int) -> bool:
        return bool(self.before[second] >> first & 1)

    def way(self, split: int, end: int) -> tuple[Simple, ...]:
        """Return what lies between `split` and `end`, itself included, along the longest way; gates are left out."""
        found = []
        number = end
        while number != split:
            simple = self.nodes[number]
            found.append(simple)
            sources = [source for source in simple.inputs if self.leads(split, source)]
            length = {source: self.before[source].bit_count() for source in sources}
            # What multiplies a tensor by something that is computed from it goes around, a sum goes through.
            number = (min if simple.node.kind == "multiply" else max)(sources, key=length.__getitem__)
        return tuple(reversed(found))

    def blocks(self) -> list[Block]:
        found = []
        for number, simple in enumerate(self.nodes):
            if simple.node.kind != "add" or len(simple.inputs) != 2 or len(simple.shape) != 3:
                continue
            first, second = simple.inputs
            common = self.before[first] & self.before[second]
            if not common:
                continue
            split = common.bit_length() - 1
            ways = [self.way(split, each) for each in (first, second)]
            short, main = sorted(ways, key=lambda way: (len(_convs(way)), len(way)))
            if len(_convs(main)) in (OF_BASIC, OF_BOTTLENECK) and len(_convs(short)) <= 1:
                activated = any(self.nodes[each].node.kind == "relu" for each in self.after[number])
                before = self.nodes[split].shape
                found.append(
                    Block(split=split, before=before, join=simple, main=main, short=short, activated=activated)
                )
        return found

    def stem(self, blocks: Sequence[Block]) -> list[Simple]:
        """Return what lies in front of the first block; where there is none, in front of the second convolution."""
        convs = _convs(self.nodes)
        end = blocks[0].split if blocks else next(n for n, simple in enumerate(self.nodes) if simple is convs[1])
        return [
            simple for number, simple in enumerate(self.nodes) if self.leads(number, end) and (blocks or number != end)
        ]

    def classes(self) -> tuple[int, ...]:
        """Return how many outputs the last dense layer in front of the first output has, that of a gate apart."""
        images = [number for number, simple in enumerate(self.nodes) if len(simple.shape) == 3]
        for number in reversed(range(self.outputs[0] + 1)):
            node = self.nodes[number].node
            if node.kind != "dense" or "weight" not in node.weights or not self.leads(number, self.outputs[0]):
                continue
            if not any(self.leads(number, image) for image in images):
                return (node.weights["weight"].shape[0],)
        return ()


def _of_blocks(blocks: Sequence[Block]) -> Fields:
    """Return what the blocks of a residual network say."""
    bottleneck = _seen(len(block.convs) == OF_BOTTLENECK for block in blocks)[0]
    preact = _seen(block.preact for block in blocks)[0]
    name = f"{'PreAct' if preact else ''}{'Bottleneck' if bottleneck else 'BasicBlock'}"
    shortcuts = [(conv, block.short) for block in blocks for conv in _convs(block.short)]
    convs = [conv for block in blocks for conv in (*block.convs, *_convs(block.short))]
    normed = any(_is_norm(simple) for block in blocks for simple in block.main)
    strided = [block.convs for block in blocks if any(_stride(conv) > 1 for conv in block.convs)]
    return {
        "block": (name,),
        "stages": _stages([block.join.shape for block in blocks], BLOCK_EXPANSION[name]),
        "shortcut": _option(blocks),
        "shortcut_kernel_size": _seen(_kernel(conv) for conv, _ in shortcuts),
        "shortcut_norm": _seen(any(map(_is_norm, way)) for _, way in shortcuts) if normed else (),
        "stride_in_1x1": _seen(_stride(each[0]) > 1 for each in strided) if bottleneck else (False,),
        "conv_bias": _seen("bias" in conv.node.weights for conv in convs),
    }


def _stages(shapes: Sequence[tuple[int, ...]], expansion: int) -> tuple[dict[str, Any], ...]:
    """Return depths and widths: stages part where the shape changes, or, if that is another reading, the channels."""
    found = []
    for axes in (3, 1):
        stages = [list(each) for _, each in groupby(shape[:axes] for shape in shapes)]
        widths = tuple(max(1, stage[0][0] // expansion) for stage in stages)
        found.append({"depths": tuple(map(len, stages)), "widths": widths})
    return tuple(found[: 1 + (found[0] != found[1])])


def _option(blocks: Sequence[Block]) -> tuple[str, ...]:
    """Return the paper's option for shortcuts: A, B or C."""
    where = {
        changes: _seen(bool(_convs(block.short)) for block in blocks if block.changes is changes)
        for changes in (True, False)
    }
    if where[False][:1] == (True,):
        return ("C",)
    return ("B",) if where[True][:1] == (True,) else ("A",) if where[True] else ()


def _of_chain(flow: _Flow) -> Fields:
    """Return what a network without additions says: two convolutions make a block."""
    convs = _convs(flow.nodes)
    if len(convs) < 1 + OF_BASIC:
        return {}
    stages = [list(each) for _, each in groupby(simple.shape for simple in convs[1:])]
    depths = tuple((len(stage) + 1) // OF_BASIC for stage in stages)
    return {
        "block": ("PlainBlock",),
        "stages": ({"depths": depths, "widths": tuple(stage[0][0] for stage in stages)},),
        "stride_in_1x1": (False,),
        "conv_bias": _seen("bias" in simple.node.weights for simple in convs[1:]),
    }


def _of_stem(stem: Sequence[Simple]) -> Fields:
    """Return what the layers in front of the first block say."""
    found: Fields = {"stem.max_pool": (any(simple.node.kind == "max_pool" for simple in stem),)}
    convs = _convs(stem)
    if convs:
        found["stem.kernel_size"] = (_kernel(convs[0]),)
        found["stem.stride"] = (_stride(convs[0]),)
        found["stem.bias"] = ("bias" in convs[0].node.weights,)
        found["stem.out_channels"] = (convs[-1].shape[0],)
    return found
