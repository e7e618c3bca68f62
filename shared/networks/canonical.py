"""Weights in one canonical form: a dict of NumPy arrays with torchvision's names and layouts.

`layer1.0.conv1.weight` is (out, in, height, width), `fc.weight` is (out, in), a BatchNorm has `weight`, `bias`,
`running_mean` and `running_var`. PyTorch's `num_batches_tracked` is a counter, not a weight, and is left out.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable_list
from shared.networks.catalog import SPECS
from shared.networks.spec import ResNetSpec
from shared.networks.table import Shape, weight_shapes

Arrays = dict[str, NDArray[Any]]
HEAD = ("fc.weight", "fc.bias")
#: What Keras calls it, layer by layer and in the order in which it stores it: Keras' name -> (the end of the canonical
#: name, the axes that bring a canonical array into Keras' layout).
KERAS_LAYOUTS: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
    "Conv2D": {
        "kernel": ("weight", (2, 3, 1, 0)),  # (out, in, h, w) -> (h, w, in, out)
        "bias": ("bias", (0,)),
    },
    "Dense": {
        "kernel": ("weight", (1, 0)),  # (out, in) -> (in, out)
        "bias": ("bias", (0,)),
    },
    "BatchNormalization": {
        "gamma": ("weight", (0,)),
        "beta": ("bias", (0,)),
        "moving_mean": ("running_mean", (0,)),
        "moving_variance": ("running_var", (0,)),
    },
}


@dataclass(frozen=True)
class LoadReport:
    """What loading did: the names of the arrays that were set, and of those that did not fit."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    def __str__(self) -> str:
        """Return the report as one line."""
        parts = [f"{len(self.loaded)} arrays loaded"]
        for label, names in (
            ("not in the file", self.missing),
            ("not in the model", self.unexpected),
            ("of another shape", self.misshapen),
        ):
            if names:
                parts.append(f"{len(names)} {label} ({printable_list(names)})")
        return "; ".join(parts)


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values.detach() if hasattr(values, "detach") else values)  # also PyTorch's parameters
    except ValueError as error:
        raise WeightsError(f"{name} is no array ({error})") from error


def from_keras_layout(value: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of Keras' in the canonical layout. `axes` are those of `KERAS_LAYOUTS`."""
    return np.transpose(value, np.argsort(axes))


def is_fused(names: Container[str]) -> bool:
    """Say whether these are the names of the weights of a network that went through `fuse`.

    In each of ours the first block has a BatchNorm bn2, and in each fused one the convolution before it has its bias.
    """
    return "layer1.0.conv1.bias" in names and "layer1.0.bn2.weight" not in names


def fit(
    expected: Mapping[str, Shape],
    arrays: Mapping[str, NDArray[Any]],
    *,
    strict: bool = True,
    new_head: bool = False,
) -> tuple[Arrays, LoadReport]:
    """Hold `arrays` against the names and shapes that a model expects.

    Returns the arrays to set and a report. `strict=False` takes what fits and reports the rest;
    `new_head=True` lets only the last layer differ, as with a changed `num_classes`. Otherwise one
    `WeightsError` lists everything that is missing, unexpected or misshapen. Nothing is set here.
    """
    if not isinstance(arrays, Mapping):
        raise InputError(
            f"the weights are a {type(arrays).__name__}; wanted is a dict of arrays, as get_weights returns"
        )
    arrays = {name: _array(name, each) for name, each in arrays.items() if not name.endswith("num_batches_tracked")}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
            raise WeightsError(f"{name} holds {array.dtype.name} values; allowed are real numbers")
    missing = [name for name in expected if name not in arrays]
    unexpected = [name for name in arrays if name not in expected]
    misshapen = [name for name in expected if name in arrays and arrays[name].shape != tuple(expected[name])]
    good = {name: arrays[name] for name in expected if name in arrays and name not in misshapen}
    report = LoadReport(tuple(good), tuple(missing), tuple(unexpected), tuple(misshapen))
    forgiven = set(HEAD) if new_head else set()
    problems = [f"missing {name} {tuple(expected[name])}" for name in missing if name not in forgiven]
    problems += [f"unexpected {name} {arrays[name].shape}" for name in unexpected if name not in forgiven]
    problems += [
        f"{name} has shape {arrays[name].shape}, the model wants {tuple(expected[name])}"
        for name in misshapen
        if name not in forgiven
    ]
    if strict and problems:
        head = all(name in HEAD for name in (*missing, *unexpected, *misshapen))
        hint = " (only the last layer differs: new_head=True keeps the model's own)" if head else ""
        if is_fused(arrays) != is_fused(expected):
            hint = f" (of the two, only {'the model is' if is_fused(expected) else 'the weights are'} fused)"
        raise WeightsError(f"the weights do not fit the model{hint}: " + "; ".join(problems))
    if not good:
        raise WeightsError(f"none of the {len(arrays)} arrays fits the model")
    return good, report


def recognise(arrays: Mapping[str, NDArray[Any]]) -> list[ResNetSpec]:
    """Return the specs of the catalog that these arrays fit, most likely first, with their own head and input.

    Some networks have equal shapes and differ only in where a stride or a shortcut without parameters lies;
    then there are several, in the order of the catalog. The number of classes and of input channels is
    taken from the arrays.
    """
    shapes = {name: array.shape for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    first, head = shapes.get("conv1.weight", ()), shapes.get("fc.weight", ())
    if len(first) != 4 or len(head) != 2:
        return []
    found = []
    for spec in SPECS.values():
        adapted = replace(spec, in_channels=first[1], num_classes=head[0])
        if weight_shapes(adapted) == shapes:
            found.append(adapted)
    return found
