"""Layers in PyTorch's words: what `print(module)` shows of the module that does what a node of a graph does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.networks.graph import Graph, Node

Pads = Sequence[Sequence[int]]
#: Kinds that are one module without settings.
PLAIN = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "selu": "SELU",
    "silu": "SiLU",
    "mish": "Mish",
    "sigmoid": "Sigmoid",
    "hard_sigmoid": "Hardsigmoid",
    "hard_swish": "Hardswish",
    "tanh": "Tanh",
    "identity": "Identity",
}
#: Layers of Keras that drop whole channels, or keep mean and variance, beside the plain dropout.
DROPOUTS = {"SpatialDropout1D": "Dropout1d", "SpatialDropout2D": "Dropout2d", "AlphaDropout": "AlphaDropout"}
LOWEST = "-inf"
CHANNELS = "it works on the channels, which in PyTorch do not stand last"


@dataclass(frozen=True, kw_only=True)
class Words:
    """The modules that do together what one node does, as PyTorch prints each, and what its printout leaves out."""

    modules: tuple[str, ...]
    remark: str = ""


def words_of(graph: Graph, number: int) -> Words | None:
    """Return a node in PyTorch's words; None if no module of PyTorch does what it does."""
    node = graph.nodes[number]
    if node.kind in PLAIN:
        return Words(modules=(f"{PLAIN[node.kind]}()",))
    say = SAYINGS.get(node.kind)
    return say(graph, node) if say else None


def call_text(name: str, *arguments: Any, **options: Any) -> str:
    """Return `Name(3, stride=2)`."""
    return f"{name}({', '.join([*map(str, arguments), *(f'{key}={value}' for key, value in options.items())])})"


def _short(values: Sequence[float]) -> Any:
    """Return one number for all axes where they have the same, as people write it for pools."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def _halves(padding: Pads) -> tuple[tuple[int, ...], Pads]:
    """Return what is padded on both sides of each axis, and what is left: more on one side."""
    even = tuple(min(pair) for pair in padding)
    return even, tuple((before - each, after - each) for (before, after), each in zip(padding, even, strict=True))


def _flat(padding: Pads) -> tuple[int, ...]:
    """Return padding as PyTorch wants it, the last axis first: (left, right, top, bottom)."""
    return tuple(each for pair in reversed(padding) for each in pair)


def _padded(padding: Pads, value: str = "0") -> tuple[str, ...]:
    """Return the module that pads, none for no padding."""
    if not any(map(any, padding)):
        return ()
    axes = len(padding)
    if value == "0":
        return (f"ZeroPad{axes}d({_flat(padding)})",)
    return (call_text(f"ConstantPad{axes}d", padding=_flat(padding), value=value),)


def _axis(graph: Graph, node: Node, axis: int) -> int:
    """Return an axis of an image in PyTorch's order."""
    rank = len(node.shape)
    if rank < 3 or graph.layout == "channels_first":
        return axis
    return 0 if axis == 0 else 1 if axis == rank - 1 else axis + 1


def _channels_behind(graph: Graph, node: Node) -> bool:
    """Whether this is an image whose last axis is that of the channels, which PyTorch has in front."""
    return len(node.shape) == 4 and graph.layout != "channels_first"


# -- with weights


def _conv(graph: Graph, node: Node) -> Words:
    settings, weight = node.settings, node.weights["weight"].shape
    groups, axes = settings["groups"], len(settings["kernel_size"])
    options = {"kernel_size": settings["kernel_size"], "stride": settings["stride"]}
    even, rest = _halves(settings["padding"])
    front: tuple[str, ...] = ()
    if any(map(any, rest)) and set(settings["stride"]) == {1}:
        options["padding"] = "same"  # which puts the odd pixel where Keras puts it
    elif any(map(any, rest)):
        front = _padded(settings["padding"])
    elif any(even):
        options["padding"] = even
    options |= _unusual(settings, bias="bias" in node.weights)
    text = call_text(f"Conv{axes}d", weight[1] * groups, weight[0], **options)
    remark = "" if not front else 'its "same" pads more behind than before, by as much as this size of image needs'
    return Words(modules=(*front, text), remark=remark)


def _unusual(settings: Any, *, bias: bool) -> dict[str, Any]:
    """Return what PyTorch prints of a convolution only where it is not the usual."""
    found = {}
    if set(settings["dilation"]) != {1}:
        found["dilation"] = settings["dilation"]
    if any(settings.get("output_padding", ())):
        found["output_padding"] = settings["output_padding"]
    if settings["groups"] != 1:
        found["groups"] = settings["groups"]
    return found if bias else {**found, "bias": False}


