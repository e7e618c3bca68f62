"""What each of PyTorch's operations is called in `shared.networks.graph`: one table, a small function for each form."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from torch import Tensor, nn

from resnet_torch.graph_layers import (
    Maker,
    adaptive,
    addmm,
    avg_pool,
    batch_norm,
    conv,
    conv_transpose,
    embedding,
    group_norm,
    layer_norm,
    linear,
    matmul,
    max_pool,
    over_axes,
    prelu,
    rms_norm,
)
from resnet_torch.graph_parts import Call, Data, Found, Place
from shared.networks.graph import is_matmul, plain_equation

#: Passed on as they are: they move memory, not numbers.
LOOK_THROUGH = {"alias", "contiguous", "lift_fresh", "lift_fresh_copy", "view_of", "data", "requires_grad"}
SELU = (1.6732632423543772, 1.0507009873554805)


def find_kind(call: Call) -> Found | None:
    """Return what a call is in the words of `KINDS`; None if there is no word for it."""
    maker = SEVERAL.get(call.op) if call.pick is not None else None
    maker = maker or (None if call.pick else TABLE.get(call.op))
    return maker(call) if maker else None


def is_passed_on(call: Call) -> bool:
    """Say whether the result is the first argument, bit for bit and shape for shape."""
    first = call.first
    if call.op in LOOK_THROUGH or (call.op == "detach" and not isinstance(first, Data)):
        return True
    if call.op == "clone":
        return not isinstance(call.module, nn.modules.dropout._DropoutNd)
    if call.op in ("to", "_to_copy", "type_as", "expand", "expand_as", "slice"):
        return isinstance(first, Data | Place | Tensor) and tuple(first.shape) == call.shape and _same_type(call)
    return False


def _same_type(call: Call) -> bool:
    return bool(call.first.dtype == call.dtype)


def _plain(kind: str, **settings: Any) -> Maker:
    return lambda call: Found(kind, settings)


# Activations


def _clamp(low: str, high: str) -> Maker:
    def make(call: Call) -> Found | None:
        bounds = (call.arguments.get(low), call.arguments.get(high))
        return {(0, 6): Found("relu6"), (0, None): Found("relu")}.get(bounds)  # 0.0 is found as 0 is

    return make


def _elu(call: Call) -> Found | None:
    scale, inner = call.arguments.get("scale", 1), call.arguments.get("input_scale", 1)
    if (call["alpha"], scale, inner) == (*SELU, 1):
        return Found("selu")
    same = (scale, inner) == (1, 1) and (call.op == "elu" or call["alpha"] == 1)
    return Found("elu", {"alpha": float(call["alpha"])}) if same else None


def _softplus(call: Call) -> Found | None:
    return Found("softplus") if (call["beta"], call["threshold"]) == (1, 20) else None


def _threshold(call: Call) -> Found | None:
    return Found("relu") if (call["threshold"], call["value"]) == (0, 0) else None


def _along(kind: str, argument: str = "dim") -> Maker:
    return lambda call: Found(kind, {"axis": call[argument] % len(call.shape)})


# Shapes


#: What PyTorch calls it to pad an image with itself -> what NumPy does.
PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(call: Call) -> Found | None:
    mode = call.arguments.get("mode", "constant")
    if mode != "constant":
        return _padded(call, call["pad"], PAD_MODES[mode]) if mode in PAD_MODES else None
    return _padded(call, call["pad"], float(call["value"] or 0))


def _pad_with_itself(mode: str) -> Maker:
    return lambda call: _padded(call, call["padding"], mode)


def _padded(call: Call, amounts: Iterable[int], value: float | str) -> Found:
    rank, amounts = len(call.shape), tuple(amounts)
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]  # PyTorch counts from the last axis
    pairs = [(0, 0)] * (rank - len(pairs)) + pairs
    image = tuple(pairs[2:]) if rank > 2 and not any(map(any, pairs[:2])) else tuple(pairs)
    if all(each <= 0 for each in amounts) and any(amounts):
        return Found("crop", {"padding": tuple((-before, -after) for before, after in image)})
    return Found("pad", {"padding": image, "value": value})


def _reshape(call: Call) -> Found:
    before, after = tuple(call.first.shape), call.shape
    if before == after:
        return Found("identity")
    if len(before) > 2 and after == (before[0], prod(before[1:])):
        return Found("flatten")
    return Found("reshape", {"shape": after})


def _part(call: Call, axis: int, start: int, stop: int, step: int = 1) -> Found:
    return Found("part", {"axis": axis, "start": start, "stop": stop, "step": step})


def _select(call: Call) -> Found:
    if prod(call.first.shape) == prod(call.shape):
        return _reshape(call)
    axis = call["dim"] % len(call.first.shape)
    start = call["index"] % call.first.shape[axis]
    return _part(call, axis, start, start + 1)


def _slice(call: Call) -> Found:
    """A slice of an image's height or width is a crop."""
    before, axis = call["self"].shape, call["dim"] % len(call.shape)
    start, _, step = slice(call["start"], call["end"], call["step"]).indices(before[axis])
    if len(before) < 4 or axis < 2 or step != 1:
        return _part(call, axis, start, start + (call.shape[axis] - 1) * step + 1, step)
    padding = [(0, 0)] * (len(before) - 2)
    padding[axis - 2] = (start, before[axis] - start - call.shape[axis])
    return Found("crop", {"padding": tuple(padding)})


