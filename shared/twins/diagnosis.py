"""Explains a difference between twins: computes a layer anew, rightly and with the usual mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS
from shared.networks.canonical import Arrays
from shared.networks.spec import BlockSpec, ResNetSpec
from shared.networks.table import LayerRow
from shared.twins.difference import relative

Array = NDArray[Any]
TITLES = {name: framework.title for name, framework in BACKENDS.items()}

# What a layer gives, written in NumPy. x is (N, C, H, W).


def _windows(x: Array, kernel_size: int, stride: int, before: int, after: int, fill: float = 0.0) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel_size, kernel_size), axis=(2, 3))
    return windows[:, :, ::stride, ::stride]


def _same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Return the rows that padding="same" adds (before, after) an image of `size` pixels."""
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def conv(x: Array, kernel: Array, bias: Array | None, stride: int, before: int, after: int) -> Array:
    """Return the convolution of x (N, C, H, W) with a kernel (C', C, k, k), padded `before` and `after`."""
    windows = _windows(x, kernel.shape[-1], stride, before, after)
    out = np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)
    return np.asarray(out if bias is None else out + bias[:, None, None])


def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """Return the BatchNorm of x (N, C, H, W) by the given statistics of each channel."""
    gamma, beta, mean, var = (values[:, None, None] for values in (gamma, beta, mean, var))
    return np.asarray(gamma * (x - mean) / np.sqrt(var + eps) + beta)


def max_pool(x: Array, before: int, after: int, fill: float) -> Array:
    """Return the 3x3 max-pool of stride 2 of x (N, C, H, W), padded with `fill`."""
    return np.asarray(_windows(x, 3, 2, before, after, fill).max((-2, -1)))


SAME = 'padding="same" with a stride: it pads only at the bottom and the right; pad explicitly and use "valid"'


def _conv_mistakes(row: LayerRow, x: Array, kernel: Array, bias: Array | None) -> Iterator[tuple[str, Array]]:
    """Yield (cause, what a convolution with this mistake gives)."""
    k, s, p = row.kernel_size or 1, row.stride or 1, row.padding or 0
    yield SAME, conv(x, kernel, bias, s, *_same_padding(x.shape[2], k, s))
    if bias is not None:
        yield "the bias is missing", conv(x, kernel, None, s, p, p)
    wrong = "the kernel was transposed wrongly: "
    flips = {
        wrong + "height and width are swapped": kernel.transpose(0, 1, 3, 2),
        wrong + "it is upside down and mirrored (a true convolution; frameworks cross-correlate)": kernel[
            ..., ::-1, ::-1
        ],
    }
    if kernel.shape[0] == kernel.shape[1]:
        flips[wrong + "input and output channels are swapped"] = kernel.transpose(1, 0, 2, 3)
        flips[wrong + "all axes are reversed"] = kernel.transpose(1, 0, 3, 2)
    for cause, flipped in flips.items():
        yield cause, conv(x, flipped, bias, s, p, p)
    out, into = kernel.shape[:2]
    yield (
        wrong + "it was reshaped to the other layout, not transposed",
        conv(x, kernel.reshape(k, k, into, out).transpose(3, 2, 0, 1), bias, s, p, p),
    )
    yield (
        wrong + "it was reshaped to the other layout, not transposed",
        conv(x, kernel.transpose(2, 3, 1, 0).reshape(kernel.shape), bias, s, p, p),
    )


def _estimate_eps(x: Array, seen: Array, weights: Arrays) -> float:
    """Solve seen = gamma * (x - mean) / sqrt(var + eps) + beta for eps, at each channel's farthest pixel."""
    guesses = []
    for c in range(x.shape[1]):
        distance = x[:, c] - weights["running_mean"][c]
        at = np.unravel_index(np.abs(distance).argmax(), distance.shape)
        scaled = seen[:, c][at] - weights["bias"][c]
        if scaled != 0:
            root = weights["weight"][c] * distance[at] / scaled
            guesses.append(root**2 - weights["running_var"][c])
    return float(f"{np.median(guesses):.4g}") if guesses else 0.0


def _norm_mistakes(x: Array, seen: Array, weights: Arrays, eps: float) -> Iterator[tuple[str, Array]]:
    """Yield (cause, what a BatchNorm with this mistake gives)."""
    gamma, beta = weights["weight"], weights["bias"]
    mean, var = weights["running_mean"], weights["running_var"]
    other = _estimate_eps(x, seen, weights)
    if other >= 0 and other != eps:
        yield f"eps is {other:g}, the table says {eps:g}", batch_norm(x, gamma, beta, mean, var, other)
    batch_mean, batch_var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    yield (
        "it is in training mode and uses the statistics of the batch; switch to eval mode (training=False)",
        batch_norm(x, gamma, beta, batch_mean, batch_var, eps),
    )
    yield "gamma and beta are missing", batch_norm(x, np.ones_like(gamma), np.zeros_like(beta), mean, var, eps)
    yield "the running mean and variance are swapped", batch_norm(x, gamma, beta, var, mean.clip(0), eps)


