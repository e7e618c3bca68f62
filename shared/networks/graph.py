"""Any network as a graph: its layers and operations, their settings, and who feeds whom, the same for every framework.

`resnet_torch.graph.read_graph` and `resnet_tf.graph.read_graph` read a live model into a `Graph`. Kinds, settings and
layouts of weights are those of the tables below whichever framework the model is of, so that two graphs can be laid
beside each other.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Kind -> its settings. Sizes and strides of the two axes of an image are pairs (height, width); padding is
#: ((top, bottom), (left, right)), and its value a number or, where the image itself is repeated around it, how:
#: "reflect", "symmetric", "edge" or "wrap", as NumPy calls it. Sums and products with a constant have it as a number,
#: or as its shape.
#: "momentum" is the share that a new batch has in the running statistics, as PyTorch counts it (Keras: 1 - momentum).
KINDS: dict[str, tuple[str, ...]] = {
    "input": (),
    # with weights
    "conv": ("kernel_size", "stride", "padding", "dilation", "groups"),
    "conv_transpose": ("kernel_size", "stride", "padding", "output_padding", "dilation", "groups"),
    "dense": (),
    "patches": ("kernel_size", "stride", "padding", "dilation", "groups"),
    "batch_norm": ("eps", "momentum", "training"),
    "layer_norm": ("eps", "axes"),
    "group_norm": ("eps", "groups"),
    "rms_norm": ("eps", "axes"),
    "prelu": (),
    "embedding": (),
    # fed by query, value and, if it is another tensor, key
    "attention": ("heads", "causal"),
    "parameter": (),
    # of one tensor
    "relu": (),
    "relu6": (),
    "leaky_relu": ("slope",),
    "elu": ("alpha",),
    "selu": (),
    "gelu": ("approximate",),
    "silu": (),
    "mish": (),
    "sigmoid": (),
    "hard_sigmoid": (),
    "hard_swish": (),
    "tanh": (),
    "softplus": (),
    **dict.fromkeys(("abs", "exp", "log", "sqrt", "square", "sin", "cos"), ()),
    "softmax": ("axis",),
    "log_softmax": ("axis",),
    "max_pool": ("kernel_size", "stride", "padding", "dilation"),
    "avg_pool": ("kernel_size", "stride", "padding", "count_include_pad"),
    "global_avg_pool": (),
    "global_max_pool": (),
    "mean": ("axes",),
    "pad": ("padding", "value"),
    "crop": ("padding",),
    "upsample": ("scale", "mode", "align_corners"),
    "scale": ("factor", "offset"),
    "flatten": (),
    # an image as its pixels, one row behind another: (N, height * width, channels), and an image made of these; like
    # "patches", a convolution whose pixels are tokens, there are such only in a simplified graph
    "tokens": (),
    "pixels": (),
    # of each of the windows of an image that lie side by side, all numbers (height, width, channels)
    "windows": ("size",),
    "reshape": ("shape",),
    "permute": ("axes",),
    # from `start` up to `stop`, of one axis
    "part": ("axis", "start", "stop", "step"),
    # the same numbers again, along axes of length one
    "broadcast": (),
    "cast": ("dtype",),
    "identity": (),
    "dropout": ("rate",),
    # of several tensors
    "add": ("constant",),
    "subtract": ("constant",),
    "multiply": ("constant",),
    "divide": ("constant",),
    "matmul": (),
    "maximum": (),
    "minimum": (),
    # of two tensors, where that is no matmul; the axes are called a, b, c ... in their order
    "einsum": ("equation",),
    "concat": ("axis",),
    # softmax(query @ key.T * scale) @ value; `axis` is that of the tokens, the last one holds the numbers of a head
    "attend": ("scale", "causal", "axis"),
    # an operation for which there is no word here; its settings are whatever the framework says of it
    "other": (),
}
#: Kind -> role of a weight -> its axes. A role that a node lacks (a bias, a scale) is not in `Node.weights`.
ROLES: dict[str, dict[str, str]] = {
    "conv": {"weight": "(out, in / groups, height, width)", "bias": "(out,)"},
    "patches": {"weight": "(out, in / groups, height, width)", "bias": "(out,)"},
    "conv_transpose": {"weight": "(in, out / groups, height, width)", "bias": "(out,)"},
    "dense": {"weight": "(out, in)", "bias": "(out,)"},
    "batch_norm": {"weight": "(C,)", "bias": "(C,)", "running_mean": "(C,)", "running_var": "(C,)"},
    "layer_norm": {"weight": "as the axes", "bias": "as the axes"},
    "group_norm": {"weight": "(C,)", "bias": "(C,)"},
    "rms_norm": {"weight": "as the axes"},
    "prelu": {"weight": "(C,)"},
    "embedding": {"weight": "(words, size)"},
    "attention": {
        **{f"{each}_weight": "(heads * size, in)" for each in ("query", "key", "value")},
        **{f"{each}_bias": "(heads * size,)" for each in ("query", "key", "value")},
        "out_weight": "(out, heads * size)",
        "out_bias": "(out,)",
    },
    "scale": {},
    "parameter": {"value": "as it is"},
}
#: Weights that no gradient changes.
BUFFERS = ("running_mean", "running_var")


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight of a node: the framework's name for it, its shape in the layout of `ROLES`, whether it is trained."""

    key: str
    shape: tuple[int, ...]
    trained: bool = True