def _narrow(call: Call) -> Found:
    axis = call["dim"] % len(call.shape)
    return _part(call, axis, call["start"], call["start"] + call["length"])


def _unbound(call: Call) -> Found:
    place = call.pick or 0
    return _part(call, call["dim"] % len(call.first.shape), place, place + 1)


def _split(call: Call) -> Found:
    """One of several parts, given by their size or their sizes."""
    axis, place = call["dim"] % len(call.shape), call.pick or 0
    sizes = next(call[name] for name in ("split_size", "split_sizes") if name in call.arguments)
    start = place * sizes if isinstance(sizes, int) else sum(sizes[:place])
    return _part(call, axis, start, start + call.shape[axis])


def _chunk(call: Call) -> Found:
    axis, place = call["dim"] % len(call.shape), call.pick or 0
    start = place * -(-call.first.shape[axis] // call["chunks"])
    return _part(call, axis, start, start + call.shape[axis])


def _expand(call: Call) -> Found | None:
    """The same numbers again, where an axis was of length one."""
    before = (1,) * (len(call.shape) - len(call.first.shape)) + tuple(call.first.shape)
    if prod(before) == prod(call.shape):
        return _reshape(call)
    fits = all(one in (1, size) for one, size in zip(before, call.shape, strict=True))
    return Found("broadcast") if fits else None


def _permute(call: Call) -> Found:
    rank = len(call.shape)
    if call.op == "permute":
        axes = [each % rank for each in call["dims"]]
    else:
        axes = list(range(rank))
        one, other = (call[name] for name in ("dim0", "dim1")) if "dim0" in call.arguments else (-1, -rank)
        one, other = (-1, -2) if call.op in ("mT", "adjoint") else (one, other)
        axes[one], axes[other] = axes[other], axes[one]
    return Found("permute", {"axes": tuple(axes)})


def _turn(call: Call) -> Found | None:
    return _permute(call) if len(call.shape) == 2 else None


def _concat(call: Call) -> Found:
    if len(call["tensors"]) == 1:
        return Found("identity")
    return Found("concat", {"axis": call["dim"] % len(call.shape)})


def _upsample(mode: str) -> Maker:
    def make(call: Call) -> Found:
        axes = len(call.shape) - 2
        given = call.arguments.get("scale_factors")
        sizes = zip(call.shape[-axes:], call.first.shape[-axes:], strict=True)
        scale = tuple(given) if given else tuple(out / size for out, size in sizes)
        corners = bool(call.arguments.get("align_corners"))
        return Found("upsample", {"scale": tuple(map(float, scale)), "mode": mode, "align_corners": corners})

    return make


def _cast(call: Call) -> Found:
    return Found("cast", {"dtype": str(call.dtype).removeprefix("torch.")})


def _dropout(call: Call) -> Found | None:
    return None if call["train"] else Found("dropout", {"rate": float(call["p"])})


def _clone(call: Call) -> Found:
    """What is left of a dropout module in eval mode."""
    return Found("dropout", {"rate": float(getattr(call.module, "p", 0))})


# Of several tensors


def _arithmetic(kind: str) -> Maker:
    def make(call: Call) -> Found | None:
        left, right = call["self"], call["other"]
        alpha = call.arguments.get("alpha", 1)
        if call.arguments.get("rounding_mode") is not None:
            return None
        for value, name in ((right, "other"), (left, "self")):
            if isinstance(value, Tensor | int | float) and (name == "other" or kind in ("add", "multiply")):
                constant = _constant(value, alpha if name == "other" else 1)
                return Found(kind, {"constant": constant}, claimed=frozenset({name})) if constant is not None else None
        return Found(kind, {"constant": None}) if alpha == 1 else None

    return make


def _constant(value: Any, alpha: float) -> Any:
    """Return a constant as its number, or as its shape if it is several; None if that would not tell it."""
    if not isinstance(value, Tensor):
        return float(value * alpha)
    if value.numel() == 1:
        return float(value.item() * alpha)
    return tuple(value.shape) if alpha == 1 else None


def _einsum(call: Call) -> Found | None:
    equation = plain_equation(call["equation"])
    if equation is None or len(call["tensors"]) != 2:
        return None
    return Found("matmul") if is_matmul(equation) else Found("einsum", {"equation": equation})


def _reversed_subtract(call: Call) -> Found | None:
    other = call["other"]
    if not isinstance(other, int | float):
        return None
    return Found("scale", {"factor": -float(call["alpha"]), "offset": float(other)})


def _attend(call: Call) -> Found | None:
    if call["dropout_p"] or call.arguments.get("enable_gqa") or call.arguments.get("attn_mask") is not None:
        return None
    scale, size = call.arguments.get("scale"), call.first.shape[-1]
    settings = {"scale": float(size**-0.5 if scale is None else scale), "causal": bool(call["is_causal"])}
    return Found("attend", {**settings, "axis": len(call.shape) - 2})


TABLE: dict[str, Maker] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), conv_transpose),
    "linear": linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), matmul),
    "addmm": addmm,
    **dict.fromkeys(("batch_norm", "native_batch_norm", "cudnn_batch_norm"), batch_norm),
    **dict.fromkeys(("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), batch_norm),
    "layer_norm": layer_norm,
    "native_layer_norm": layer_norm,
    "group_norm": group_norm,
    "native_group_norm": group_norm,
    "rms_norm": rms_norm,
    "prelu": prelu,
    "embedding": embedding,
    "relu": _plain("relu"),
    "relu6": _plain("relu6"),
    "hardtanh": _clamp("min_val", "max_val"),
    "clamp": _clamp("min", "max"),
    "clamp_min": _clamp("min", "max"),
    "threshold": _threshold,
    "leaky_relu": lambda call: Found("leaky_relu", {"slope": float(call["negative_slope"])}),
    "elu": _elu,
    "celu": _elu,
    "selu": _plain("selu"),
    "gelu": lambda call: Found("gelu", {"approximate": call["approximate"]}),
    "silu": _plain("silu"),
    "mish": _plain("mish"),
    "sigmoid": _plain("sigmoid"),
    "hardsigmoid": _plain("hard_sigmoid"),
    "hardswish": _plain("hard_swish"),
    "tanh": _plain("tanh"),
    **{name: _plain(name) for name in ("abs", "exp", "log", "sqrt", "square", "sin", "cos", "maximum", "minimum")},
    "pow": lambda call: Found("square") if call["exponent"] == 2 else None,
    "softplus": _softplus,
    **dict.fromkeys(("softmax", "_softmax"), _along("softmax")),
    **dict.fromkeys(("log_softmax", "_log_softmax"), _along("log_softmax")),
    **{f"max_pool{axes}d": max_pool(axes) for axes in (1, 2, 3)},
    **{f"max_pool{axes}d_with_indices": max_pool(axes) for axes in (2, 3)},
    **{f"avg_pool{axes}d": avg_pool(axes) for axes in (1, 2, 3)},
    **{f"adaptive_avg_pool{axes}d": adaptive("global_avg_pool", axes) for axes in (1, 2, 3)},
    **{f"_adaptive_avg_pool{axes}d": adaptive("global_avg_pool", axes) for axes in (2, 3)},
    **{f"adaptive_max_pool{axes}d": adaptive("global_max_pool", axes) for axes in (1, 2, 3)},
    "mean": over_axes("global_avg_pool", "mean"),
    "amax": over_axes("global_max_pool", None),
    "pad": _pad,
    "constant_pad_nd": _pad,
    **{f"reflection_pad{axes}d": _pad_with_itself("reflect") for axes in (1, 2, 3)},
    **{f"replication_pad{axes}d": _pad_with_itself("edge") for axes in (1, 2, 3)},
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshape),
    "select": _select,
    "slice": _slice,
    "narrow": _narrow,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to", "repeat"), _expand),
    **dict.fromkeys(("permute", "transpose", "swapaxes", "swapdims", "mT"), _permute),
    **dict.fromkeys(("t", "numpy_T"), _turn),
    **dict.fromkeys(("cat", "concat", "concatenate"), _concat),
    **{f"upsample_{mode}{axes}d": _upsample(mode) for mode, axes in (("nearest", 1), ("nearest", 2), ("nearest", 3))},
    **{f"_upsample_nearest_exact{axes}d": _upsample("nearest-exact") for axes in (1, 2, 3)},
    "upsample_linear1d": _upsample("linear"),
    "upsample_bilinear2d": _upsample("bilinear"),
    "upsample_bicubic2d": _upsample("bicubic"),
    "upsample_trilinear3d": _upsample("trilinear"),
    **dict.fromkeys(("_to_copy", "to", "type_as"), _cast),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _dropout),
    "clone": _clone,
    "detach": _plain("identity"),
    "add": _arithmetic("add"),
    "sub": _arithmetic("subtract"),
    "subtract": _arithmetic("subtract"),
    "mul": _arithmetic("multiply"),
    "multiply": _arithmetic("multiply"),
    "div": _arithmetic("divide"),
    "divide": _arithmetic("divide"),
    "true_divide": _arithmetic("divide"),
    "einsum": _einsum,
    "rsub": _reversed_subtract,
    "neg": _plain("scale", factor=-1.0, offset=0.0),
    **dict.fromkeys(("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu"), _attend),
}
#: Operations that put out several tensors -> what reads one of them.
SEVERAL: dict[str, Maker] = {
    "unbind": _unbound,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    "chunk": _chunk,
}