def _conv_transpose(graph: Graph, node: Node) -> Words:
    settings, weight = node.settings, node.weights["weight"].shape
    axes = len(settings["kernel_size"])
    even, rest = _halves(settings["padding"])
    options: dict[str, Any] = {"kernel_size": settings["kernel_size"], "stride": settings["stride"]}
    if any(even):
        options["padding"] = even
    options |= _unusual(settings, bias="bias" in node.weights)
    text = call_text(f"ConvTranspose{axes}d", weight[0], weight[1] * settings["groups"], **options)
    return Words(modules=(text, *_padded([(-before, -after) for before, after in rest])))


def _dense(graph: Graph, node: Node) -> Words:
    out, inside = node.weights["weight"].shape
    text = call_text("Linear", in_features=inside, out_features=out, bias="bias" in node.weights)
    return Words(modules=(text,), remark=CHANNELS if _channels_behind(graph, node) else "")


def _batch_norm(graph: Graph, node: Node) -> Words:
    shapes = [weight.shape for weight in node.weights.values()]
    axes = max(1, len(node.shape) - 2)
    options = {"eps": node.settings["eps"], "momentum": node.settings["momentum"]}
    affine = "weight" in node.weights or "bias" in node.weights
    text = call_text(
        f"BatchNorm{axes}d", shapes[0][0], **options, affine=affine, track_running_stats="running_mean" in node.weights
    )
    missing = [role for role in ("weight", "bias") if role not in node.weights] if affine else []
    return Words(modules=(text,), remark=f"it has no {missing[0]} of its own" if missing else "")


def _layer_norm(name: str) -> Callable[[Graph, Node], Words | None]:
    def say(graph: Graph, node: Node) -> Words | None:
        rank, axes = len(node.shape), tuple(node.settings["axes"])
        if axes != tuple(range(rank - len(axes), rank)) or (len(axes) > 1 and _channels_behind(graph, node)):
            return None  # PyTorch norms the last axes only, and its last are not Keras' last
        shape = tuple(node.shape[axis] for axis in axes)
        affine = "weight" in node.weights or "bias" in node.weights
        missing = {"bias": False} if name == "LayerNorm" and affine and "bias" not in node.weights else {}
        text = call_text(name, shape, eps=node.settings["eps"], elementwise_affine=affine, **missing)
        return Words(modules=(text,), remark=CHANNELS if _channels_behind(graph, node) else "")

    return say


def _group_norm(graph: Graph, node: Node) -> Words:
    channels = next(iter(node.weights.values())).shape[0] if node.weights else node.shape[-1]
    options = {"eps": node.settings["eps"], "affine": bool(node.weights)}
    return Words(modules=(call_text("GroupNorm", node.settings["groups"], channels, **options),))


def _prelu(graph: Graph, node: Node) -> Words | None:
    shape = node.weights["weight"].shape
    return Words(modules=(call_text("PReLU", num_parameters=shape[0]),)) if len(shape) == 1 else None


def _attention(graph: Graph, node: Node) -> Words:
    out, inside = node.weights["out_weight"].shape
    linear = call_text(
        "NonDynamicallyQuantizableLinear", in_features=inside, out_features=out, bias="out_bias" in node.weights
    )
    return Words(modules=(f"MultiheadAttention(\n  (out_proj): {linear}\n)",), remark=f"{node.settings['heads']} heads")


# -- of one tensor


def _softmax(name: str) -> Callable[[Graph, Node], Words]:
    return lambda graph, node: Words(modules=(call_text(name, dim=_axis(graph, node, node.settings["axis"])),))


def _max_pool(graph: Graph, node: Node) -> Words:
    settings = node.settings
    even, rest = _halves(settings["padding"])
    uneven = any(map(any, rest))
    text = call_text(
        f"MaxPool{len(even)}d",
        kernel_size=_short(settings["kernel_size"]),
        stride=_short(settings["stride"]),
        padding=0 if uneven else _short(even),
        dilation=_short(settings["dilation"]),
        ceil_mode=False,
    )
    return Words(modules=(*(_padded(settings["padding"], LOWEST) if uneven else ()), text))


