"""Folds BatchNorms into the convolutions in front of them, as NumPy arrays: the arithmetic behind `fuse` of both twins.

With fixed statistics a BatchNorm multiplies each channel by one number and adds another. So does a convolution that has
its kernels multiplied and a bias. gamma (x - mean) / sqrt(variance + eps) + beta, with x = kernel * input, becomes
(kernel * scale) * input + (beta - mean * scale), with scale = gamma / sqrt(variance + eps).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError
from shared.networks.canonical import Arrays
from shared.networks.spec import ResNetSpec
from shared.networks.table import layer_table


def spec_to_fold(model: Any) -> ResNetSpec:
    """Return the spec of a network that `create_model` made; raise `InputError` for any other, and a fused one."""
    if hasattr(model, "fused_from"):
        raise InputError(
            "this network is fused already; fuse takes the one that create_model made, and leaves it as it is"
        )
    spec = vars(model).get("spec")  # not `getattr`: the wrapper that torch.compile returns passes on what it wraps
    if not isinstance(spec, ResNetSpec):
        raise InputError(
            f"fuse takes a network as create_model returns it; this one is of the class {type(model).__name__}"
        )
    return spec


def folded_norms(spec: ResNetSpec) -> dict[str, str]:
    """Return convolution -> the BatchNorm that alone reads its output, by their names in `state_dict()`.

    In a pre-activation network a BatchNorm that reads a sum stays.
    """
    rows = layer_table(spec)  # in the order of computation
    return {a.name: b.name for a, b in pairwise(rows) if (a.kind, b.kind) == ("conv", "batch_norm")}


def fold(spec: ResNetSpec, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the canonical arrays of the same network with its BatchNorms folded away, computed in float64.

    Each convolution of `folded_norms` gets other kernels and a bias; the arrays of its BatchNorm are gone.
    """
    folded = dict(arrays)
    for conv, norm in folded_norms(spec).items():
        gamma, beta, mean, variance = (
            folded.pop(f"{norm}.{name}").astype(np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        kernel = arrays[f"{conv}.weight"]
        scale = gamma / np.sqrt(variance + spec.norm_eps)
        bias = arrays.get(f"{conv}.bias", np.zeros_like(mean))
        folded[f"{conv}.weight"] = (kernel * scale[:, None, None, None]).astype(kernel.dtype)
        folded[f"{conv}.bias"] = (beta + (bias - mean) * scale).astype(kernel.dtype)
    return folded