def _add_mistakes(block: BlockSpec, acts: dict[str, Array], x: Array, main: Array) -> Iterator[tuple[str, Array]]:
    """Yield (cause, what the end of a block with this mistake gives)."""
    yield "the shortcut is missing: the block's main path is passed on alone", main
    stride = block.shortcut.stride
    extra = block.out_channels - block.in_channels
    swapped = "the shortcut is swapped: "
    if x.shape == main.shape:
        yield swapped + "the block's input is added as it is", main + x
    if extra >= 0:
        padded = np.pad(x[:, :, ::stride, ::stride], ((0, 0), (extra // 2, extra - extra // 2), (0, 0), (0, 0)))
        if padded.shape == main.shape:
            yield swapped + "zero padding (option A) is added", main + padded
    for inner, value in acts.items():
        if inner.startswith(f"{block.name}.") and value.shape == main.shape and not inner.endswith(".add"):
            yield swapped + f"{inner} is added", main + value


@dataclass
class Case:
    """Both models' activations and weights, for the diagnosis of one layer."""

    spec: ResNetSpec
    table: dict[str, LayerRow]
    inputs: dict[str, Array]
    acts: dict[str, dict[str, Array]]
    weights: dict[str, Arrays]
    threshold: float

    def same(self, a: Array, b: Array) -> bool:
        """Return whether two arrays are equal but for rounding."""
        return a.shape == b.shape and relative(a, b) <= self.threshold

    def layer_weights(self, side: str, name: str) -> Arrays:
        """Return the arrays of a layer, without its name."""
        prefix = f"{name}."
        return {key[len(prefix) :]: value for key, value in self.weights[side].items() if key.startswith(prefix)}

    def block_of(self, name: str) -> BlockSpec | None:
        """Return the block in which a layer lies, or None."""
        rows = [row for rows in self.spec.stages() for row in rows if name.startswith(f"{row.name}.")]
        return rows[0] if rows else None

    def input_of(self, side: str, name: str) -> Array | None:
        """Return what the layer `name` is fed with."""
        acts, block = self.acts[side], self.block_of(name)
        names = list(self.table)
        if block is None:
            before = [other for other in names[: names.index(name)] if ".downsample" not in other]
            return acts.get(before[-1]) if before else self.inputs[side]
        first = next(other for other in names if other.startswith(f"{block.name}."))
        start = acts.get(names[names.index(first) - 1])
        if name == first:
            return start
        if name.endswith("downsample.0"):
            return acts.get(f"{block.name}.relu1") if block.shared_preact else start
        if name.endswith("downsample.1"):
            return acts.get(f"{block.name}.downsample.0")
        before = [other for other in names[: names.index(name)] if ".downsample" not in other]
        return acts.get(before[-1])


def _explain_weights(case: Case, row: LayerRow) -> str | None:
    """Say what is different if the layer's weights themselves differ between the models."""
    torch, keras = (case.layer_weights(side, row.name) for side in TITLES)
    if set(torch) != set(keras):
        only = sorted(set(torch) ^ set(keras))
        side = "Keras" if only[0] in torch else "PyTorch"
        return f"{' and '.join(only)} of {row.name} is missing in {side}"
    for key, a in torch.items():
        b = keras[key]
        if a.shape != b.shape:
            return f"{row.name}.{key} has shape {a.shape} in PyTorch and {b.shape} in Keras (in PyTorch's layout)"
        if relative(b, a) <= case.threshold:
            continue
        if not b.any() or not a.any():
            return f"{key} of {row.name} is all zeros in {'PyTorch' if not a.any() else 'Keras'}: it is missing"
        if row.kind == "conv" and key == "weight":
            wrong = f"the kernel of {row.name} was transposed wrongly: "
            if np.array_equal(a.transpose(0, 1, 3, 2), b):
                return wrong + "height and width are swapped"
            if np.array_equal(a[..., ::-1, ::-1], b):
                return wrong + "it is upside down and mirrored"
            if a.shape == a.transpose(1, 0, 2, 3).shape and np.array_equal(a.transpose(1, 0, 2, 3), b):
                return wrong + "input and output channels are swapped"
            if np.array_equal(np.sort(a, None), np.sort(b, None)):
                return wrong + "both hold the same numbers in another order"
        other = next((o for o, array in torch.items() if o != key and np.array_equal(b, array)), None)
        if other is not None and np.array_equal(keras[other], a):
            return f"{key} and {other} of {row.name} are exchanged"
        if row.kind == "linear" and np.array_equal(np.sort(a, None), np.sort(b, None)):
            return f"the matrix of {row.name} was transposed wrongly: both hold the same numbers in another order"
        return f"the weights differ: {row.name}.{key} by {relative(b, a):.1e}"
    return None


def _addition(case: Case, side: str, row: LayerRow) -> tuple[Array | None, Iterator[tuple[str, Array]]]:
    """Return what the end of a block should give, and what it gives with each of the usual mistakes."""
    acts, block, names = case.acts[side], case.block_of(row.name), list(case.table)
    if block is None:
        return None, iter(())
    inside = [name for name in names if name.startswith(f"{block.name}.")]
    main_path = [name for name in inside[: inside.index(row.name)] if ".downsample" not in name]
    shortcuts = [name for name in inside if ".downsample" in name]
    main, start = acts.get(main_path[-1]), case.input_of(side, inside[0])
    behind = acts.get(f"{block.name}.relu1") if block.shared_preact else start
    shortcut = acts.get(shortcuts[-1]) if shortcuts else behind
    if main is None or start is None:
        return None, iter(())
    good = main + shortcut if shortcut is not None and shortcut.shape == main.shape else None
    return good, _add_mistakes(block, acts, start, main)


def _candidates(case: Case, side: str, row: LayerRow) -> tuple[Array | None, Iterator[tuple[str, Array]]]:
    """Return what a layer should give for the input that it had, and what it gives with each usual mistake."""
    seen, x, weights = case.acts[side][row.name], case.input_of(side, row.name), case.layer_weights(side, row.name)
    if row.kind == "add":
        return _addition(case, side, row)
    if x is None or x.shape[1:] != row.input_shape:
        return None, iter(())
    if row.kind == "conv":
        kernel, bias, padding = weights["weight"], weights.get("bias"), row.padding or 0
        return conv(x, kernel, bias, row.stride or 1, padding, padding), _conv_mistakes(row, x, kernel, bias)
    if row.kind == "batch_norm":
        eps = case.spec.norm_eps
        good = batch_norm(x, weights["weight"], weights["bias"], weights["running_mean"], weights["running_var"], eps)
        return good, _norm_mistakes(x, seen, weights, eps)
    if row.kind == "relu":
        return np.maximum(x, 0), iter([("the ReLU is missing", x)])
    if row.kind == "max_pool":
        lowest = float("-inf")
        mistakes = [
            ("the max-pool is padded with zeros, which win against negative pixels", max_pool(x, 1, 1, 0.0)),
            (SAME, max_pool(x, *_same_padding(x.shape[2], 3, 2), lowest)),
        ]
        return max_pool(x, 1, 1, lowest), iter(mistakes)
    return None, iter(())


def explain_layer(case: Case, row: LayerRow) -> str:
    """Find the mistake that turns the layer's input into what was seen."""
    missing = [title for side, title in TITLES.items() if row.name not in case.acts[side]]
    if len(missing) == 2:
        return f"neither model has such a layer; is {case.spec.name} the right spec?"
    if missing:
        return f"the layer is missing in {missing[0]}, or is not a single layer there"
    explained = _explain_weights(case, row)
    if explained:
        return explained
    for side, title in TITLES.items():
        seen = case.acts[side][row.name]
        good, mistakes = _candidates(case, side, row)
        if good is not None and case.same(seen, good):
            continue
        fitting = [(relative(seen, value), cause) for cause, value in mistakes if case.same(seen, value)]
        if fitting:
            return f"in {title}, {min(fitting)[1]}"
    shapes = [case.acts[side][row.name].shape[1:] for side in TITLES]
    if shapes[0] != shapes[1]:
        return f"the shapes differ: {shapes[0]} in PyTorch, {shapes[1]} in Keras (C, H, W); look at stride and padding"
    return (
        f"unknown; the weights of {row.name} are equal, so look at how the layer is built (stride, padding, order "
        "of the operations) and at what it is fed with"
    )


def explain_input(case: Case) -> str:
    """Say what is wrong with the images themselves."""
    torch, keras = (case.inputs[side] for side in TITLES)
    if torch.shape != keras.shape:
        return f"PyTorch was fed with {torch.shape} and Keras with {keras.shape} (both as N, C, H, W)"
    if np.array_equal(keras.transpose(0, 2, 3, 1).reshape(torch.shape), torch):
        return (
            "NHWC data was fed as NCHW (or the other way round): it was reshaped where np.transpose(x, (0, 3, 1, 2)) "
            "for PyTorch, or np.transpose(x, (0, 2, 3, 1)) for Keras, is meant"
        )
    if np.array_equal(torch[:, ::-1], keras):
        return "the colours are in another order: RGB for one, BGR for the other"
    if np.array_equal(torch.transpose(0, 1, 3, 2), keras):
        return "height and width are swapped in one of them"
    return "the two were fed with different images"
