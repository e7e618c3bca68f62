"""What each of PyTorch's operations is called in `shared.networks.graph`: one table, a small function for each form."""

from __future__ import annotations

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

#: Passed on as they are: they move memory, not numbers.
LOOK_THROUGH = {"alias", "contiguous", "detach", "lift_fresh", "lift_fresh_copy", "view_of", "data", "requires_grad"}
SELU = (1.6732632423543772, 1.0507009873554805)


def find_kind(call: Call) -> Found | None:
    """Return what a call is in the words of `KINDS`; None if there is no word for it."""
    maker = TABLE.get(call.op)
    return maker(call) if maker and not call.pick else None


def is_passed_on(call: Call) -> bool:
    """Say whether the result is the first argument, bit for bit and shape for shape."""
    first = call.first
    if call.op in LOOK_THROUGH:
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


def _pad(call: Call) -> Found | None:
    if call.arguments.get("mode", "constant") != "constant":
        return None
    rank, amounts = len(call.shape), tuple(call["pad"])
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]  # PyTorch counts from the last axis
    pairs = [(0, 0)] * (rank - len(pairs)) + pairs
    image = tuple(pairs[2:]) if rank > 2 and not any(map(any, pairs[:2])) else tuple(pairs)
    if all(each <= 0 for each in amounts) and any(amounts):
        return Found("crop", {"padding": tuple((-before, -after) for before, after in image)})
    return Found("pad", {"padding": image, "value": float(call["value"] or 0)})


def _reshape(call: Call) -> Found:
    before, after = tuple(call.first.shape), call.shape
    if before == after:
        return Found("identity")
    if len(before) > 2 and after == (before[0], prod(before[1:])):
        return Found("flatten")
    return Found("reshape", {"shape": after})


def _select(call: Call) -> Found | None:
    return _reshape(call) if prod(call.first.shape) == prod(call.shape) else None


def _slice(call: Call) -> Found | None:
    """A slice of an image's height or width is a crop."""
    before, axis = call["self"].shape, call["dim"] % len(call.shape)
    if len(before) < 4 or axis < 2 or call["step"] != 1:
        return None
    start = call["start"] or 0
    start = start + before[axis] if start < 0 else start
    padding = [(0, 0)] * (len(before) - 2)
    padding[axis - 2] = (start, before[axis] - start - call.shape[axis])
    return Found("crop", {"padding": tuple(padding)})


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


def _reversed_subtract(call: Call) -> Found | None:
    other = call["other"]
    if not isinstance(other, int | float):
        return None
    return Found("scale", {"factor": -float(call["alpha"]), "offset": float(other)})


def _attend(call: Call) -> Found | None:
    own = call.arguments.get("is_causal") or call.arguments.get("scale") is not None or call["dropout_p"]
    return None if own else Found("attend")


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
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshape),
    "select": _select,
    "slice": _slice,
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
    "add": _arithmetic("add"),
    "sub": _arithmetic("subtract"),
    "subtract": _arithmetic("subtract"),
    "mul": _arithmetic("multiply"),
    "multiply": _arithmetic("multiply"),
    "div": _arithmetic("divide"),
    "divide": _arithmetic("divide"),
    "true_divide": _arithmetic("divide"),
    "rsub": _reversed_subtract,
    "neg": _plain("scale", factor=-1.0, offset=0.0),
    **dict.fromkeys(("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu"), _attend),
}