def _avg_pool(graph: Graph, node: Node) -> Words | None:
    settings = node.settings
    even, rest = _halves(settings["padding"])
    if any(map(any, rest)) and not settings["count_include_pad"]:
        return None
    uneven = any(map(any, rest))
    each = [settings["kernel_size"], settings["stride"], [0] * len(even) if uneven else even]
    short = [tuple(values) if len(even) == 1 else _short(values) for values in each]
    text = call_text(f"AvgPool{len(even)}d", **dict(zip(("kernel_size", "stride", "padding"), short, strict=True)))
    hidden = any(even) and not settings["count_include_pad"]
    return Words(
        modules=(*(_padded(settings["padding"]) if uneven else ()), text),
        remark="count_include_pad=False" if hidden else "",
    )


def _global_pool(name: str) -> Callable[[Graph, Node], Words]:
    def say(graph: Graph, node: Node) -> Words:
        axes = len(graph.nodes[node.inputs[0]].shape) - 2
        remark = (
            "its result is flat, PyTorch's has axes of length 1 behind the channels" if len(node.shape) == 2 else ""
        )
        return Words(modules=(call_text(f"{name}{axes}d", output_size=1),), remark=remark)

    return say


def _pad(graph: Graph, node: Node) -> Words | None:
    padding = _of_image(graph, node.settings["padding"], len(node.shape))
    value = node.settings["value"]
    return Words(modules=_padded(padding, "0" if value == 0 else str(value))) if padding else None


def _crop(graph: Graph, node: Node) -> Words | None:
    padding = _of_image(graph, node.settings["padding"], len(node.shape))
    return Words(modules=_padded([(-before, -after) for before, after in padding])) if padding else None


def _of_image(graph: Graph, padding: Pads, rank: int) -> Pads:
    """Return what pads the axes of the image; nothing where other axes are padded."""
    if len(padding) == rank - 2:
        return padding
    inner = padding[2:] if graph.layout == "channels_first" else padding[1:-1]
    return inner if sum(map(sum, padding)) == sum(map(sum, inner)) else ()


def _upsample(graph: Graph, node: Node) -> Words:
    scale = tuple(float(each) for each in node.settings["scale"])
    mode = node.settings["mode"]
    remark = "align_corners=True" if node.settings["align_corners"] else ""
    return Words(modules=(call_text("Upsample", scale_factor=_short(scale), mode=repr(mode)),), remark=remark)


def _flatten(graph: Graph, node: Node) -> Words:
    before = graph.nodes[node.inputs[0]].shape
    image = len(before) == 4 and before[1:3] != (1, 1) and graph.layout != "channels_first"
    remark = "it flattens (height, width, channels), PyTorch (channels, height, width)" if image else ""
    return Words(modules=("Flatten(start_dim=1, end_dim=-1)",), remark=remark)


def _dropout(graph: Graph, node: Node) -> Words | None:
    if node.source.startswith("Gaussian"):
        return None
    return Words(modules=(call_text(DROPOUTS.get(node.source, "Dropout"), p=node.settings["rate"], inplace=False),))


def _embedding(graph: Graph, node: Node) -> Words:
    return Words(modules=(call_text("Embedding", *node.weights["weight"].shape),))


def _with(name: str, **settings: str) -> Callable[[Graph, Node], Words]:
    """Return what says a module by settings that are only called otherwise there."""
    return lambda graph, node: Words(
        modules=(call_text(name, **{theirs: repr(node.settings[ours]) for theirs, ours in settings.items()}),)
    )


SAYINGS: dict[str, Callable[[Graph, Node], Words | None]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm("LayerNorm"),
    "rms_norm": _layer_norm("RMSNorm"),
    "group_norm": _group_norm,
    "prelu": _prelu,
    "embedding": _embedding,
    "attention": _attention,
    "leaky_relu": _with("LeakyReLU", negative_slope="slope"),
    "elu": _with("ELU", alpha="alpha"),
    "gelu": lambda graph, node: Words(modules=(call_text("GELU", approximate=repr(_approximation(node))),)),
    "softplus": lambda graph, node: Words(modules=("Softplus(beta=1.0, threshold=20.0)",)),
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _global_pool("AdaptiveAvgPool"),
    "global_max_pool": _global_pool("AdaptiveMaxPool"),
    "pad": _pad,
    "crop": _crop,
    "upsample": _upsample,
    "flatten": _flatten,
    "dropout": _dropout,
}


def _approximation(node: Node) -> str:
    return "tanh" if node.settings["approximate"] in (True, "tanh") else "none"