@dataclass(frozen=True, kw_only=True)
class Node:
    """One layer or operation.

    `name` is the path of the layer or module, as the framework shows it; an operation that is written as a function is
    called after the module in whose code it stands and what it does ("layer1.0.add"). `source` is what the framework
    calls it ("Conv2d", "aten.add.Tensor"). `inputs` are the numbers of the nodes that feed it, in the order of its
    arguments. `shape` is that of the output in the framework's own order of axes, batch included, `dtype` its kind of
    numbers ("float32"), as far as the framework says it.
    """

    name: str
    kind: str
    source: str
    inputs: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)
    dtype: str = ""

    @property
    def parameters(self) -> int:
        """How many numbers a gradient changes, a weight that is shared counted each time."""
        return sum(_size(weight) for role, weight in self.weights.items() if role not in BUFFERS)

    @property
    def buffers(self) -> int:
        """How many numbers of its running statistics."""
        return sum(_size(weight) for role, weight in self.weights.items() if role in BUFFERS)


def plain_equation(text: str) -> str | None:
    """Return an einsum of two tensors with its axes called a, b, c ... in their order, None for one of another form."""
    found = re.fullmatch(r"([A-Za-z]+),([A-Za-z]+)->([A-Za-z]*)", text.replace(" ", ""))
    if found is None or any(len(set(each)) != len(each) for each in found.groups()):
        return None
    letters = list(dict.fromkeys("".join(found.groups())))
    return "".join(string.ascii_letters[letters.index(each)] if each in letters else each for each in found.group())


def is_matmul(equation: str) -> bool:
    """Whether an einsum in the form of `plain_equation` does what `matmul` does, its operands in this order."""
    first, second, result = re.split(",|->", equation)
    if min(len(first), len(second)) < 2:
        return False
    heads = first[:-2]
    return second == heads + first[-1] + second[-1] and result == heads + first[-2] + second[-1]


def _size(weight: Weight) -> int:
    size = 1
    for length in weight.shape:
        size *= length
    return size


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network in the order of its dataflow: a node's inputs come before it.

    `outputs` names what the network returns: "" for its one output, else the key of a dictionary or the place in a
    tuple. `layout` is the order of the axes of an image: "channels_first" or "channels_last". `live` holds, for each
    node, what the framework needs in order to run it or to reach its weights.
    """

    title: str
    framework: str
    layout: str
    nodes: tuple[Node, ...]
    outputs: Mapping[str, int]
    live: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
