"""What PyTorch's layers with weights, and its pools, are called in `shared.networks.graph`, and their settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from resnet_torch.graph_parts import Call, Found, Place

Maker = Callable[[Call], Found | None]


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """Return one number for each axis: PyTorch takes a number, a list of one, or a list of all."""
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * axes if len(values) == 1 else values


def _both(padding: Any, axes: int) -> tuple[tuple[int, int], ...]:
    return tuple((each, each) for each in _each(padding, axes))


def _axes(dims: Any, rank: int) -> tuple[int, ...]:
    """Return axes counted from the front, in order; None means all."""
    dims = range(rank) if dims is None or dims == [] else _each(dims, 1)
    return tuple(sorted(dim % rank for dim in dims))


# With weights


def conv(call: Call) -> Found:
    """A convolution over any number of axes."""
    if call.op == "convolution" and call["transposed"]:
        return conv_transpose(call)
    kernel = tuple(call["weight"].shape[2:])
    axes = len(kernel)
    stride, dilation = _each(call["stride"], axes), _each(call["dilation"], axes)
    settings = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": _conv_padding(call["padding"], kernel, dilation),
        "dilation": dilation,
        "groups": call["groups"],
    }
    return call.weighted("conv", settings, weight="weight", bias="bias")


def _conv_padding(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return _both(0, len(kernel))
    if padding == "same":  # the odd pixel goes to the bottom and the right
        totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return _both(padding, len(kernel))


def conv_transpose(call: Call) -> Found:
    """A transposed convolution; its weight lies (in, out / groups, height, width)."""
    kernel = tuple(call["weight"].shape[2:])
    axes = len(kernel)
    settings = {
        "kernel_size": kernel,
        "stride": _each(call["stride"], axes),
        "padding": _both(call["padding"], axes),
        "output_padding": _each(call["output_padding"], axes),
        "dilation": _each(call["dilation"], axes),
        "groups": call["groups"],
    }
    return call.weighted("conv_transpose", settings, weight="weight", bias="bias")


def linear(call: Call) -> Found:
    """A dense layer."""
    return call.weighted("dense", {}, weight="weight", bias="bias")


def matmul(call: Call) -> Found:
    """A product with a parameter of two axes is a dense layer whose weight lies the other way round."""
    right = call["other" if "other" in call.arguments else "mat2"]
    if isinstance(right, Place) and len(right.shape) == 2:
        return Found("dense", {}, {"weight": right.turned}, frozenset({"other", "mat2"}))
    return Found("matmul")


def addmm(call: Call) -> Found | None:
    """A product with a parameter plus a parameter, as older exports write a dense layer."""
    right, bias = call["mat2"], call["self"]
    if (call["alpha"], call["beta"]) != (1, 1) or not isinstance(right, Place) or not isinstance(bias, Place):
        return None
    return Found("dense", {}, {"weight": right.turned, "bias": bias}, frozenset({"mat2", "self"}))


def batch_norm(call: Call) -> Found:
    """A BatchNorm; without running statistics it uses those of the batch."""
    settings = {"eps": call["eps"], "momentum": call["momentum"], "training": bool(call.arguments.get("training"))}
    roles = ("weight", "bias", "running_mean", "running_var")
    return call.weighted("batch_norm", settings, **{role: role for role in roles if role in call.arguments})


def layer_norm(call: Call) -> Found:
    """A LayerNorm over the last axes."""
    return call.weighted("layer_norm", _last_axes(call), weight="weight", bias="bias")


def rms_norm(call: Call) -> Found:
    """An RMSNorm over the last axes; PyTorch's own eps is that of the dtype."""
    settings = _last_axes(call)
    if settings["eps"] is None:
        settings["eps"] = torch.finfo(call.dtype).eps
    return call.weighted("rms_norm", settings, weight="weight")


def _last_axes(call: Call) -> dict[str, Any]:
    rank = len(call["input"].shape)
    return {"eps": call["eps"], "axes": tuple(range(rank - len(call["normalized_shape"]), rank))}


def group_norm(call: Call) -> Found:
    """A GroupNorm."""
    groups = call["group" if "group" in call.arguments else "num_groups"]
    return call.weighted("group_norm", {"eps": call["eps"], "groups": groups}, weight="weight", bias="bias")


def prelu(call: Call) -> Found:
    """A ReLU with a slope that is trained."""
    return call.weighted("prelu", {}, weight="weight")


def embedding(call: Call) -> Found:
    """A table of which rows are looked up; all of them in their order are a parameter."""
    table, places = call["weight"], call["indices"]
    known = places.tensor if isinstance(places, Place) and not places.tensor.is_floating_point() else places
    if isinstance(table, Place) and isinstance(known, Tensor) and _counts(known, table.shape[0]):
        return Found("parameter", {}, {"value": table}, frozenset({"weight", "indices"}))
    return call.weighted("embedding", {}, weight="weight")


def _counts(numbers: Tensor, length: int) -> bool:
    return numbers.numel() == length and numbers.flatten().tolist() == list(range(length))


# Pools


def _pool_form(call: Call, axes: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    kernel = _each(call["kernel_size"], axes)
    stride = _each(call["stride"], axes) if call["stride"] else kernel
    return kernel, stride, _each(call.arguments.get("dilation", 1), axes)


def _pool_padding(call: Call, axes: int) -> tuple[tuple[int, int], ...]:
    """The padding on both sides, and at the bottom and the right what `ceil_mode` reads beyond it."""
    kernel, stride, dilation = _pool_form(call, axes)
    before = _each(call["padding"], axes)
    sizes = zip(call.first.shape[-axes:], call.shape[-axes:], kernel, stride, dilation, before, strict=True)
    more = [(out - 1) * s + d * (k - 1) + 1 - (size + 2 * p) for size, out, k, s, d, p in sizes]
    extra = [max(0, each) if call["ceil_mode"] else 0 for each in more]
    return tuple((p, p + e) for p, e in zip(before, extra, strict=True))


def max_pool(axes: int) -> Maker:
    """A maximum over windows."""

    def make(call: Call) -> Found:
        kernel, stride, dilation = _pool_form(call, axes)
        padding = _pool_padding(call, axes)
        return Found("max_pool", {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation})

    return make


def avg_pool(axes: int) -> Maker:
    """A mean over windows; over the whole image it is the global one."""

    def make(call: Call) -> Found | None:
        kernel, stride, _ = _pool_form(call, axes)
        padding = _pool_padding(call, axes)
        counted = bool(call["count_include_pad"]) and any(_each(call["padding"], axes))
        if call.arguments.get("divisor_override") is not None:
            return None
        if counted and any(before != after for before, after in padding):
            return None  # what `ceil_mode` adds is never counted
        if kernel == tuple(call.first.shape[-axes:]) and not any(map(any, padding)):
            return Found("global_avg_pool")
        settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "count_include_pad": counted}
        return Found("avg_pool", settings)

    return make


def adaptive(kind: str, axes: int) -> Maker:
    """A pool whose output has a given size: told by a word only if that is one pixel, or all."""

    def make(call: Call) -> Found | None:
        out = call.shape[-axes:]
        if prod(out) == 1:
            return Found(kind)
        return Found("identity") if out == tuple(call.first.shape[-axes:]) else None

    return make


def over_axes(whole: str, part: str | None) -> Maker:
    """A mean or maximum over all axes of the image is a global pool."""

    def make(call: Call) -> Found | None:
        rank = len(call.first.shape)
        axes = _axes(call.arguments.get("dim"), rank)
        if rank >= 4 and axes == tuple(range(2, rank)):
            return Found(whole)
        return Found(part, {"axes": axes}) if part else None

    return make
